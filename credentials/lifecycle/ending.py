"""Nobody may use it from here on; returning.py sees to the account."""

import logging
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Q

from audit import events
from audit.record import SYSTEM, About, record_revocation, record_revocations
from credentials import statements
from credentials.lifecycle.told import Why, about_lease, facts_of
from credentials.models import Lease
from credentials.states import State
from oauth.lifecycle import give_back
from oauth.models import Grant

log = logging.getLogger(__name__)


@transaction.atomic(durable=True)
def end(lease: Lease, why: Why, actor: str, now: datetime) -> bool:
    """Nobody may use it from now on; taking_back.py sees to the account. Does nothing where it has ended."""
    return end_one(lease, why, actor, now)


@transaction.atomic(durable=True)
def end_all(which: Q, actor: str, now: datetime, **said: Any) -> int:
    """An administrator's: every lease of an agent, a person, a grant, a role, a backend, or all of them.

    First those that are not handed over yet, because their grants are locked before them; the others together.
    """
    # In the order in which whoever revokes many grants locks them: neither waits for the other for ever.
    leases = Lease.objects.select_related("agent", "role").filter(which).order_by("grant_id", "id")
    unfinished = leases.filter(state__in=[State.WRAPPED, State.CREATING])
    count = sum(end_one(lease, Why.ADMINISTRATOR, actor, now) for lease in unfinished)
    active = list(leases.filter(state=State.ACTIVE).select_for_update(of=("self",)))
    if active:
        _end_locked(active, Why.ADMINISTRATOR, now, actor)
    count += len(active)
    record_revocation(events.LEASES_ENDED, About(actor), now, leases=count, **said)
    return count


@transaction.atomic(durable=True)
def fail(lease: Lease, problem: str, now: datetime) -> None:
    """The system could not make the account, or nobody knows: it is taken back, and the use given back."""
    end_one(lease, Why.FAILED, SYSTEM, now)
    Lease.objects.filter(pk=lease.pk).update(problem=problem[:300])


def end_due(now: datetime, batch: int) -> int:
    """Ends what is over: expired, no longer entitled, cut off while being made, never unwrapped."""
    return _end_active(now, batch) + _end_unfinished(now, batch)


@transaction.atomic(durable=True)
def _end_active(now: datetime, batch: int) -> int:
    live = Lease.objects.filter(state=State.ACTIVE).select_related("agent", "role")
    live = live.select_for_update(skip_locked=True, of=("self",))
    expired = list(live.filter(expires_at__lte=now).order_by("expires_at")[:batch])
    left = batch - len(expired)
    dead = live.not_entitled(now).filter(expires_at__gt=now)
    ended = list(dead.order_by("id")[:left]) if left else []
    for leases, why in ((expired, Why.EXPIRED), (ended, Why.ENTITLEMENT)):
        if leases:
            _end_locked(leases, why, now)
    return len(expired) + len(ended)


def _end_locked(leases: list[Lease], why: Why, now: datetime, actor: str = SYSTEM) -> None:
    """Active leases that this transaction has locked: thousands may end in one moment."""
    Lease.objects.filter(pk__in=[lease.pk for lease in leases]).update(
        state=State.REVOKING, due_at=now, attempts=0, problem="", ended_at=now, ended_why=why, ended_by=actor[:300]
    )
    told = [(about_lease(lease, actor), {**facts_of(lease), "why": why.value}) for lease in leases]
    record_revocations(events.LEASE_ENDED, told, now)


def _end_unfinished(now: datetime, batch: int) -> int:
    """One transaction each: the grant is locked before the lease."""
    unfinished = Lease.objects.filter(state__in=[State.WRAPPED, State.CREATING]).select_related("agent", "role")
    over = unfinished.filter(claimed_until__lte=now).order_by("claimed_until")[:batch]
    count = 0
    for lease in over:
        why = Why.NOT_UNWRAPPED if lease.state == State.WRAPPED else Why.FAILED
        with transaction.atomic(durable=True):
            count += end_one(lease, why, SYSTEM, now, unclaimed=True)
    return count


def end_one(lease: Lease, why: Why, actor: str, now: datetime, *, unclaimed: bool = False) -> bool:
    """Whatever it is now; in the caller's transaction. `unclaimed`: only if nobody has it in hand."""
    _assert_in_transaction()
    without = 0
    if lease.state in (State.WRAPPED, State.CREATING):
        _give_back(lease, now)
        row = Lease.objects.filter(Q(claimed_until__lte=now) if unclaimed else Q(), pk=lease.pk)
        # Nobody was ever handed a password: the key may buy again.
        row.filter(state__in=[State.WRAPPED, State.CREATING]).update(idempotency_digest=None)
        without = row.filter(state=State.WRAPPED).update(
            state=State.REVOKED, revoked_at=now, claimed_until=None, ended_at=now, ended_why=why, ended_by=actor[:300]
        )
    end = statements.END_UNCLAIMED if unclaimed else statements.END
    ended = end(lease=lease.pk, why=why, actor=actor[:300], now=now) or without
    if ended:
        record_revocation(events.LEASE_ENDED, about_lease(lease, actor), now, **facts_of(lease), why=why.value)
    return bool(ended)


def _give_back(lease: Lease, now: datetime) -> None:
    """In a savepoint: where it cannot be, ending goes on. The grant's lock comes before the lease's."""
    try:
        with transaction.atomic():
            Grant.objects.select_for_update(of=("self",)).get(pk=lease.grant_id)
            # Locked, so that it is not delivered in this very moment.
            unused = Lease.objects.filter(pk=lease.pk, state__in=[State.WRAPPED, State.CREATING])
            if unused.select_for_update().first():
                give_back(lease.use_id, now)
    except DatabaseError as error:
        log.error("the use of lease %s could not be given back: %s", lease.id, error)


def _assert_in_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("this takes part in a transaction of its caller")
