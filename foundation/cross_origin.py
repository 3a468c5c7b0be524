"""Endpoints that a page of any origin may call (Fetch Standard 3.3): clients that live in a browser.

They look at no cookie, so a page can do nothing here that its author could not do from anywhere; and answers to other
origins carry no credentials of the person's.
"""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse

ALLOWED_HEADERS = "Authorization, Content-Type, DPoP, Prefer, MCP-Protocol-Version"
# What a client needs of an answer beside its body: RFC 9449 8, RFC 6750 3, RFC 9110 10.2.3, RFC 7240 3.
EXPOSED_HEADERS = "DPoP-Nonce, WWW-Authenticate, Retry-After, Preference-Applied"
MAX_AGE = 7200  # seconds that a browser remembers a preflight: the most that Chromium does


def is_preflight(request: HttpRequest) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(methods: Sequence[str]) -> HttpResponse:
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    return HttpResponse(status=204, headers=headers)


def open_to_all(response: HttpResponse) -> HttpResponse:
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return response
