"""The poll throttle in Redis: how often a client may poll. Its state may be lost at any moment.

If Redis is down or hangs, the throttle uses this process's memory and the request continues. Then a
poll may be allowed a little too early, but no answer is wrong.
"""

import contextlib
import threading
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from foundation.volatile import RedisUnreachable, Volatile

# With an inaccurate clock, a client that sleeps for exactly the interval polls slightly early.
LEEWAY_S = 0.5  # seconds
SLOW_DOWN_S = 5  # seconds: CIBA Core 11 requires at least 5 more, for this and all later requests
# The interval grows with each early poll in a row, up to this many. After that it stays the same.
MAX_EARLY = 30

# KEYS[1]; ARGV: now (s), interval (s), leeway (s), added (s), time to live (s), maximum of early
# polls that add. Returns {early polls in a row, interval}.
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
# KEYS[1]; ARGV: a time (s). Does nothing if the key is gone, because a new key would have no
# expiry.
_COUNT_FROM = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'last', ARGV[1])
end
"""


@dataclass(frozen=True)
class PollPace:
    """The result of one poll: the number of early polls in a row, and the interval (s) from now on."""

    early: int  # includes this poll; 0 if it came in time
    interval: int

    @property
    def too_early(self) -> bool:
        return self.early > 0

    @property
    def heeds_nothing(self) -> bool:
        """Whether the client ignored more than MAX_EARLY slow_down answers in a row."""
        return self.early > MAX_EARLY


@dataclass
class _Memory:
    """The fallback in memory: last poll, interval and early polls in a row per key, with a bounded number of keys."""

    max_keys: int = 10_000
    polls: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def poll(self, key: str, at: float, interval: int) -> PollPace:
        with self.lock:
            last, interval, early = self.polls.pop(key, (None, interval, 0))
            too_early = last is not None and at - last < interval - LEEWAY_S
            early = early + 1 if too_early else 0
            interval += SLOW_DOWN_S if 0 < early <= MAX_EARLY else 0
            self.polls[key] = (max(last or 0.0, at), interval, early)
            while len(self.polls) > self.max_keys:
                self.polls.pop(next(iter(self.polls)))
        return PollPace(early, interval)

    def count_from(self, key: str, at: float) -> None:
        with self.lock:
            if key in self.polls:
                self.polls[key] = (at, *self.polls[key][1:])


class PollThrottle:
    def __init__(self, url: str) -> None:
        self._volatile = Volatile(url, "the poll throttle falls back to this process's memory")
        self._script = self._volatile.client.register_script(_POLL)
        self._count_from = self._volatile.client.register_script(_COUNT_FROM)
        self._memory = _Memory()

    def poll(self, key: str, *, now: datetime, interval: int, lifetime: int) -> PollPace:
        """Records a poll of `key` and judges it. `interval` (s) is the interval from the first answer."""
        at = now.timestamp()
        arguments = [at, interval, LEEWAY_S, SLOW_DOWN_S, lifetime, MAX_EARLY]
        try:
            early, current = self._volatile.ask(lambda: self._script(keys=[f"pace:{key}"], args=arguments))
        except RedisUnreachable:
            return self._memory.poll(key, at, interval)
        return PollPace(int(early), int(current))

    def count_from(self, key: str, at: datetime) -> None:
        """Starts the interval before the next poll of `key` at `at`, the end of a long poll.

        While the long poll lasts, `at` is in the future, so that another poll meanwhile is too
        early.
        """
        with contextlib.suppress(RedisUnreachable):
            self._volatile.ask(lambda: self._count_from(keys=[f"pace:{key}"], args=[at.timestamp()]))
        self._memory.count_from(key, at.timestamp())

    def reachable(self) -> bool:
        """Whether Redis answers now. /readyz reports it and stays green without Redis."""
        try:
            return bool(self._volatile.ask(self._volatile.client.ping))
        except RedisUnreachable:
            return False


_throttle: PollThrottle | None = None
_lock = threading.Lock()


def get_poll_throttle() -> PollThrottle:
    """This process's throttle, created on first use."""
    global _throttle
    with _lock:
        if _throttle is None:
            _throttle = PollThrottle(settings.REDIS_URL)
    return _throttle
