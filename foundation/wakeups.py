"""Wake-ups: "look again at this", told through Redis to whoever waits for it in any web process.

Sent after the commit, and it may be lost: whoever waits reads the state again every few seconds anyway.
A wake-up names a topic, `kind:key`, and nothing else; what became of it is read from PostgreSQL.
"""

import threading
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction

from foundation.volatile import Unreachable, Volatile

CHANNEL = "countersign:wake-ups"


def wake(topics: Iterable[str]) -> None:
    """Once the caller's transaction has committed. Never fails, and costs a short time-out at most."""
    named = sorted(set(topics))
    if named:
        transaction.on_commit(lambda: _publish(named), robust=True)


def _publish(topics: list[str]) -> None:
    volatile = _get_volatile()
    try:
        # One message for all: whoever listens splits it.
        volatile.ask(lambda: volatile.client.publish(CHANNEL, " ".join(topics)))
    except Unreachable:
        return


_volatile: Volatile | None = None
_lock = threading.Lock()


def _get_volatile() -> Volatile:
    global _volatile
    with _lock:
        if _volatile is None:
            _volatile = Volatile(settings.REDIS_URL, "waiting clients look for themselves")
    return _volatile
