"""Cuts off calls that take too long: one thread watches all calls of this process.

A thread per call would cost more than most calls do, because it has to start before the call goes
on. This thread runs while there are calls, and checks them a few times a second.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 0.2  # seconds


@dataclass(eq=False)
class TimedCall:
    """One call in progress. `is_late` is set when it was cut off."""

    ends_at: float  # monotonic
    cut_off: Callable[[], None]
    is_late: bool = False


_lock = threading.Lock()
_calls: set[TimedCall] = set()
_watcher: threading.Thread | None = None


@contextmanager
def close_after(seconds: float, cut_off: Callable[[], None]) -> Iterator[TimedCall]:
    """Calls `cut_off` once, from another thread, if the block takes longer; never after the block
    has ended.
    """
    global _watcher
    call = TimedCall(time.monotonic() + seconds, cut_off)
    with _lock:
        _calls.add(call)
        if _watcher is None or not _watcher.is_alive():  # as after a fork
            _watcher = threading.Thread(target=_watch, name="cutting off", daemon=True)
            _watcher.start()
    try:
        yield call
    finally:
        with _lock:
            _calls.discard(call)


def _watch() -> None:
    global _watcher
    while True:
        time.sleep(CHECK_INTERVAL_S)
        with _lock:  # held during the cut-off, so that a call that ends now returns its connection only afterwards
            for call in [call for call in _calls if call.ends_at <= time.monotonic()]:
                _calls.discard(call)
                call.is_late = True
                _cut_off(call)
            if not _calls:
                _watcher = None
                return


def _cut_off(call: TimedCall) -> None:
    try:
        call.cut_off()
    except Exception:  # this thread also watches all other calls
        log.exception("a call that takes too long could not be stopped")
