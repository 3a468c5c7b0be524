"""The bridge from ASGI to WSGI: a request's environment, and an answer computed in a thread."""

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from foundation.pending_answers import FRONT, RESUMED, Pause, Repeat, Resumed, Stream, Wait, parked, repeatable

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]

CHUNK_BYTES = 64 * 1024
NO_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class File(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class WsgiAnswer:
    """The answer of the WSGI application. The body is `body`, a file, or an iterator of `chunks`."""

    status: int
    headers: Headers
    body: bytes = b""
    file: File | None = None
    chunks: Iterator[bytes] | None = None
    close: Callable[[], None] | None = None  # to be called later, in a thread, if the body is not complete yet
    parked: Wait | Stream | Pause | None = None
    repeat: Repeat | None = None


def messages_of(answer: WsgiAnswer) -> tuple[Message, Message]:
    """The ASGI messages of a whole answer."""
    return (
        {"type": "http.response.start", "status": answer.status, "headers": answer.headers},
        {"type": "http.response.body", "body": answer.body},
    )


def environ_of(scope: Scope, body: bytes = b"", resumed: Resumed | None = None) -> dict[str, Any]:
    """The environment of PEP 3333 from an ASGI scope.

    The body is complete, so that no thread waits for a slow sender.
    """
    host, port = scope.get("server") or ("localhost", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        FRONT: True,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        # X_Forwarded_For would become the same variable as X-Forwarded-For and bypass a proxy that
        # guards the latter.
        if "_" in name or name == "transfer-encoding":
            continue
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    environ.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(len(body)) if body else ""
    if resumed is not None:
        environ[RESUMED] = resumed
    return environ


def call(wsgi: Wsgi, environ: dict[str, Any]) -> WsgiAnswer:
    """Runs the application in the calling thread. Reads a body completely if it is in memory already."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:  # noqa: ARG001 - PEP 3333
        encoded = [(name.lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
        started[:] = [int(status[:3]), encoded]

    result = wsgi(environ, start_response)
    status, headers = started
    close = getattr(result, "close", None)
    if getattr(result, "streaming", False) and environ["REQUEST_METHOD"] != "HEAD":
        file = getattr(result, "file_to_stream", None)
        return WsgiAnswer(status, headers, file=file, chunks=None if file else iter(result), close=close)
    try:
        body = b"" if getattr(result, "streaming", False) else b"".join(result)
        how = parked(result)
        if (
            status not in NO_BODY
            and not isinstance(how, Stream)
            and not any(name == b"content-length" for name, _ in headers)
        ):
            headers.append((b"content-length", str(len(body)).encode()))
        return WsgiAnswer(status, headers, body, parked=how, repeat=repeatable(result))
    finally:
        # Django returns its database connection when the answer is closed, so close it before any
        # wait.
        if close is not None:
            close()
