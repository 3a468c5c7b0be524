"""The exact paths of the protocol endpoints, which the HTTP handler looks up in a table (authserver/handler.py)."""

import re
from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, re_path

ENDPOINTS: dict[str, Callable[..., HttpResponse]] = {}


def protocol_path(path: str, endpoint: Callable[..., HttpResponse], name: str) -> URLPattern:
    """The URL pattern of an endpoint at this path, with and without a trailing slash.

    There is never a redirect, because real clients drop the body of a POST on 301.
    """
    ENDPOINTS[f"/{path}"] = ENDPOINTS[f"/{path}/"] = endpoint
    return re_path(rf"^{re.escape(path)}/?$", endpoint, name=name)
