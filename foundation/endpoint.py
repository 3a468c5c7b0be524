"""Shared behaviour of every protocol endpoint: methods, uncached JSON answers, and errors as specified."""

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout

from foundation.cross_origin import is_preflight, open_to_all, preflight
from foundation.errors import InvalidClient, MethodNotAllowed, ProtocolError, TemporarilyUnavailable
from foundation.metrics import ANSWERS, UNAUTHENTICATED
from foundation.pending_answers import Pause, can_wait, park, parked

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2  # seconds, when the database is unreachable
# If user enumeration protection is on, answers are sent at multiples of this many seconds after the
# request. The step is far larger than the difference between a known and an unknown user.
ANSWER_STEP_S = 0.1
View = Callable[..., HttpResponse]


def protocol_endpoint(
    name: str, *methods: str, hides_users: bool = False, cross_origin: bool = False
) -> Callable[[View], View]:
    """Wraps a view that returns JSON or raises a ProtocolError.

    Answers carry `Cache-Control: no-store` (RFC 6749 5.1). An unreachable database is answered with
    503 and Retry-After. The view must hold no transaction when it raises. With `hides_users`, the
    response time does not tell whether a user exists. With `cross_origin`, pages of any origin may
    call the endpoint.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            began = time.monotonic()
            try:
                if cross_origin and is_preflight(request):
                    return open_to_all(untyped_if_empty(preflight(methods)))
                if request.method not in methods:
                    raise MethodNotAllowed()
                response = untyped_if_empty(view(request, *args, **kwargs))
            except ProtocolError as error:
                response = _refuse(error, request, name, methods)
            except (OperationalError, InterfaceError, PoolTimeout) as error:
                log.error("%s: the database cannot be reached: %s", name, error)
                response = error_response(TemporarilyUnavailable(retry_after=RETRY_AFTER_S), request)
            if parked(response) is None:
                ANSWERS.labels(name, response.status_code).inc()
            if cross_origin:
                open_to_all(response)
            return answer_evenly(response, request, began) if hides_users else response

        endpoint.methods = methods  # type: ignore[attr-defined]  # for tests that call every endpoint
        return endpoint

    return decorate


def _refuse(error: ProtocolError, request: HttpRequest, name: str, methods: Sequence[str]) -> HttpResponse:
    response = error_response(error, request)
    if error.status == HTTPStatus.UNAUTHORIZED:
        UNAUTHENTICATED.labels(name, error.code).inc()
    if isinstance(error, MethodNotAllowed):
        response["Allow"] = ", ".join(methods)
    return response


def answer_evenly(response: HttpResponse, request: HttpRequest, began: float) -> HttpResponse:
    if not settings.HIDE_UNKNOWN_USERS:
        return response
    until = began + math.ceil((time.monotonic() - began) / ANSWER_STEP_S) * ANSWER_STEP_S
    if can_wait(request):
        return park(response, Pause(until))
    time.sleep(max(0.0, until - time.monotonic()))
    return response


def untyped_if_empty(response: HttpResponse) -> HttpResponse:
    """Removes the type of an empty answer (RFC 9110 8.3).

    Clients that accept only JSON refuse an empty text/html answer.
    """
    is_written = getattr(response, "is_rendered", True)  # DRF renders its errors later, and they are never empty
    if is_written and not response.content:
        del response["Content-Type"]
    return response


def json_response(body: dict[str, Any], status: int = 200) -> JsonResponse:
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


def error_response(error: ProtocolError, request: HttpRequest) -> HttpResponse:
    if error.detail:
        log.info("%s: %s", error.code, error.detail)
    response = json_response(error.body(), error.status)
    for name, value in error.headers.items():
        response[name] = value
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    if isinstance(error, InvalidClient) and "Authorization" in request.headers:
        response["WWW-Authenticate"] = 'Basic realm="countersign"'  # RFC 6749 5.2
    return response
