"""The outbox: pending work is written in the transaction that causes it, then claimed, done and recorded.

Work is done at least once before its deadline, and never again after a recorded success. Celery
does it at once (authserver/celery.py). `manage.py sweeper` does the work that Celery or Redis
missed. No transaction is open while a handler calls out.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone

from foundation.backoff import pause
from foundation.compiled_moves import CompiledMoves
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.inserts import insert
from foundation.models import Work
from foundation.state_machine import StateMachine
from foundation.trace_context import continue_trace, current_traceparent
from foundation.transactions import inside_transaction

log = logging.getLogger(__name__)

WORK_STATES = StateMachine(
    {Work.State.PENDING: frozenset({Work.State.DONE, Work.State.ABANDONED, Work.State.WITHDRAWN})}
)
# longer than any handler may take; a killed worker blocks its work for this long
CLAIM_DURATION = timedelta(seconds=20)
CELERY_HEAD_START = timedelta(seconds=1)  # Celery's head start before the sweeper
BASE_PAUSE_S = 1.0  # seconds; doubled with each attempt
MAX_PAUSE_S = 60.0  # seconds
FINISHED_STORED_FOR = timedelta(days=7)  # finished work, for the administration
MAX_THREADS = 8  # threads of one sweeper


@dataclass(frozen=True)
class Completed:
    """The work is done, or nothing is left to do."""


@dataclass(frozen=True)
class Retry:
    """A later attempt may succeed. `after` is the delay (s) that the other side requested."""

    problem: str
    after: float | None = None


@dataclass(frozen=True)
class Abandon:
    """No later attempt can succeed."""

    problem: str


Outcome = Completed | Retry | Abandon
# Kind → its handler. authserver/wiring.py fills it. A handler must return well within
# CLAIM_DURATION.
HANDLERS: dict[str, Callable[[dict[str, Any], datetime], Outcome]] = {}
# Start the work right after the commit; wired to Celery. A notifier may fail, because the sweeper
# does the work later.
NOTIFIERS: list[Callable[[UUID], None]] = []


def enqueue(
    kind: str, about: str, payload: dict[str, Any], now: datetime, *, deadline: datetime, due: datetime | None = None
) -> Work:
    """Adds one piece of work in the caller's transaction. `due` is the time of the first attempt, by default now.

    The work continues the caller's trace.
    """
    inside_transaction("enqueuing work")
    work = Work(
        kind=kind, about=about, payload=payload, traceparent=current_traceparent(),
        created_at=now, due_at=due or now, deadline_at=deadline,
    )  # fmt: skip
    insert([work])
    if due is None:
        transaction.on_commit(lambda: _notify(work.id), robust=True)
    return work


def _notify(work_id: UUID) -> None:
    for act in NOTIFIERS:
        act(work_id)


def withdraw(about: str, now: datetime) -> int:
    """Withdraws the pending work about `about`, in the caller's transaction. Returns the number of withdrawn rows."""
    return _ABOUT.move({"about": about}, Work.State.WITHDRAWN, finished_at=now)


_ABOUT = CompiledMoves(WORK_STATES, lambda: Work.objects.filter(about=Parameter("about")))


def do(work_id: UUID) -> bool:
    """Claims one piece of work, does it and records the outcome. False if another worker holds it or it is not due."""
    now = timezone.now()
    claimed = _claimable(now).filter(pk=work_id).update(claimed_until=now + CLAIM_DURATION, attempts=F("attempts") + 1)
    if not claimed:
        return False
    work = Work.objects.get(pk=work_id)
    _record(work, _attempt(work, now), timezone.now())
    return True


def _claimable(now: datetime | Parameter) -> QuerySet[Work]:
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return Work.objects.filter(free, state=Work.State.PENDING, due_at__lte=now, deadline_at__gt=now)


def _attempt(work: Work, now: datetime) -> Outcome:
    handler = HANDLERS.get(work.kind)
    if handler is None:
        return Abandon(f"this process has no handler for {work.kind}")
    try:
        with continue_trace(work.traceparent):
            return handler(work.payload, now)
    except Exception as error:
        # Any exception is logged with its trace, shown in the administration and retried.
        log.exception("work %s (%s) failed", work.id, work.kind)
        return Retry(type(error).__name__)


def _record(work: Work, outcome: Outcome, now: datetime) -> None:
    """Records the outcome in one statement. Work that was withdrawn, or done under a second claim, stays as it is."""
    row = Work.objects.filter(pk=work.pk)
    # otherwise another worker has claimed it again and records the outcome
    claimed = row.filter(claimed_until=work.claimed_until)
    match outcome:
        case Completed():
            WORK_STATES.move(row, Work.State.DONE, finished_at=now, claimed_until=None, problem="")
        case Abandon(problem):
            values: dict[str, Any] = {"finished_at": now, "claimed_until": None, "problem": problem[:300]}
            WORK_STATES.move(claimed, Work.State.ABANDONED, **values)
        case Retry(problem, after):
            due = now + pause(work.attempts, first_s=BASE_PAUSE_S, max_s=MAX_PAUSE_S, at_least_s=after or 0.0)
            if due >= work.deadline_at:
                _record(work, Abandon(problem), now)
            else:
                pending = claimed.filter(state=Work.State.PENDING)
                pending.update(due_at=due, claimed_until=None, problem=problem[:300])


def sweep(now: datetime, batch: int) -> int:
    """Does due work that no worker did at once, and returns how many pieces were due.

    Several sweepers can run at the same time, because each piece of work is claimed.
    """
    ids = _find_due(batch)(now=now, due_before=now - CELERY_HEAD_START)
    if ids:
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            list(pool.map(_do_in_thread, ids))
    return len(ids)


@cache
def _find_due(batch: int) -> CompiledQuery[UUID]:
    return CompiledQuery(
        lambda: (
            _claimable(Parameter("now"))
            .filter(due_at__lte=Parameter("due_before"))
            .order_by("due_at")
            .values_list("id", flat=True)[:batch]
        )
    )


def _do_in_thread(work_id: UUID) -> None:
    try:
        do(work_id)
    finally:
        connection.close()


def clear(now: datetime, batch: int) -> int:
    """Abandons work past its deadline and deletes work that finished long ago, at most `batch` rows of each."""
    late = Work.objects.filter(state=Work.State.PENDING, deadline_at__lte=now).order_by("due_at")
    free = late.filter(Q(claimed_until=None) | Q(claimed_until__lte=now))
    problem = Coalesce(NullIf("problem", Value("")), Value("its deadline passed"))
    with transaction.atomic():
        # Skips rows that a concurrent withdrawal has locked: the withdrawal takes precedence.
        chosen = list(free.select_for_update(skip_locked=True).values_list("pk", flat=True)[:batch])
        values: dict[str, Any] = {"finished_at": now, "claimed_until": None, "problem": problem}
        gone = WORK_STATES.move_all(Work.objects.filter(pk__in=chosen), Work.State.ABANDONED, **values)
    old = Work.objects.filter(finished_at__lt=now - FINISHED_STORED_FOR).order_by("finished_at").values("pk")[:batch]
    deleted, _ = Work.objects.filter(pk__in=old).delete()
    return gone + deleted


def oldest_overdue(now: datetime) -> float:
    """How long the oldest due piece of work has waited (s); 0 if none is due."""
    due = (
        Work.objects.filter(state=Work.State.PENDING, due_at__lte=now)
        .order_by("due_at")
        .values_list("due_at", flat=True)
    )
    first = due.first()
    return (now - first).total_seconds() if first else 0.0
