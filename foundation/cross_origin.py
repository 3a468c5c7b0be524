"""Endpoints that pages of any origin may call (CORS, Fetch Standard 3.3), for clients that run in a browser.

These endpoints read no cookie and answer without credentials. So a page gains nothing over what its
author could do from any other machine.
"""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse

ALLOWED_HEADERS = "Authorization, Content-Type, DPoP, Prefer, MCP-Protocol-Version, Traceparent"
# Response headers that a client needs: RFC 9449 8, RFC 6750 3, RFC 9110 10.2.3, RFC 7240 3.
EXPOSED_HEADERS = "DPoP-Nonce, WWW-Authenticate, Retry-After, Preference-Applied"
PREFLIGHT_MAX_AGE_S = 7200  # seconds that a browser caches a preflight; Chromium's maximum


def is_preflight(request: HttpRequest) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(methods: Sequence[str]) -> HttpResponse:
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
    }
    return HttpResponse(status=204, headers=headers)


def open_to_all(response: HttpResponse) -> HttpResponse:
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return response
