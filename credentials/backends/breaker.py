"""A circuit breaker per backend, in PostgreSQL: every process sees the same state, and one
unreachable backend does not delay the others.

It opens at the first call that gets no answer. From then on only the sweepers contact the backend,
one at a time. A request for a lease is refused at once, so that no request waits for an unreachable
backend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from credentials.engines import BackendUnreachable, EngineError, LoginRefused, NotContacted
from credentials.leases.retries import refused_pause
from credentials.models import Backend
from foundation.compiled_queries import Parameter

PROBE_CLAIM = timedelta(seconds=45)  # longer than any call may take: no other sweeper probes meanwhile
RETRY_INTERVAL = timedelta(seconds=0.5)  # shorter than the time between two sweeps, so that the next sweep can probe
IS_OPEN = Q(failing_since__isnull=False)


def is_open(backend: Backend) -> bool:
    """`backend` must be freshly read."""
    return backend.failing_since is not None


def may_be_contacted(now: datetime | Parameter) -> Q:
    return ~IS_OPEN | Q(retry_at=None) | Q(retry_at__lte=now)


@contextmanager
def probing(backend: Backend, now: datetime) -> Iterator[bool]:
    """Whether a sweeper may contact the backend.

    Closed: every thread may. Open: one at a time. `backend` must be freshly read.

    The next sweep may probe again, whatever the outcome. Only if the process dies here must
    PROBE_CLAIM pass first.
    """
    if not is_open(backend):
        yield True
        return
    until = now + PROBE_CLAIM
    may = Backend.objects.filter(IS_OPEN, may_be_contacted(now), pk=backend.pk).update(retry_at=until)
    try:
        yield bool(may)
    finally:
        if may:
            mine = Backend.objects.filter(IS_OPEN, pk=backend.pk, retry_at=until)
            mine.update(retry_at=timezone.now() + RETRY_INTERVAL)


def note_unreachable(backend_id: UUID, error: BackendUnreachable, now: datetime) -> None:
    failures = Backend.objects.filter(pk=backend_id).values_list("failures", flat=True).first() or 0
    pause = refused_pause(failures) if isinstance(error, LoginRefused) else RETRY_INTERVAL
    Backend.objects.filter(pk=backend_id).update(
        failures=F("failures") + 1,
        retry_at=now + pause,
        failing_since=Coalesce("failing_since", now),
        problem=str(error)[:300],
    )


def note_reached(backend: Backend) -> None:
    """Closes the breaker if it is open.

    `backend` is the row as read before the call; usually there is nothing to write.
    """
    if is_open(backend):
        Backend.objects.filter(pk=backend.pk).update(failures=0, retry_at=None, failing_since=None, problem="")


def note_error(backend: Backend, error: EngineError) -> None:
    """Records an error of a call.

    A backend that refuses a statement has answered, so the breaker closes.
    """
    if isinstance(error, BackendUnreachable):
        note_unreachable(backend.pk, error, timezone.now())
    elif not isinstance(error, NotContacted):
        note_reached(backend)
