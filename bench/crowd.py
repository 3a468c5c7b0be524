"""Many clients that wait, each on a connection of its own, in one event loop; and a second process that decides."""

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

AT_ONCE = 200  # connections that are being opened


@dataclass
class Waiting:
    """One client. `answered_at` is when the last byte that it waited for was there (monotonic, s)."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: bytes = b""
    answered_at: float = 0.0
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def until(self, marker: bytes) -> None:
        """Reads until these bytes."""
        received = await self.reader.readuntil(marker)
        self.answered_at = time.monotonic()
        self.status = self.status or received[9:12]

    def close(self) -> None:
        self.writer.transport.abort()


async def open_all(
    host: str, port: int, requests: Sequence[bytes], begin: Callable[[Waiting], Awaitable[None]]
) -> list[Waiting]:
    """Sends each request on a connection of its own; `begin` is awaited for each."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(request: bytes) -> Waiting:
        async with places:
            waiting = Waiting(*await asyncio.open_connection(host, port))
            waiting.writer.write(request)
            await begin(waiting)
            return waiting

    return list(await asyncio.gather(*map(one, requests)))


class Decider:
    """Another process with Django: makes decisions, and says when each was committed (monotonic, s)."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._run, args=(theirs, act))
        self._process.start()

    @staticmethod
    def _run(pipe: Connection, act: Callable[[Any], None]) -> None:
        from foundation import wakeups

        publish, committed = wakeups._publish, [0.0]

        def note(topics: list[str]) -> None:
            committed[0] = time.monotonic()  # the first thing that happens after the commit
            publish(topics)

        wakeups._publish = note
        while (what := pipe.recv()) is not None:
            act(what)
            pipe.send(committed[0])

    async def decide(self, what: Any) -> float:
        self._pipe.send(what)
        return float(await asyncio.to_thread(self._pipe.recv))

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join()


def approve(prompt_id: UUID) -> None:
    from django.utils import timezone

    from accounts.models import User
    from ciba import lifecycle
    from ciba.models import Prompt
    from operations.risk import Assurance

    user = User.objects.get(prompts=Prompt.objects.get(pk=prompt_id))
    now = timezone.now()
    answerer = lifecycle.Approver(user, Assurance.SESSION, now, "127.0.0.1", "bench")
    verdict = lifecycle.approve(prompt_id, answerer, now)
    if verdict.name != "COUNT":
        raise SystemExit(f"an approval did not count: {verdict}")
