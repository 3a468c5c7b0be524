"""Who waits for what. Lives in the event loop alone; only reading the state happens in a thread.

All wake-ups of all processes come through one Redis channel, which is subscribed to before anybody looks at
anything; so a wake-up is missed only while that connection is broken. And in case one was lost, what everybody
waits for is read again every few seconds, in a query or two for all.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import redis
import redis.asyncio
from django.db import DatabaseError, InterfaceError, connection
from psycopg_pool import PoolTimeout

from authserver.front.pool import Pool
from foundation.volatile import TIMEOUT
from foundation.waiting import Watch, read_revisions
from foundation.wakeups import CHANNEL

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds
BETWEEN_LOOKS = 0.2  # seconds, at least
AT_ONCE = 1000  # topics in one query
PING_EVERY = 5.0  # seconds of silence, after which Redis is asked whether it is still there
LONGEST_PAUSE = 2.0  # seconds between attempts to reach Redis
REMEMBERED = 20_000  # topics woken lately

# Where in the sequence of wake-ups we are. None: the connection is broken, nobody knows.
Mark = int | None


class Listener:
    """One that waits. `changed` has the topics that changed, or may have, since it last took them."""

    __slots__ = ("_future", "changed", "is_gone", "is_over", "revisions")

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.revisions: dict[str, Hashable] = {one.topic: one.revision for one in watches}
        self.changed: set[str] = set()
        self.is_gone = False  # the client has closed the connection
        self.is_over = False  # it has, or the process ends
        self._future: asyncio.Future[None] | None = None

    def tell(self, topic: str) -> None:
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
        """What has changed, as soon as something has; nothing after `seconds`, and when it is over."""
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
    def __init__(self, pool: Pool, redis_url: str, look_every: float = LOOK_EVERY) -> None:
        self._pool = pool
        self._url = redis_url
        self._look_every = look_every
        self._listeners: dict[str, set[Listener]] = {}
        self._count = 0  # wake-ups received
        self._connected = False
        self._woken: OrderedDict[str, int] = OrderedDict()  # topic → count at its last wake-up
        self._complete_since = 0  # what was woken after this count is in `_woken`
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._look())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        """How many topics are waited for."""
        return len(self._listeners)

    # --- waiting

    def mark(self) -> Mark:
        """To be taken before the state is looked at: what changes after that is told."""
        return self._count if self._connected else None

    @contextmanager
    def listening(self, listener: Listener, mark: Mark) -> Iterator[Listener]:
        for topic in listener.revisions:
            self._listeners.setdefault(topic, set()).add(listener)
            if mark is not None and self._woken.get(topic, -1) > mark:
                listener.tell(topic)
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

    async def _hear(self) -> None:
        """Holds the one connection, for ever."""
        pause = 0.1
        while True:
            try:
                await self._hear_until_broken()
            except (redis.RedisError, OSError) as error:
                if self._connected:
                    log.warning("wake-ups are interrupted; what is waited for is read every %g s: %s",
                                self._look_every, error)  # fmt: skip
                    pause = 0.1
            except Exception:
                log.exception("wake-ups are interrupted")
            self._connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _hear_until_broken(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=None
        )
        async with client, client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            asked = False
            while True:
                message = await channel.get_message(timeout=PING_EVERY if self._connected else TIMEOUT * 4)
                if message is None:
                    if asked or not self._connected:
                        raise redis.TimeoutError("no answer")
                    await channel.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self._begin()
                elif message["type"] == "message":
                    for topic in message["data"].decode(errors="replace").split():
                        self._woke(topic)

    def _begin(self) -> None:
        """From now on nothing is missed; before, something may have been."""
        self._connected = True
        self._count += 1
        self._complete_since = self._count
        self._woken.clear()
        self._hurry.set()

    def _woke(self, topic: str) -> None:
        self._count += 1
        self._woken[topic] = self._count
        self._woken.move_to_end(topic)
        if len(self._woken) > REMEMBERED:
            _, self._complete_since = self._woken.popitem(last=False)
        for listener in self._listeners.get(topic, ()):
            listener.tell(topic)

    # --- in case one was lost

    async def _look(self) -> None:
        while True:
            await _at_most(self._hurry.wait(), self._look_every)
            self._hurry.clear()
            topics = iter(list(self._listeners))
            while some := list(islice(topics, AT_ONCE)):
                await self._compare(some)
            await asyncio.sleep(BETWEEN_LOOKS)

    async def _compare(self, topics: list[str]) -> None:
        try:
            now = await self._pool.run_own(_read, topics)
        except (DatabaseError, InterfaceError, PoolTimeout) as error:
            log.error("what is waited for cannot be read: %s", error)
            return
        except Exception:
            log.exception("what is waited for cannot be read")
            return
        for topic, revision in now.items():
            for listener in self._listeners.get(topic, ()):
                if listener.revisions[topic] != revision:
                    listener.revisions[topic] = revision
                    listener.tell(topic)


def _read(topics: list[str]) -> dict[str, Hashable]:
    try:
        return read_revisions(topics)
    finally:
        connection.close()


async def _at_most(awaitable: Awaitable[object], seconds: float) -> None:
    try:
        await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return
