"""A circuit breaker per backend, in PostgreSQL: every process sees the same, and one dead system delays nobody else."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Coalesce

from credentials.models import Backend
from credentials.retrying import breaker_pause

PROBE = timedelta(seconds=30)  # longer than a call may take: meanwhile nobody else asks


def may_try(backend: Backend, now: datetime) -> bool:
    """Closed: everybody may. Open: one at a time, when it is time to try again. `backend` was just read."""
    if backend.tried_again_at is None:
        return True
    due = Backend.objects.filter(pk=backend.pk, tried_again_at__lte=now)
    return bool(due.update(tried_again_at=now + PROBE))


def note_unreachable(backend_id: UUID, problem: str, now: datetime) -> None:
    failures = Backend.objects.filter(pk=backend_id).values_list("failures", flat=True).first() or 0
    Backend.objects.filter(pk=backend_id).update(
        failures=F("failures") + 1,
        tried_again_at=now + breaker_pause(failures),
        failing_since=Coalesce("failing_since", now),
        problem=problem[:300],
    )


def note_reached(backend: Backend) -> None:
    """Most of the time there is nothing to write. `backend` as it was read before it was asked."""
    if backend.failures or backend.tried_again_at:
        Backend.objects.filter(pk=backend.pk).update(failures=0, tried_again_at=None, failing_since=None, problem="")
