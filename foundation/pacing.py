"""Pacing in Redis: how often somebody may ask. What is here may be lost at any moment.

Without Redis, or with one that hangs, pacing falls back to this process's memory and the request goes
on: an answer may come a little too often, never wrongly.
"""

import contextlib
import threading
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from foundation.volatile import Unreachable, Volatile

# A client that sleeps for exactly the interval arrives a little early on a bad clock.
LEEWAY = 0.5  # seconds
SLOW_DOWN = 5  # seconds: CIBA Core 11 asks for at least 5 more, for this and all later requests
# So many early polls in a row are answered slow_down, and each makes the interval longer; after that it stays.
MAX_EARLY = 30

# KEYS[1]; ARGV: now (s), interval (s), leeway (s), added (s), time to live (s), how many early polls add.
# Answers {early polls in a row, interval}.
_POLL = """
local last = tonumber(redis.call('HGET', KEYS[1], 'last'))
local interval = tonumber(redis.call('HGET', KEYS[1], 'interval')) or tonumber(ARGV[2])
local early = tonumber(redis.call('HGET', KEYS[1], 'early')) or 0
if last and tonumber(ARGV[1]) - last < interval - tonumber(ARGV[3]) then
  early = early + 1
  if early <= tonumber(ARGV[6]) then
    interval = interval + tonumber(ARGV[4])
  end
else
  early = 0
end
redis.call('HSET', KEYS[1], 'last', math.max(last or 0, tonumber(ARGV[1])), 'interval', interval, 'early', early)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {early, interval}
"""
# KEYS[1]; ARGV: a time (s). Nothing where the poll is forgotten: it would have no end.
_COUNT_FROM = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'last', ARGV[1])
end
"""


@dataclass(frozen=True)
class Pace:
    """What pacing says of one poll: how many came too soon in a row, and the interval (s) from now on."""

    early: int  # this one included; 0 where it came in time
    interval: int

    @property
    def too_soon(self) -> bool:
        return self.early > 0

    @property
    def heeds_nothing(self) -> bool:
        """Every slow_down was ignored, again and again."""
        return self.early > MAX_EARLY


@dataclass
class _Memory:
    """The fallback: last poll, interval and early polls in a row by key, bounded."""

    most: int = 10_000
    polls: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def poll(self, key: str, at: float, interval: int) -> Pace:
        with self.lock:
            last, interval, early = self.polls.pop(key, (None, interval, 0))
            too_soon = last is not None and at - last < interval - LEEWAY
            early = early + 1 if too_soon else 0
            interval += SLOW_DOWN if 0 < early <= MAX_EARLY else 0
            self.polls[key] = (max(last or 0.0, at), interval, early)
            while len(self.polls) > self.most:
                self.polls.pop(next(iter(self.polls)))
        return Pace(early, interval)

    def count_from(self, key: str, at: float) -> None:
        with self.lock:
            if key in self.polls:
                self.polls[key] = (at, *self.polls[key][1:])


class Pacing:
    def __init__(self, url: str) -> None:
        self._volatile = Volatile(url, "pacing falls back to this process's memory")
        self._script = self._volatile.client.register_script(_POLL)
        self._count_from = self._volatile.client.register_script(_COUNT_FROM)
        self._memory = _Memory()

    def poll(self, key: str, *, now: datetime, interval: int, lifetime: int) -> Pace:
        """Records a poll of `key` and judges it. `interval` is what the client was first told (s)."""
        at = now.timestamp()
        arguments = [at, interval, LEEWAY, SLOW_DOWN, lifetime, MAX_EARLY]
        try:
            early, current = self._volatile.ask(lambda: self._script(keys=[f"pace:{key}"], args=arguments))
        except Unreachable:
            return self._memory.poll(key, at, interval)
        return Pace(int(early), int(current))

    def count_from(self, key: str, at: datetime) -> None:
        """The interval until the next poll of `key` begins at `at`: the end of an answer that was held back.

        In the future while it is held, so that another poll meanwhile comes too soon.
        """
        with contextlib.suppress(Unreachable):
            self._volatile.ask(lambda: self._count_from(keys=[f"pace:{key}"], args=[at.timestamp()]))
        self._memory.count_from(key, at.timestamp())

    def reachable(self) -> bool:
        """Does Redis answer now? For /readyz, which reports it and stays green without it."""
        try:
            return bool(self._volatile.ask(self._volatile.client.ping))
        except Unreachable:
            return False


_pacing: Pacing | None = None
_lock = threading.Lock()


def get_pacing() -> Pacing:
    """This process's pacing, made on first use."""
    global _pacing
    with _lock:
        if _pacing is None:
            _pacing = Pacing(settings.REDIS_URL)
    return _pacing
