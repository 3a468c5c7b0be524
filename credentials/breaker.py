"""A circuit breaker per backend, in PostgreSQL: every process sees the same, and one dead system delays nobody else.

Open from the first call that nobody answered. From then on the sweepers alone ask, one of them with each sweep; who
wants something lent is refused at once, and no request waits for a dead system.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Coalesce

from credentials.models import Backend

PROBE = timedelta(seconds=30)  # longer than a call may take: meanwhile nobody else asks
AGAIN = timedelta(seconds=0.5)  # less than from one sweep to the next: what is due is done with the first one that can
IS_OPEN = Q(failing_since__isnull=False)


def is_open(backend: Backend) -> bool:
    """`backend` was just read."""
    return backend.failing_since is not None


def is_askable(now: datetime) -> Q:
    return Q(tried_again_at=None) | Q(tried_again_at__lte=now)


def may_ask(backend: Backend, now: datetime) -> bool:
    """For a sweeper. Closed: every thread may. Open: one at a time. `backend` was just read."""
    if not is_open(backend):
        return True
    return bool(Backend.objects.filter(is_askable(now), pk=backend.pk).update(tried_again_at=now + PROBE))


def note_unreachable(backend_id: UUID, problem: str, now: datetime) -> None:
    Backend.objects.filter(pk=backend_id).update(
        failures=F("failures") + 1,
        tried_again_at=now + AGAIN,
        failing_since=Coalesce("failing_since", now),
        problem=problem[:300],
    )


def note_reached(backend: Backend) -> None:
    """Most of the time there is nothing to write. `backend` as it was read before it was asked."""
    if is_open(backend):
        Backend.objects.filter(pk=backend.pk).update(failures=0, tried_again_at=None, failing_since=None, problem="")
