"""The threads that run Django, with a bounded number of threads and of waiting requests.

concurrent.futures would take a third of the time of a short request for its locks and for the way
back to the event loop. A queue and a future of the loop are all that the front needs.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class QueueFull(Exception):
    """Too many requests wait for a thread."""


class Pool:
    def __init__(self, threads: int, queue: int) -> None:
        self._threads = threads
        self._started = False
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._max = threads + queue
        self._in_use = 0
        # Work for accepted requests uses at most half of the threads, so that the rest are free for
        # new requests.
        self._own = asyncio.Semaphore(max(1, threads // 2))

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs the function in a thread. Raises QueueFull."""
        if self._in_use >= self._max:
            raise QueueFull
        self._in_use += 1
        try:
            return await self._run(function, arguments)
        finally:
            self._in_use -= 1

    async def run_own(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs work of a request that was accepted before. It is never refused and never uses all threads."""
        async with self._own:
            return await self._run(function, arguments)

    def close(self) -> None:
        """Ends the threads when they have done what was queued before."""
        for _ in range(self._threads):
            self._jobs.put(None)

    async def _run(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        if not self._started:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
                loop.call_soon_threadsafe(_settle, future.set_exception, future, error)
            else:
                loop.call_soon_threadsafe(_settle, future.set_result, future, result)

        self._jobs.put(job)
        return await future

    def _start(self) -> None:
        self._started = True
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"django-{number}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _settle(act: Callable[[Any], None], future: "asyncio.Future[Any]", outcome: Any) -> None:
    """In the event loop. Whoever waited may have been cancelled."""
    if not future.done():
        act(outcome)
