"""The threads that run Django, with a bounded number of threads and of waiting requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class QueueFull(Exception):
    """Too many requests wait for a thread."""


class Pool:
    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="django")
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
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._in_use -= 1

    async def run_own(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs work of a request that was accepted before. It is never refused and never uses all threads."""
        async with self._own:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
