"""The class of every request: its constructor runs before any middleware, where an exception is answered by nobody."""

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters


class Request(WSGIRequest):
    """Text in UTF-8, whatever the content type says.

    Django believes a `charset` that names any codec of Python's, hex and idna too, and reads the query with it.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (ValueError, LookupError):  # RFC 2231 names a codec as well: text/plain; a*=nonsense''%41
            self.content_type, self.content_params = "", {}
