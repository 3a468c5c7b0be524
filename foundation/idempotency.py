"""The Idempotency-Key header: repeating a call with the same key has its effect once."""

import re

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter

from foundation.errors import InvalidRequest

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
DESCRIPTION = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, pattern=rf"^{_KEY.pattern}$",
    description="A name of your choice for this call. Another call with the same key has no further effect.",
)  # fmt: skip


def parse_idempotency_key(request: HttpRequest) -> str | None:
    """The key, or None without the header. Raises InvalidRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters")
    return key
