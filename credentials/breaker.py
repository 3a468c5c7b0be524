"""A circuit breaker per backend, in PostgreSQL: every process sees the same, and one dead system delays nobody else.

Open from the first call that nobody answered. From then on the sweepers alone ask, one of them with each sweep; who
wants something lent is refused at once, and no request waits for a dead system.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from credentials.engines import EngineError, NotAsked, Refused, Unreachable
from credentials.models import Backend
from credentials.retrying import refused_pause

PROBE = timedelta(seconds=45)  # longer than a call may take: meanwhile nobody else asks
AGAIN = timedelta(seconds=0.5)  # less than from one sweep to the next: what is due is done with the first one that can
IS_OPEN = Q(failing_since__isnull=False)


def is_open(backend: Backend) -> bool:
    """`backend` was just read."""
    return backend.failing_since is not None


def is_askable(now: datetime) -> Q:
    return ~IS_OPEN | Q(tried_again_at=None) | Q(tried_again_at__lte=now)


@contextmanager
def asking(backend: Backend, now: datetime) -> Iterator[bool]:
    """For a sweeper. Closed: every thread may ask. Open: one at a time. `backend` was just read.

    However it goes, the next sweep may ask again; unless the process dies here, when PROBE has to pass.
    """
    if not is_open(backend):
        yield True
        return
    until = now + PROBE
    may = Backend.objects.filter(IS_OPEN, is_askable(now), pk=backend.pk).update(tried_again_at=until)
    try:
        yield bool(may)
    finally:
        if may:
            mine = Backend.objects.filter(IS_OPEN, pk=backend.pk, tried_again_at=until)
            mine.update(tried_again_at=timezone.now() + AGAIN)


def note_unreachable(backend_id: UUID, error: Unreachable, now: datetime) -> None:
    failures = Backend.objects.filter(pk=backend_id).values_list("failures", flat=True).first() or 0
    pause = refused_pause(failures) if isinstance(error, Refused) else AGAIN
    Backend.objects.filter(pk=backend_id).update(
        failures=F("failures") + 1,
        tried_again_at=now + pause,
        failing_since=Coalesce("failing_since", now),
        problem=str(error)[:300],
    )


def note_reached(backend: Backend) -> None:
    """Most of the time there is nothing to write. `backend` as it was read before it was asked."""
    if is_open(backend):
        Backend.objects.filter(pk=backend.pk).update(failures=0, tried_again_at=None, failing_since=None, problem="")


def note_error(backend: Backend, error: EngineError) -> None:
    """What an error says about the backend: one that says no has answered."""
    if isinstance(error, Unreachable):
        note_unreachable(backend.pk, error, timezone.now())
    elif not isinstance(error, NotAsked):
        note_reached(backend)
