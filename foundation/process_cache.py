"""Values that a process reads from PostgreSQL once per period, and not once per request.

One thread reads. While it does, the others use the value that the process has, if it is younger
than MAX_AGE_S; otherwise they wait for the reading and share its value or its error. So a change by
another process is seen within MAX_AGE_S, and when PostgreSQL cannot be read, the cache fails closed
after MAX_AGE_S. A change by this process is seen at once, if it calls `clear` after its commit.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

RENEW_AFTER_S = 10.0  # seconds: leaves time to read before MAX_AGE_S
MAX_AGE_S = 15.0  # seconds, counted from the start of the reading

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Held(Generic[Value]):
    value: Value
    read_at: float  # on the monotonic clock

    def is_younger_than(self, seconds: float) -> bool:
        return time.monotonic() - self.read_at < seconds


class ProcessCache(Generic[Value]):
    """One value. `read` gets the time and the previous value, parts of which it may use again; None at first."""

    def __init__(self, read: Callable[[datetime, Value | None], Value]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._held: _Held[Value] | None = None
        self._reading: Future[Value] | None = None  # by the one thread that reads

    def get(self, now: datetime) -> Value:
        """The value. Raises what `read` raises."""
        held = self._held
        if held and held.is_younger_than(RENEW_AFTER_S):
            return held.value
        with self._lock:
            held, reading = self._held, self._reading
            if held and held.is_younger_than(RENEW_AFTER_S):
                return held.value
            ours: Future[Value] | None = None
            if reading is None:
                reading = self._reading = ours = Future()
        if ours:
            return self._renew(ours, held, now)
        if held and held.is_younger_than(MAX_AGE_S):
            return held.value
        return reading.result()

    def clear(self) -> None:
        """Ends the use of the value, and of a value that is being read, because it may be older than the change."""
        with self._lock:
            self._reading = None
            if self._held:
                self._held = replace(self._held, read_at=float("-inf"))

    def _renew(self, reading: Future[Value], previous: _Held[Value] | None, now: datetime) -> Value:
        began = time.monotonic()
        try:
            value = self._read(now, previous.value if previous else None)
        except BaseException as error:
            self._end(reading, previous)
            reading.set_exception(error)
            raise
        self._end(reading, _Held(value, began))
        reading.set_result(value)
        return value

    def _end(self, reading: Future[Value], held: _Held[Value] | None) -> None:
        """Stores what was read, unless the cache was cleared meanwhile."""
        with self._lock:
            if self._reading is reading:
                self._reading, self._held = None, held
