"""The front as granian serves it, in a process of its own, over the tests' PostgreSQL and Redis."""

import asyncio
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.test import Client

from runtime.processes import free_port
from tests.patience import PATIENCE, until

Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parent.parent.parent


def in_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """In a thread of its own: a browser of the same run keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass
class Served:
    """One web process. Requests are made as on the wire, so that nothing repairs them."""

    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def connection(self, timeout: float = PATIENCE) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> HTTPResponse:
        """A whole answer: `.status`, `.headers`, and `.content`."""
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            response.content = response.read()  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection on which these bytes were sent."""
        peer = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        for part in parts:
            peer.sendall(part)
        return peer

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.worker()}/fd").iterdir()))

    def worker(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return max(int(child) for child in children)

    def stop(self) -> float:
        """Asks it to end, and answers how long that took (s)."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE)
        return time.monotonic() - began


@contextmanager
def serving(application: str, *, host: str = "127.0.0.1", **environment: str) -> Iterator[Served]:
    port = free_port()
    ours = {
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "DATA_DIR": os.environ["DATA_DIR"],
        "COUNTERSIGN_TESTING": "1",
        "LOG_LEVEL": "WARNING",
        "DATABASE_OWNER_URL": "",
        "DJANGO_SETTINGS_MODULE": "authserver.settings",
    }
    command = [
        sys.executable, "-m", "granian", "--interface", "asgi", application, "--host", host, "--port", str(port),
        "--http", "1", "--backpressure", "20000", "--no-ws", "--log-level", "error", "--workers-kill-timeout", "100s",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=os.environ | ours | environment, cwd=ROOT)
    served = Served(port, process)
    try:
        until(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, "it did not start"
        yield served
    finally:
        served.stop()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
            peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return peer.recv(12) != b""
    except OSError:
        return False


@pytest.fixture(scope="module")
def served(django_db_setup: None) -> Iterator[Served]:
    """Nothing is read again there but after a wake-up (rarely.py): so what arrives was told, and no test measures."""
    with serving("tests.web.rarely:application") as one:
        yield one


@pytest.fixture(scope="module")
def looking(django_db_setup: None) -> Iterator[Served]:
    """The front as it is, which reads again every five seconds."""
    with serving("authserver.asgi:application") as one:
        yield one


class Inbox:
    """An open page: a stream of events, read as a browser does, by a thread."""

    def __init__(self, served: Served, browser: Client) -> None:
        self.connection = served.connection(timeout=PATIENCE)
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
        self.connection.request("GET", "/v1/prompts/events", headers={"Cookie": cookie, "Host": "localhost"})
        self.response = self.connection.getresponse()
        self.events: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        if self.status == 200:
            self.reader.start()

    @property
    def status(self) -> int:
        return self.response.status

    def json(self) -> Any:
        return json.loads(self.response.read())

    def _read(self) -> None:
        name = None
        try:
            while line := self.response.readline():
                if line.startswith(b"event: "):
                    name = line[7:].strip().decode()
                elif line.startswith(b"data: "):
                    name = name if line == b"data: again\n" else "an event with content"
                elif line == b"\n" and name:
                    self.events.put(name)
                    name = None
        except (OSError, ValueError, HTTPException):
            pass  # closed by the test
        self.events.put(None)

    def next(self, max_size: float = PATIENCE) -> str | None:
        """The next event's name; None at the end of the stream."""
        try:
            return self.events.get(timeout=max_size)
        except queue.Empty:
            return "nothing in time"

    def is_notified(self) -> bool:
        return self.next() == "look"

    def is_silent(self, seconds: float) -> bool:
        return self.next(seconds) == "nothing in time"

    def close(self) -> None:
        if self.connection.sock is not None:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        if self.status == 200:
            self.reader.join()
        self.response.close()
        self.connection.close()


@pytest.fixture
def open_inbox(served: Served) -> Iterator[Callable[[Client], Inbox]]:
    opened: list[Inbox] = []

    def open_one(browser: Client, at: Served = served) -> Inbox:
        opened.append(Inbox(at, browser))
        return opened[-1]

    yield open_one
    for inbox in opened:
        inbox.close()
