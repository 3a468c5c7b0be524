"""What a round sends and how: by wrk where a request stands for itself, by a loop of our own where one needs the answer
to another. Both check every answer.
"""

import asyncio
import itertools
import json
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from product import FORM

SCRIPT = Path(__file__).parent / "wrk.lua"
LONGEST = 3600  # seconds: the end comes by a signal
AT_ONCE = 8  # requests of `exchange_all`


@dataclass(frozen=True)
class Load:
    """Whole HTTP requests. A right answer has this status, and the marker in its body."""

    requests: Sequence[bytes]
    status: int
    marker: str
    is_single_use: bool = False


@dataclass(frozen=True)
class Flow:
    """Requests that belong together, on one connection. Each `run` gets another number, and raises WrongAnswer."""

    run: Callable[["Connection", int], Awaitable[None]]
    limit: int | None = None  # how many times it may run


@dataclass(frozen=True)
class Round:
    count: int
    seconds: float
    p50: float  # ms
    p99: float  # ms

    @property
    def rate(self) -> float:
        return self.count / self.seconds


class WrongAnswer(Exception):
    """An answer that is not what the scenario expects."""


# --- requests


def get(path: str, host: str, **headers: str) -> bytes:
    return _request("GET", path, host, headers)


def post(path: str, host: str, form: Mapping[str, str], **headers: str) -> bytes:
    return _request("POST", path, host, headers | {"Content-Type": FORM}, urlencode(form).encode())


def post_json(path: str, host: str, body: Any, **headers: str) -> bytes:
    return _request("POST", path, host, headers | {"Content-Type": "application/json"}, json.dumps(body).encode())


def _request(method: str, path: str, host: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """Empty if there is none."""
        lines = (line.partition(":") for line in self.head.decode("latin-1").splitlines())
        return next((value.strip() for found, _, value in lines if found.lower() == name.lower()), "")


class Connection:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, request: bytes) -> "Answer":
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return Answer(int(head[9:12]), head, await self._reader.readexactly(length))

    async def expect(self, request: bytes, status: int, marker: str) -> bytes:
        """The body of the right answer. Raises WrongAnswer."""
        answer = await self.exchange(request)
        if answer.status != status or marker.encode() not in answer.body:
            raise WrongAnswer(f"{answer.status} {answer.body.decode(errors='replace')}")
        return answer.body

    def close(self) -> None:
        self._writer.close()


def exchange_all(port: int, requests: Sequence[bytes], status: int, marker: str) -> list[bytes]:
    """The bodies of the right answers, in order. Raises WrongAnswer."""

    async def send(share: Sequence[bytes]) -> list[bytes]:
        connection = await Connection.open(port)
        bodies = [await connection.expect(request, status, marker) for request in share]
        connection.close()
        return bodies

    async def send_all() -> list[list[bytes]]:
        return await asyncio.gather(*(send(requests[start::AT_ONCE]) for start in range(AT_ONCE)))

    shares = asyncio.run(send_all())
    return [shares[number % AT_ONCE][number // AT_ONCE] for number in range(len(requests))]


# --- rounds


def run(load: Load | Flow, port: int, connections: int, seconds: float) -> Round:
    """Ends sooner where requests of a single use are used up. Raises WrongAnswer."""
    if isinstance(load, Flow):
        return asyncio.run(_run_flow(load, port, connections, seconds))
    return _run_wrk(load, port, connections, seconds)


def _run_wrk(load: Load, port: int, connections: int, seconds: float) -> Round:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(load.requests))
        file.flush()
        use = "once" if load.is_single_use else "again"
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{LONGEST}s", "--timeout", "30s", "-s", str(SCRIPT),
            f"http://127.0.0.1:{port}", "--", file.name, use, str(load.status), load.marker,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate()
    last = said.splitlines()[-1] if said else ""
    if not last.startswith("{"):
        raise SystemExit(f"wrk failed: {said}")
    figures = json.loads(last)
    if figures["wrong"] or figures["broken"]:
        raise WrongAnswer(figures["wrong"] or f"{figures['broken']} requests without an answer")
    return Round(figures["count"], figures["seconds"], figures["p50"], figures["p99"])


async def _run_flow(flow: Flow, port: int, connections: int, seconds: float) -> Round:
    numbers = itertools.count() if flow.limit is None else iter(range(flow.limit))
    times, began = list[float](), time.perf_counter()

    async def repeat() -> None:
        connection = await Connection.open(port)
        for number in numbers:
            one_began = time.perf_counter()
            if one_began - began >= seconds:
                break
            await flow.run(connection, number)
            times.append((time.perf_counter() - one_began) * 1000)
        connection.close()

    await asyncio.gather(*(repeat() for _ in range(connections)))
    return Round(len(times), time.perf_counter() - began, statistics.median(times), percentile(times, 0.99))


def percentile(times: Sequence[float], share: float) -> float:
    return sorted(times)[max(int(len(times) * share) - 1, 0)]
