"""Leases during revocation: claims them, and records what a read on the backend found."""

import logging
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from audit import events
from audit.record import SYSTEM, record, record_revocation
from credentials.engines import Presence
from credentials.leases.lifecycle import statements
from credentials.leases.lifecycle.audit_facts import about_lease, facts_of
from credentials.leases.retries import CLAIM_DURATION, is_stuck, pause
from credentials.leases.states import ENDING_STATES, LEASE_STATES, State
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease

log = logging.getLogger(__name__)


@transaction.atomic(durable=True)
def claim_due(backend_id: UUID, now: datetime, limit: int) -> list[Lease]:
    """The due leases, claimed for this caller until the claim expires."""
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    due = list(
        Lease.objects.select_related("agent", "role", "backend")
        .filter(free, backend=backend_id, state__in=ENDING_STATES, due_at__lte=now)
        .order_by("due_at")
        .select_for_update(skip_locked=True, of=("self",))[:limit]
    )
    until = now + CLAIM_DURATION
    Lease.objects.filter(pk__in=[lease.pk for lease in due]).update(claimed_until=until, attempts=F("attempts") + 1)
    for lease in due:
        lease.claimed_until, lease.attempts = until, lease.attempts + 1
    return due


@transaction.atomic(durable=True)
def claim_this(lease: Lease, now: datetime) -> bool:
    """Like `claim_due`, for a lease that was just read.

    False if another caller was faster or the lease is not due.
    """
    claimed = statements.CLAIM_DUE(
        lease=lease.pk, state=lease.state, attempts=lease.attempts, now=now, until=now + CLAIM_DURATION
    )
    lease.claimed_until, lease.attempts = now + CLAIM_DURATION, lease.attempts + 1
    return bool(claimed)


@transaction.atomic(durable=True)
def record_revocation_result(lease: Lease, presence: Presence | None, problem: str, now: datetime) -> State:
    """Records what a read on the backend found after the attempt.

    `presence` is None if the read failed.
    """
    if presence is not None and presence.is_gone:
        if statements.REVOKED(lease=lease.pk, claimed_until=lease.claimed_until, now=now):
            record_revocation(
                events.LEASE_REVOKED, about_lease(lease, SYSTEM), now, **facts_of(lease), attempts=lease.attempts
            )
        return State.REVOKED
    before = state = State(lease.state)
    if presence is not None and presence.is_harmless:
        state = State.DISABLED
    elif is_stuck(lease.attempts):
        state = State.STUCK
    due = now + pause(lease.attempts, harmless=state is State.DISABLED)
    claimed = Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until)
    values = {"due_at": due, "claimed_until": None, "problem": problem[:300]}
    if state is before:
        claimed.filter(state=before).update(**values)
    elif LEASE_STATES.move(claimed, state, leaving=[before], **values):
        kind = events.LEASE_STUCK if state is State.STUCK else events.LEASE_DISABLED
        record_revocation(kind, about_lease(lease, SYSTEM), now, **facts_of(lease), problem=problem[:300])
        if state is State.STUCK:
            log.error("lease %s could not be revoked after %s attempts: %s", lease.id, lease.attempts, problem)
    return state


def note_left_behind(lease: Lease, found: list[str], now: datetime) -> None:
    """Records objects beside the account that were not there before, for an administrator to check."""
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


def record_not_revocable(lease: Lease, until: datetime) -> None:
    """The lease has ended, and its credential works until the backend ends it.

    Nothing is tried before then, and the lease says so.
    """
    Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING_STATES).update(
        claimed_until=None, due_at=until, attempts=F("attempts") - 1,
        problem=f"it cannot be revoked: it works until {until:%H:%M:%S} UTC",
    )  # fmt: skip


def release_claims(leases: Iterable[Lease], now: datetime | None = None) -> None:
    """Releases leases that were not tried or whose result is unknown.

    They stay due for the next caller.

    With `now` they are queued behind all due leases, because one of them may be what makes the
    backend fail.
    """
    behind = {"due_at": now} if now else {}
    for lease in leases:
        Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING_STATES).update(
            claimed_until=None, attempts=F("attempts") - 1, **behind
        )


@transaction.atomic
def retry_now(which: Q, now: datetime) -> int:
    """After an administrator fixed the cause: stuck and disabled leases are due at once."""
    return Lease.objects.filter(which, state__in=ENDING_STATES).update(due_at=now)


@transaction.atomic(durable=True)
def abandon(lease: Lease, reason: str, actor: str, now: datetime) -> bool:
    """Abandons a lease that cannot be confirmed, with a reason that the event keeps.

    False if the lease is not being revoked or is gone.
    """
    abandoned = LEASE_STATES.move(
        Lease.objects.filter(pk=lease.pk), State.ABANDONED, due_at=None, claimed_until=None,
        problem=f"abandoned: {reason}"[:300],
    )  # fmt: skip
    if abandoned:
        record(events.LEASE_ABANDONED, about_lease(lease, actor), now, **facts_of(lease), reason=reason,
               backend=lease.backend.name, attempts=lease.attempts, problem=lease.problem)  # fmt: skip
        log.error("lease %s was abandoned by %s; its account may still work: %s", lease.id, actor, lease.account_name)
    return abandoned
