"""Calls that take too long are cut off: one thread watches over all that this process has under way.

A thread of its own for each would cost more than most calls do: it has to run before the call goes on. This one lives
while there are calls, and looks at them a few times a second.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger(__name__)

EVERY = 0.2  # seconds


@dataclass(eq=False)
class Call:
    """One call under way. `is_late` once it was cut off."""

    ends_at: float  # monotonic
    cut_off: Callable[[], None]
    is_late: bool = False


_lock = threading.Lock()
_calls: set[Call] = set()
_watcher: threading.Thread | None = None


@contextmanager
def cut_off_after(seconds: float, cut_off: Callable[[], None]) -> Iterator[Call]:
    """`cut_off` is called from another thread, once, where what is inside takes longer; never after it has ended."""
    global _watcher
    call = Call(time.monotonic() + seconds, cut_off)
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
        time.sleep(EVERY)
        with _lock:  # held while cutting off: a call that ends now hands its connection on only afterwards
            for call in [call for call in _calls if call.ends_at <= time.monotonic()]:
                _calls.discard(call)
                call.is_late = True
                _cut_off(call)
            if not _calls:
                _watcher = None
                return


def _cut_off(call: Call) -> None:
    try:
        call.cut_off()
    except Exception:  # this thread watches over everybody else's calls, too
        log.exception("a call that takes too long could not be cut off")
