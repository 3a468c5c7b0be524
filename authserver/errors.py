"""The fallback error answers: JSON for /v1 and protocol paths, pages for browsers."""

import logging
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import loader
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from authserver.middleware import is_protocol
from foundation.api_errors import (
    MethodRefused,
    NotAcceptable,
    NothingFound,
    NotSignedIn,
    ServerFailed,
    SessionCallRefused,
    UnsupportedType,
)
from foundation.endpoint import RETRY_AFTER_S, json_response
from foundation.errors import BodyTooLarge, InvalidRequest, ProtocolError

log = logging.getLogger(__name__)

_API_ERRORS: dict[int, type[ProtocolError]] = {
    kind.status: kind
    for kind in (
        NotSignedIn,
        SessionCallRefused,
        NothingFound,
        MethodRefused,
        NotAcceptable,
        BodyTooLarge,
        UnsupportedType,
    )
}


def api_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Formats DRF's errors like all other JSON errors of this server."""
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.NotAuthenticated):
        response.status_code = NotSignedIn.status
    kind = _API_ERRORS.get(response.status_code, InvalidRequest)
    detail = getattr(error, "detail", "")
    is_sentence = isinstance(detail, str) and kind is not NotSignedIn
    response.data = kind(detail if is_sentence else "").body()
    response["Cache-Control"] = "no-store"
    return response


def reference(request: HttpRequest) -> str:
    return str(request.META.get("COUNTERSIGN_REFERENCE", ""))


def wants_json(request: HttpRequest) -> bool:
    return is_protocol(request) or request.path_info.startswith("/v1/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django names it
    if wants_json(request):
        return json_response(InvalidRequest("the request cannot be read").body(), 400)
    return render(request, "400.html", {"reference": reference(request)}, status=400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django names it
    if wants_json(request):
        return json_response(NothingFound().body(), 404)
    return render(request, "404.html", {"reference": reference(request)}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """A 500 page with a reference. django.request has logged the traceback under the same
    reference.
    """
    import sys

    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return _unavailable(request)
    if wants_json(request):
        return json_response(ServerFailed(f"reference {reference(request)}").body(), 500)
    page = loader.get_template("500.html").render({"reference": reference(request)})
    return HttpResponse(page, status=500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    """503 with Retry-After, because the database cannot be reached."""
    if wants_json(request):
        response: HttpResponse = JsonResponse({"error": "temporarily_unavailable"}, status=503)
    else:
        page = loader.get_template("failed.html").render(
            {
                "title": "Not available at the moment",
                "what_happened": "Countersign cannot reach its database. Nothing was changed.",
                "what_to_do": "Wait a moment, then load this page again.",
                "reference": reference(request),
            }
        )
        response = HttpResponse(page, status=503)
    response["Retry-After"] = str(RETRY_AFTER_S)
    response["Cache-Control"] = "no-store"
    return response


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    log.info("CSRF check failed: %s", reason)
    context = {
        "title": "This form is too old",
        "what_happened": "You opened the page before you last signed in, or another site sent the form. "
        "Nothing was changed.",
        "what_to_do": "Go back, reload the page and try again.",
        "reference": reference(request),
    }
    return render(request, "failed.html", context, status=403)
