"""An account on its way back: claimed, and what a read on the system said of it written down."""

import logging
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from audit import events
from audit.record import SYSTEM, record, record_revocation
from credentials import statements
from credentials.engines import Presence
from credentials.lifecycle.told import about_lease, facts_of
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease
from credentials.retrying import CLAIM, is_stuck, pause
from credentials.states import ENDING, State, sources

log = logging.getLogger(__name__)


@transaction.atomic(durable=True)
def claim_to_take_back(backend_id: UUID, now: datetime, most: int) -> list[Lease]:
    """What is due, for this caller alone until the claim runs out."""
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    due = list(
        Lease.objects.select_related("agent", "role", "backend")
        .filter(free, backend=backend_id, state__in=ENDING, due_at__lte=now)
        .order_by("due_at")
        .select_for_update(skip_locked=True, of=("self",))[:most]
    )
    until = now + CLAIM
    Lease.objects.filter(pk__in=[lease.pk for lease in due]).update(claimed_until=until, attempts=F("attempts") + 1)
    for lease in due:
        lease.claimed_until, lease.attempts = until, lease.attempts + 1
    return due


@transaction.atomic(durable=True)
def claim_this(lease: Lease, now: datetime) -> bool:
    """As `claim_to_take_back`, of one that was just read. False where somebody else was faster, or it is not due."""
    claimed = statements.CLAIM_TO_TAKE_BACK(
        lease=lease.pk, state=lease.state, attempts=lease.attempts, now=now, until=now + CLAIM
    )
    lease.claimed_until, lease.attempts = now + CLAIM, lease.attempts + 1
    return bool(claimed)


@transaction.atomic(durable=True)
def note_taken_back(lease: Lease, presence: Presence | None, problem: str, now: datetime) -> State:
    """What a read on the system said after the attempt; None where it could not be read."""
    if presence is not None and presence.is_gone:
        if statements.REVOKED(lease=lease.pk, claimed_until=lease.claimed_until, now=now):
            record_revocation(
                events.LEASE_REVOKED, about_lease(lease, SYSTEM), now, **facts_of(lease), attempts=lease.attempts
            )
        return State.REVOKED
    state = State(lease.state)
    if presence is not None and presence.is_harmless:
        state = State.DISABLED
    elif is_stuck(lease.attempts):
        state = State.STUCK
    due = now + pause(lease.attempts, harmless=state is State.DISABLED)
    mine = Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING)
    if mine.update(state=state, due_at=due, claimed_until=None, problem=problem[:300]) and state != lease.state:
        kind = events.LEASE_STUCK if state is State.STUCK else events.LEASE_DISABLED
        record_revocation(kind, about_lease(lease, SYSTEM), now, **facts_of(lease), problem=problem[:300])
        if state is State.STUCK:
            log.error("lease %s could not be taken back after %s attempts: %s", lease.id, lease.attempts, problem)
    return state


def note_left_behind(lease: Lease, found: list[str], now: datetime) -> None:
    """What is there beside the account, where it was not there before: it is for an administrator to look at."""
    if set(found) <= set(lease.backend.left_behind):
        return
    with transaction.atomic(durable=True):
        backend = Backend.objects.select_for_update().get(pk=lease.backend_id)
        new = [text for text in found if text not in backend.left_behind]
        if not new:
            return
        Backend.objects.filter(pk=backend.pk).update(left_behind=[*backend.left_behind, *new])
        record_revocation(
            events.LEASE_LEFT_BEHIND, about_lease(lease, SYSTEM), now, **facts_of(lease), backend=backend.name, left=new
        )
    ALARMS.labels("left behind").inc()
    log.error("lease %s or another of backend %s left behind: %s", lease.id, backend.name, " ".join(new))


def note_not_revocable(lease: Lease, until: datetime) -> None:
    """It has ended, and works until the system ends it: nothing is tried before, and the lease says so."""
    Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING).update(
        claimed_until=None, due_at=until, attempts=F("attempts") - 1,
        problem=f"nothing can take it back: it works until {until:%H:%M:%S} UTC",
    )  # fmt: skip


def let_go(leases: Iterable[Lease], now: datetime | None = None) -> None:
    """Nothing was tried on these, or nothing is known: they stay due, for whoever comes next.

    `now`: behind all that are due; it might be the one that the system does not stand.
    """
    behind = {"due_at": now} if now else {}
    for lease in leases:
        Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING).update(
            claimed_until=None, attempts=F("attempts") - 1, **behind
        )


@transaction.atomic
def retry_now(which: Q, now: datetime) -> int:
    """An administrator has mended something: what is stuck or disabled is due at once."""
    return Lease.objects.filter(which, state__in=ENDING).update(due_at=now)


@transaction.atomic(durable=True)
def forget(lease: Lease, reason: str, actor: str, now: datetime) -> bool:
    """Gives up what cannot be confirmed, with a reason that stays on the record. False where it is not due, or gone."""
    given_up = Lease.objects.filter(pk=lease.pk, state__in=sources(State.FORGOTTEN)).update(
        state=State.FORGOTTEN, due_at=None, claimed_until=None, problem=f"forgotten: {reason}"[:300]
    )
    if given_up:
        record(events.LEASE_FORGOTTEN, about_lease(lease, actor), now, **facts_of(lease), reason=reason,
               backend=lease.backend.name, attempts=lease.attempts, problem=lease.problem)  # fmt: skip
        log.error("lease %s was forgotten by %s; its account may live: %s", lease.id, actor, lease.account_name)
    return bool(given_up)
