"""What a person is shown: composed by the server from the validated operation, and bound by a digest. Pure."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

from foundation.canonical import canonical_json
from operations import wording

LOCALE = "en"
MOST_FIELDS_AT_A_GLANCE = 8
MOST_TEXT_AT_A_GLANCE = 300  # characters


class ShownField(TypedDict):
    label: str
    value: str


class ShownOperation(TypedDict):
    title: str
    summary: str
    risk: str
    fields: list[ShownField]


class Shown(TypedDict):
    """Stored with the request when it is opened: a later edit never changes a pending question."""

    agent: str
    resource: str | None
    operations: list[ShownOperation]
    access: list[str]  # what each asked scope allows, in words


JUST_OPENID = "Know that you approved"


def show_operation(
    details: dict[str, Any], *, title: str, summary: str, risk: str, schema: dict[str, Any]
) -> ShownOperation:
    """Every field of the operation is listed. Raises wording.WordingError where one cannot be shown."""
    return {
        "title": wording.render(title, details),
        "summary": wording.render(summary, details),
        "risk": risk,
        "fields": [{"label": field.label, "value": field.value} for field in wording.all_fields(details, schema)],
    }


def describe_access(identity_scopes: Sequence[str], descriptions: Sequence[str], *, stays: bool) -> list[str]:
    """`openid` alone is said only where nothing else is asked. `stays`: offline_access."""
    identity = [wording.IDENTITY_WORDS[name] for name in identity_scopes if name != "openid"]
    return [*descriptions, *identity, *([wording.STAYING_WORDS] if stays else [])]


def headline(shown: Shown) -> str:
    """One line for lists: what is to be done, or what is accessed."""
    if shown["operations"]:
        return "; ".join(operation["summary"] for operation in shown["operations"])
    return ", ".join(shown["access"]) or JUST_OPENID


def is_long(shown: Shown) -> bool:
    """More than a screen shows: then the answer's buttons come after it, and do not float above it."""
    fields = [field for operation in shown["operations"] for field in operation["fields"]]
    texts = [*(field["value"] for field in fields), *shown["access"]]
    return len(texts) > MOST_FIELDS_AT_A_GLANCE or sum(map(len, texts)) > MOST_TEXT_AT_A_GLANCE


def prompt_digest(
    *,
    operation_digest: str,
    shown: Shown,
    binding_message: str,
    request_id: UUID,
    expires_at: datetime,
    nonce: bytes,
) -> bytes:
    """SHA-256 that ties one answer to what was shown for exactly this operation, once."""
    bound = {
        "operation_digest": operation_digest,
        "shown": shown,
        "binding_message": binding_message,
        "wording_version": wording.VERSION,
        "locale": LOCALE,
        "request_id": str(request_id),
        "expires_at": expires_at.astimezone(UTC).isoformat(),
        "nonce": nonce.hex(),
    }
    return hashlib.sha256(canonical_json(bound)).digest()
