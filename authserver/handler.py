"""Django's WSGI handler, with a short way for protocol paths.

A page passes Django's URL patterns and all of the middleware. A protocol endpoint needs neither: its
path is exact, and of the middleware it uses only the guard and the security headers. Looking for the
pattern and passing the rest took longer than parsing the request.
"""

import select
from collections.abc import Callable
from typing import Any

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from authserver.middleware import Guard, SecurityHeaders
from authserver.request import Request
from foundation.protocol_paths import ENDPOINTS

Answer = Callable[[HttpRequest], HttpResponseBase]


class Handler(WSGIHandler):
    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> HttpResponseBase:
        close_dead_connection()
        return super().__call__(environ, start_response)

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async)
        self._short_middleware_chain = short_way()

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in ENDPOINTS:
            return self._short_middleware_chain(request)
        return super().get_response(request)


def close_dead_connection() -> None:
    """Closes this thread's database connection if the database has ended it, so that the request opens another.

    Nothing arrives on an idle connection but its end.
    """
    current = connection.connection
    if current is not None and not current.closed:
        poll = select.poll()
        poll.register(current.fileno(), select.POLLIN)
        if poll.poll(0):
            current.close()  # so that no pool takes it for a living one
            connection.close()


def short_way() -> Answer:
    """The guard and the security headers around the endpoint. An exception of each becomes its error answer."""
    answer: Any = convert_exception_to_response(_call_endpoint)
    answer = convert_exception_to_response(SecurityHeaders(answer))
    guard: Any = Guard(answer)
    return convert_exception_to_response(guard)  # type: ignore[return-value]  # Django's type has coroutines too


def _call_endpoint(request: HttpRequest) -> HttpResponse:
    return ENDPOINTS[request.path_info](request)
