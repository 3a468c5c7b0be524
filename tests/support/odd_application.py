"""A WSGI application with what Django's does not do today, behind the front: for tests/web/test_exchange.py."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from foundation.pending_answers import Pause, Repeat
from web.application import Front
from web.hub import Hub

THREADS = 2
QUEUE = 3
PAUSE = 0.5  # seconds
REPEAT_S = 3600.0  # seconds
made = itertools.count(1)
repeated: list[bytes] = []
closed: list[str] = []


class Chunks:
    """A body that is made while it is sent."""

    streaming = True
    file_to_stream = None

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.thread: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        self.thread = threading.get_ident()
        for _ in range(self.count):
            assert self.thread == threading.get_ident(), "all parts are made in one thread"
            yield b"x" * self.size

    def close(self) -> None:
        closed.append("chunks")


class BigFile:
    streaming = True

    def __init__(self, size: int) -> None:
        self.left = size
        self.file_to_stream = self

    def read(self, size: int) -> bytes:
        part = b"f" * min(size, self.left)
        self.left -= len(part)
        return part

    def close(self) -> None:
        closed.append("file")


class Paused(list[bytes]):
    """Good at once, and not to be sent yet."""

    def __init__(self) -> None:
        super().__init__([b"now"])
        self.parked = Pause(time.monotonic() + PAUSE)


class Document(list[bytes]):
    """A public document, which the front may send again."""

    def __init__(self, body: bytes) -> None:
        super().__init__([body])
        self.repeat = Repeat(REPEAT_S, lambda: repeated.append(body))


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1)
    elif path == "/chunks":
        start_response("200 OK", [("X-One", "1"), ("Set-Cookie", " a=1"), ("Set-Cookie", " b=2")])
        return Chunks(40, 65536)
    elif path == "/file":
        start_response("200 OK", [("Content-Length", str(20 * 1024 * 1024))])
        return BigFile(20 * 1024 * 1024)
    elif path == "/error":
        raise RuntimeError("not even Django caught it")
    elif path == "/paused":
        start_response("200 OK", [])
        return Paused()
    elif path == "/document":
        start_response("200 OK", [("X-Scheme", environ.get("HTTP_X_FORWARDED_PROTO", ""))])
        return Document(str(next(made)).encode())
    elif path == "/repeated":
        start_response("200 OK", [])
        return [str(len(repeated)).encode()]
    elif path == "/closed":
        start_response("200 OK", [])
        return [json.dumps(closed).encode()]
    start_response("200 OK", [("Content-Type", "application/json")])
    content = {name: value for name, value in environ.items() if isinstance(value, str)}
    content["body"] = environ["wsgi.input"].read().decode("latin-1")
    return [json.dumps(content).encode()]


application = Front(
    wsgi, threads=THREADS, queue=QUEUE, max_parked=10, max_body=1000,
    make_hub=lambda pool: Hub(pool, "redis://127.0.0.1:1/0"),
)  # fmt: skip
