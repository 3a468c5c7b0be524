"""Wake-ups: a message through Redis to every web process that a topic may have changed.

A wake-up is sent after the commit and may be lost, because waiting answers read the state again
every few seconds. It carries only the topic (`kind:key`). Receivers read the new state from
PostgreSQL.
"""

import threading
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction

from foundation.volatile import RedisUnreachable, Volatile

CHANNEL = "countersign:wake-ups"


def wake(topics: Iterable[str]) -> None:
    """Sends wake-ups after the caller's transaction commits. Never fails, and costs at most one short time-out."""
    named = sorted(set(topics))
    if named:
        transaction.on_commit(lambda: _publish(named), robust=True)


def _publish(topics: list[str]) -> None:
    volatile = _get_volatile()
    try:
        # One message carries all topics; the receiver splits it.
        volatile.ask(lambda: volatile.client.publish(CHANNEL, " ".join(topics)))
    except RedisUnreachable:
        return


_volatile: Volatile | None = None
_lock = threading.Lock()


def _get_volatile() -> Volatile:
    global _volatile
    with _lock:
        if _volatile is None:
            _volatile = Volatile(settings.REDIS_URL, "waiting clients read the state by themselves")
    return _volatile
