"""Ends leases: they may no longer be used from here on. credentials/leases/revocation.py removes
the accounts.
"""

import logging
from datetime import datetime
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q

from audit import events
from audit.record import SYSTEM, About, record_revocation, record_revocations
from credentials.leases.lifecycle import statements
from credentials.leases.lifecycle.audit_facts import EndReason, about_lease, facts_of
from credentials.leases.states import LEASE_STATES, State
from credentials.models import Lease
from foundation.transactions import inside_transaction
from oauth.grants.lifecycle import refund_use
from oauth.models import Grant

log = logging.getLogger(__name__)


@transaction.atomic(durable=True)
def end(lease: Lease, reason: EndReason, actor: str, now: datetime) -> bool:
    """Ends a lease: it may no longer be used. leases/revocation.py removes the account.

    Does nothing if the lease has already ended.
    """
    return end_one(lease, reason, actor, now)


@transaction.atomic(durable=True)
def end_all(which: Q, actor: str, now: datetime, **facts: Any) -> int:
    """An administrator ends every lease of an agent, a user, a grant, a role, a backend, or all.

    Leases that are not delivered yet end first, because their grants are locked before them; the
    others end together.
    """
    # In the order in which revoking many grants locks them, so that the two cannot deadlock.
    leases = Lease.objects.select_related("agent", "role").filter(which).order_by("grant_id", "id")
    unfinished = leases.filter(state__in=[State.WRAPPED, State.CREATING])
    count = sum(end_one(lease, EndReason.ADMINISTRATOR, actor, now) for lease in unfinished)
    active = list(leases.filter(state=State.ACTIVE).select_for_update(of=("self",)))
    if active:
        _end_locked(active, EndReason.ADMINISTRATOR, now, actor)
    count += len(active)
    record_revocation(events.LEASES_REVOKED, About(actor), now, leases=count, **facts)
    return count


@transaction.atomic(durable=True)
def fail(lease: Lease, problem: str, now: datetime) -> None:
    """The backend could not make the account, or the result is unknown: the account is revoked and
    the use is refunded.
    """
    end_one(lease, EndReason.FAILED, SYSTEM, now)
    Lease.objects.filter(pk=lease.pk).update(problem=problem[:300])


def end_due(now: datetime, batch: int) -> int:
    """Ends due leases: expired, no longer entitled, interrupted while the account was made, or
    never unwrapped.
    """
    return _end_active(now, batch) + _end_unfinished(now, batch)


@transaction.atomic(durable=True)
def _end_active(now: datetime, batch: int) -> int:
    expired = statements.find_expired(batch)(now=now)
    left = batch - len(expired)
    ended = statements.find_not_entitled(batch)(now=now)[:left] if left else []
    for leases, reason in ((expired, EndReason.EXPIRED), (ended, EndReason.ENTITLEMENT)):
        if leases:
            _end_locked(leases, reason, now)
    return len(expired) + len(ended)


def _end_locked(leases: list[Lease], reason: EndReason, now: datetime, actor: str = SYSTEM) -> None:
    """Ends active leases that this transaction has locked: thousands may end at once."""
    LEASE_STATES.move_all(
        Lease.objects.filter(pk__in=[lease.pk for lease in leases]), State.REVOKING, leaving=[State.ACTIVE],
        due_at=now, attempts=0, problem="", ended_at=now, end_reason=reason, ended_by=actor[:300],
    )  # fmt: skip
    facts = [(about_lease(lease, actor), {**facts_of(lease), "reason": reason.value}) for lease in leases]
    record_revocations(events.LEASE_ENDED, facts, now)


def _end_unfinished(now: datetime, batch: int) -> int:
    """One transaction each, because the grant is locked before the lease."""
    count = 0
    for lease in statements.find_unfinished(batch)(now=now):
        reason = EndReason.NOT_UNWRAPPED if lease.state == State.WRAPPED else EndReason.FAILED
        with transaction.atomic(durable=True):
            count += end_one(lease, reason, SYSTEM, now, unclaimed=True)
    return count


def end_one(lease: Lease, reason: EndReason, actor: str, now: datetime, *, unclaimed: bool = False) -> bool:
    """Ends one lease in any state, in the caller's transaction.

    `unclaimed`: only if no call has claimed it.
    """
    inside_transaction("this use case")
    unwrapped_count = 0
    if lease.state in (State.WRAPPED, State.CREATING):
        _refund(lease, now)
        row = Lease.objects.filter(Q(claimed_until__lte=now) if unclaimed else Q(), pk=lease.pk)
        # No password was delivered, so the key may be used again.
        row.filter(state__in=[State.WRAPPED, State.CREATING]).update(idempotency_digest=None)
        unwrapped_count = LEASE_STATES.move_all(
            row, State.REVOKED, leaving=[State.WRAPPED],
            revoked_at=now, claimed_until=None, ended_at=now, end_reason=reason, ended_by=actor[:300],
        )  # fmt: skip
    end = statements.END_UNCLAIMED if unclaimed else statements.END
    ended = end(lease=lease.pk, reason=reason, actor=actor[:300], now=now) or unwrapped_count
    if ended:
        record_revocation(events.LEASE_ENDED, about_lease(lease, actor), now, **facts_of(lease), reason=reason.value)
    return bool(ended)


def _refund(lease: Lease, now: datetime) -> None:
    """Refunds the use in a savepoint: if that fails, the end of the lease goes on.

    The grant's lock comes before the lease's.
    """
    try:
        with transaction.atomic():
            Grant.objects.select_for_update(of=("self",)).get(pk=lease.grant_id)
            # The lock prevents a delivery at the same moment.
            unused = Lease.objects.filter(pk=lease.pk, state__in=[State.WRAPPED, State.CREATING])
            if unused.select_for_update().first():
                refund_use(lease.use_id, now)
    except DatabaseError as error:
        log.error("the use of lease %s could not be refunded: %s", lease.id, error)
