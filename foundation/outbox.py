"""Work owed: written in the transaction that owes it, then claimed, done and recorded.

At least once before the deadline, and never again after a recorded success. Celery does it at once
(authserver/celery.py); `manage.py sweeper` does what Celery or Redis could not. No transaction is open
while a handler speaks to the outside.
"""

import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone

from foundation.models import Work

log = logging.getLogger(__name__)

CLAIM = timedelta(seconds=20)  # longer than any handler may take; whoever was killed keeps it so long
GRACE = timedelta(seconds=1)  # Celery's head start before the sweeper
BASE_PAUSE = 1.0  # seconds; doubled with each attempt
MOST_PAUSE = 60.0  # seconds
KEEP = timedelta(days=7)  # finished work, for the administration
AT_ONCE = 8  # threads of one sweeper


@dataclass(frozen=True)
class Done:
    """It was done, or there is nothing left to do."""


@dataclass(frozen=True)
class Retry:
    """It may work later. `after` is what the other side asked for (s)."""

    problem: str
    after: float | None = None


@dataclass(frozen=True)
class GiveUp:
    """It will never work."""

    problem: str


Outcome = Done | Retry | GiveUp
# Kind → what does it. Filled by authserver/wiring.py. A handler keeps to its own time limit, below CLAIM.
HANDLERS: dict[str, Callable[[dict[str, Any], datetime], Outcome]] = {}
# What makes it happen at once, after the commit; wired to Celery. It may fail: the sweeper is there.
SOON: list[Callable[[UUID], None]] = []


def owe(
    kind: str, about: str, payload: dict[str, Any], now: datetime, *, deadline: datetime, due: datetime | None = None
) -> Work:
    """Owes one piece of work, in the caller's transaction. `due` is when it is first to be done; now by default."""
    if not connection.in_atomic_block:
        raise RuntimeError("work is owed inside the transaction that it belongs to")
    work = Work.objects.create(
        kind=kind, about=about, payload=payload, created_at=now, due_at=due or now, deadline_at=deadline
    )
    if due is None:
        transaction.on_commit(lambda: _soon(work.id), robust=True)
    return work


def _soon(work_id: UUID) -> None:
    for act in SOON:
        act(work_id)


def withdraw(about: str, now: datetime) -> int:
    """What is still owed for this need not be done any more. Takes part in the caller's transaction."""
    owed = Work.objects.filter(about=about, state=Work.State.OWED)
    return owed.update(state=Work.State.WITHDRAWN, finished_at=now)


def do(work_id: UUID) -> bool:
    """Claims one piece, does it, records how it went. False where another has it, or it is not due."""
    now = timezone.now()
    claimed = _claimable(now).filter(pk=work_id).update(claimed_until=now + CLAIM, attempts=F("attempts") + 1)
    if not claimed:
        return False
    work = Work.objects.get(pk=work_id)
    _record(work, _attempt(work, now), timezone.now())
    return True


def _claimable(now: datetime) -> Any:
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return Work.objects.filter(free, state=Work.State.OWED, due_at__lte=now, deadline_at__gt=now)


def _attempt(work: Work, now: datetime) -> Outcome:
    handler = HANDLERS.get(work.kind)
    if handler is None:
        return GiveUp(f"nothing here does {work.kind}")
    try:
        return handler(work.payload, now)
    except Exception as error:
        # Whatever it was, it is logged with its trace, shown in the administration, and tried again.
        log.exception("work %s (%s) failed", work.id, work.kind)
        return Retry(type(error).__name__)


def _record(work: Work, outcome: Outcome, now: datetime) -> None:
    """One statement; what was finished meanwhile (withdrawn, or done by a second claim) stays as it is."""
    owed = Work.objects.filter(pk=work.pk, state=Work.State.OWED)
    mine = owed.filter(claimed_until=work.claimed_until)  # else somebody has claimed it again, and says how it went
    match outcome:
        case Done():
            owed.update(state=Work.State.DONE, finished_at=now, claimed_until=None, problem="")
        case GiveUp(problem):
            mine.update(state=Work.State.GIVEN_UP, finished_at=now, claimed_until=None, problem=problem[:300])
        case Retry(problem, after):
            due = now + pause(work.attempts, after)
            if due >= work.deadline_at:
                _record(work, GiveUp(problem), now)
            else:
                mine.update(due_at=due, claimed_until=None, problem=problem[:300])


def pause(attempts: int, after: float | None) -> timedelta:
    """Until the next attempt: doubled each time, capped, with jitter; longer where the other side asked for it."""
    own = min(BASE_PAUSE * 2 ** min(attempts - 1, 16), MOST_PAUSE)
    jittered = own * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
    return timedelta(seconds=max(jittered, after or 0.0))


def sweep(now: datetime, batch: int) -> int:
    """What is due and was not done at once; answers how many. Several sweepers share: each claims for itself."""
    due = _claimable(now).filter(due_at__lte=now - GRACE).order_by("due_at").values_list("id", flat=True)[:batch]
    ids = list(due)
    if ids:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_do_in_thread, ids))
    return len(ids)


def _do_in_thread(work_id: UUID) -> None:
    try:
        do(work_id)
    finally:
        connection.close()


def clear(now: datetime, batch: int) -> int:
    """Gives up what passed its deadline, and deletes what finished long ago; at most `batch` of each."""
    late = Work.objects.filter(state=Work.State.OWED, deadline_at__lte=now).order_by("due_at")
    free = late.filter(Q(claimed_until=None) | Q(claimed_until__lte=now))
    why = Coalesce(NullIf("problem", Value("")), Value("its deadline passed"))
    with transaction.atomic():
        # Whoever is just calling it off has it locked, and comes first.
        chosen = list(free.select_for_update(skip_locked=True).values_list("pk", flat=True)[:batch])
        gone = Work.objects.filter(pk__in=chosen).update(
            state=Work.State.GIVEN_UP, finished_at=now, claimed_until=None, problem=why
        )
    old = Work.objects.filter(finished_at__lt=now - KEEP).order_by("finished_at").values("pk")[:batch]
    deleted, _ = Work.objects.filter(pk__in=old).delete()
    return gone + deleted


def oldest_overdue(now: datetime) -> float:
    """How long the oldest due piece has waited (s); 0 where nothing is."""
    due = (
        Work.objects.filter(state=Work.State.OWED, due_at__lte=now).order_by("due_at").values_list("due_at", flat=True)
    )
    first = due.first()
    return (now - first).total_seconds() if first else 0.0
