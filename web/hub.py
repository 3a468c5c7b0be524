"""The hub: waiting requests and the topics that they wait for.

It runs in the event loop; only reading revisions happens in a thread. One Redis channel carries all
wake-ups of all processes, and the hub subscribes before any state is read. So a wake-up is missed
only while that connection is broken. In case one was lost, the hub reads the revisions of all
awaited topics again every few seconds, with one or two queries for all of them.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import redis
import redis.asyncio
from django.db import DatabaseError, InterfaceError, close_old_connections
from psycopg_pool import PoolTimeout

from foundation.backoff import pause
from foundation.pending_answers import Watch, read_revisions
from foundation.volatile import REDIS_TIMEOUT_S
from foundation.wakeups import CHANNEL
from web.pool import Pool

log = logging.getLogger(__name__)

RECHECK_INTERVAL_S = 5.0  # seconds
MIN_CHECK_INTERVAL_S = 0.2  # seconds; the shortest interval between checks
TOPICS_PER_QUERY = 1000  # topics per query
PING_INTERVAL_S = 5.0  # seconds of silence after which the hub pings Redis
FIRST_RECONNECT_PAUSE_S, MAX_RECONNECT_PAUSE_S = 0.1, 2.0  # seconds between attempts to reach Redis
MAX_REMEMBERED_TOPICS = 20_000  # most recently woken topics

# A position in the sequence of wake-ups. None: the connection is broken, so wake-ups may be
# missing.
Mark = int | None


class Listener:
    """One waiting request. `changed` holds the topics that may have changed since it last took them."""

    __slots__ = ("_future", "changed", "is_gone", "is_over", "revisions")

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.revisions: dict[str, Hashable] = {one.topic: one.revision for one in watches}
        self.changed: set[str] = set()
        self.is_gone = False  # the client has disconnected
        self.is_over = False  # the client has disconnected, or the process ends
        self._future: asyncio.Future[None] | None = None

    def notify(self, topic: str) -> None:
        self.changed.add(topic)
        self._wake()

    def end(self) -> None:
        self.is_over = True
        self._wake()

    def leave(self) -> None:
        self.is_gone = True
        self.end()

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float) -> set[str]:
        """The changed topics, as soon as there are any. Empty after `seconds`, or when the wait is over."""
        if not self.changed and not self.is_over and seconds > 0:
            loop = asyncio.get_running_loop()
            self._future = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        changed, self.changed = self.changed, set()
        return changed


class Hub:
    def __init__(self, pool: Pool, redis_url: str, recheck_interval: float = RECHECK_INTERVAL_S) -> None:
        self._pool = pool
        self._url = redis_url
        self._recheck_interval = recheck_interval
        self._listeners: dict[str, set[Listener]] = {}
        self._count = 0  # wake-ups received
        self._connected = False
        self._woken: OrderedDict[str, int] = OrderedDict()  # topic → the count at its last wake-up
        self._complete_since = 0  # `_woken` contains every wake-up after this count
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._recheck())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        """The number of awaited topics."""
        return len(self._listeners)

    # --- waiting

    def mark(self) -> Mark:
        """A mark to take before reading the state. `listening` then reports wake-ups that arrived after the mark."""
        return self._count if self._connected else None

    @contextmanager
    def listening(self, listener: Listener, mark: Mark) -> Iterator[Listener]:
        for topic in listener.revisions:
            self._listeners.setdefault(topic, set()).add(listener)
            if mark is not None and self._woken.get(topic, -1) > mark:
                listener.notify(topic)
        if mark is None or mark < self._complete_since:
            self._hurry.set()
        try:
            yield listener
        finally:
            for topic in listener.revisions:
                waiting = self._listeners[topic]
                waiting.discard(listener)
                if not waiting:
                    del self._listeners[topic]

    # --- wake-ups

    async def _listen(self) -> None:
        """Keeps the Redis connection open, and reconnects for ever."""
        failures = 0
        while True:
            try:
                await self._listen_until_broken()
            except (redis.RedisError, OSError) as error:
                if self._connected:
                    log.warning("wake-ups are interrupted; the front reads the state every %g s: %s",
                                self._recheck_interval, error)  # fmt: skip
                    failures = 0
            except Exception:
                log.exception("wake-ups are interrupted")
            self._connected = False
            failures += 1
            wait = pause(failures, first_s=FIRST_RECONNECT_PAUSE_S, max_s=MAX_RECONNECT_PAUSE_S)
            await asyncio.sleep(wait.total_seconds())

    async def _listen_until_broken(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S, retry=None
        )
        async with client, client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            requested = False
            while True:
                message = await channel.get_message(timeout=PING_INTERVAL_S if self._connected else REDIS_TIMEOUT_S * 4)
                if message is None:
                    if requested or not self._connected:
                        raise redis.TimeoutError("no answer")
                    await channel.ping()
                    requested = True
                    continue
                requested = False
                if message["type"] == "subscribe":
                    self._begin()
                elif message["type"] == "message":
                    for topic in message["data"].decode(errors="replace").split():
                        self._woke(topic)

    def _begin(self) -> None:
        """The subscription is active: from now on no wake-up is missed, but earlier ones may have been."""
        self._connected = True
        self._count += 1
        self._complete_since = self._count
        self._woken.clear()
        self._hurry.set()

    def _woke(self, topic: str) -> None:
        self._count += 1
        self._woken[topic] = self._count
        self._woken.move_to_end(topic)
        if len(self._woken) > MAX_REMEMBERED_TOPICS:
            _, self._complete_since = self._woken.popitem(last=False)
        for listener in self._listeners.get(topic, ()):
            listener.notify(topic)

    # --- periodic checks, in case a wake-up was lost

    async def _recheck(self) -> None:
        while True:
            await _within(self._hurry.wait(), self._recheck_interval)
            self._hurry.clear()
            topics = iter(list(self._listeners))
            while some := list(islice(topics, TOPICS_PER_QUERY)):
                await self._compare(some)
            await asyncio.sleep(MIN_CHECK_INTERVAL_S)

    async def _compare(self, topics: list[str]) -> None:
        try:
            now = await self._pool.run_own(_read, topics)
        except (DatabaseError, InterfaceError, PoolTimeout) as error:
            log.error("the state that clients wait for cannot be read: %s", error)
            return
        except Exception:
            log.exception("the state that clients wait for cannot be read")
            return
        for topic, revision in now.items():
            for listener in self._listeners.get(topic, ()):
                if listener.revisions[topic] != revision:
                    listener.revisions[topic] = revision
                    listener.notify(topic)


def _read(topics: list[str]) -> dict[str, Hashable]:
    try:
        return read_revisions(topics)
    finally:
        close_old_connections()


async def _within(awaitable: Awaitable[object], seconds: float) -> None:
    try:
        await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return
