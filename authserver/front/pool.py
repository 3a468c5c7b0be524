"""Django's threads: so many at once, so many waiting for one, and no more."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class QueueFull(Exception):
    """More requests wait for a thread than we let wait."""


class Pool:
    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="django")
        self._most = threads + queue
        self._taken = 0
        # What we do for those who wait leaves threads for new requests.
        self._own = asyncio.Semaphore(max(1, threads // 2))

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs it in a thread. Raises QueueFull."""
        if self._taken >= self._most:
            raise QueueFull
        self._taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._taken -= 1

    async def run_own(self, function: Callable[..., T], *arguments: Any) -> T:
        """For requests that were let in already: never refused, and never with all threads."""
        async with self._own:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
