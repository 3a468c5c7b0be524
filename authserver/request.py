"""The class of every request.

Its constructor runs before any middleware, so an exception there would have no error answer.
"""

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters


class Request(WSGIRequest):
    """A request whose text is UTF-8, whatever its content type says.

    Django accepts a `charset` that names any Python codec, even hex and idna, and decodes the query
    with it.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (ValueError, LookupError):  # RFC 2231 names a codec as well: text/plain; a*=nonsense''%41
            self.content_type, self.content_params = "", {}
