"""From the purchase to the account: written down before the system is touched, handed over after it is confirmed."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists

from audit import events
from audit.record import SYSTEM, record, record_revocation
from credentials import breaker, statements
from credentials.errors import LeaseBusy, LeaseEnded, NoAnswer, NotLending, QuotaExceeded, SlowAnswer
from credentials.lifecycle.ending import end_one
from credentials.lifecycle.told import Why, about_grant, about_lease, actor_of, facts_of, fingerprint
from credentials.limits import Life, Limits, life_of
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease, Recovery, Role
from credentials.policy import BuyFacts, BuyVerdict, Quota, judge_buy
from credentials.retrying import CLAIM
from credentials.states import State
from foundation.errors import ProtocolError
from foundation.handles import digest, new_handle, new_id
from foundation.prepared import insert
from oauth.lifecycle import Called, lock_grant, spend_locked
from oauth.models import Grant, Use

log = logging.getLogger(__name__)

MAX_NAME = 20  # hexadecimal digits of the lease id in an account's name


@dataclass(frozen=True)
class Wanted:
    """What an agent asks for at POST /v1/leases, read and bounded."""

    role: Role
    grant_id: UUID
    purpose: str
    lifetime: int | None
    approved_lifetime: int | None
    wrap_for: int | None  # seconds; None: delivered at once
    idempotency_key: str | None


@dataclass(frozen=True)
class Bought:
    """The lease as it is written down; with the handle of a wrapped one, which is known this once."""

    lease: Lease
    handle: str | None = None
    is_repeat: bool = False


@transaction.atomic(durable=True)
def buy(wanted: Wanted, now: datetime) -> Bought | ProtocolError:
    """Spends one use of the grant and writes the lease down, together or not at all; the system knows nothing yet."""
    grant = lock_grant(wanted.grant_id)
    if grant is None or grant.resource_id is None:
        return LeaseEnded()
    key = digest(wanted.idempotency_key) if wanted.idempotency_key else None
    if key and (before := _find(grant=grant, idempotency_digest=key)):
        return _repeat(before, wanted, now)
    # Whoever buys from this backend, for this agent or for this person waits here: quotas are counted exactly.
    (backend,) = statements.LOCK_BACKEND(backend=wanted.role.backend_id)
    statements.lock_holders(grant.agent_id, grant.user_id)
    facts = _buy_facts(wanted, backend, grant, now)
    if refusal := _refusal(judge_buy(facts), facts):
        record(events.LEASE_REFUSED, about_grant(grant), now, role=wanted.role.name, error=refusal.code,
               detail=refusal.description)  # fmt: skip
        return refusal
    spent = spend_locked(grant, Called(grant.id, grant.operation_digest, None), now)
    if not isinstance(spent, Use):
        return spent
    return _write_down(wanted, backend, grant, spent, key, now)


def _repeat(before: Lease, wanted: Wanted, now: datetime) -> Bought | ProtocolError:
    """The same key again: the same lease, and nothing spent; a new password, or a new handle, replaces the lost one."""
    if before.role_id != wanted.role.id:
        return LeaseEnded("this Idempotency-Key was used for another role")
    match State(before.state):
        case State.ACTIVE:
            return Bought(before, is_repeat=True)
        case State.CREATING:
            return LeaseBusy()
        case State.WRAPPED if wanted.wrap_for:
            handle = new_handle()
            wrapped = Lease.objects.filter(pk=before.pk, state=State.WRAPPED, wrap_expires_at__gt=now)
            if wrapped.update(wrap_digest=digest(handle)):
                return Bought(before, handle, is_repeat=True)
    return LeaseEnded("the lease of this Idempotency-Key has ended")


def _buy_facts(wanted: Wanted, backend: Backend, grant: Grant, now: datetime) -> BuyFacts:
    role = wanted.role
    live = statements.count(backend=backend.pk, role=role.pk, agent=grant.agent_id, user=grant.user_id, now=now)
    quotas = [
        Quota("agent's leases of this role", live.of_agent_in_role, role.most_per_agent),
        Quota("agent's leases", live.of_agent, grant.agent.most_leases or settings.LEASES_MAX_PER_AGENT),
        Quota("leases of this role", live.of_role, role.most_leases),
        Quota("backend's leases", live.of_backend, backend.most_leases),
    ]
    if grant.user_id:
        quotas += [
            Quota("person's leases of this role", live.of_person_in_role, role.most_per_person),
            Quota("person's leases", live.of_person, settings.LEASES_MAX_PER_PERSON),
        ]
    return BuyFacts(
        role_is_active=live.role_is_active,
        backend_lends=backend.status == Backend.Status.ENABLED and backend.is_revocable is not None,
        is_recovering=live.is_recovering,
        backend_is_reachable=not breaker.is_open(backend),
        quotas=quotas,
        bought_in_last_minute=live.bought_in_last_minute,
    )


def _refusal(verdict: BuyVerdict, facts: BuyFacts) -> ProtocolError | None:
    match verdict:
        case BuyVerdict.BUY:
            return None
        case BuyVerdict.NOT_LENDING:
            return NotLending()
        case BuyVerdict.UNREACHABLE:
            return NoAnswer()
        case BuyVerdict.FULL:
            full = facts.full
            return QuotaExceeded(f"the {full.whose} are {full.live}, and may be {full.most}" if full else "")
        case BuyVerdict.TOO_FAST:
            return QuotaExceeded("the agent buys too many leases a minute")


def _write_down(wanted: Wanted, backend: Backend, grant: Grant, spent: Use, key: bytes | None, now: datetime) -> Bought:
    lease_id, handle = new_id(), new_handle() if wanted.wrap_for else None
    life = _life(wanted.role, backend, grant, wanted, now)
    wrap_ends = min(now + timedelta(seconds=wanted.wrap_for), grant.expires_at) if wanted.wrap_for else None
    lease = Lease(
        id=lease_id,
        role=wanted.role,
        backend=backend,
        grant=grant,
        agent=grant.agent,
        user_id=grant.user_id,
        request_id=grant.request_id,
        operation_digest=grant.operation_digest,
        use_id=spent.id,
        purpose=wanted.purpose,
        account_name=f"{backend.prefix}{lease_id.hex[:MAX_NAME]}",
        settings=wanted.role.settings,
        state=State.WRAPPED if handle else State.CREATING,
        created_at=now,
        lifetime=wanted.lifetime or wanted.role.default_lifetime,
        expires_at=life.expires_at,
        max_expires_at=life.max_expires_at,
        bound_by=life.bound_by,
        most_bound_by=life.most_bound_by,
        wrap_digest=digest(handle) if handle else None,
        wrap_expires_at=wrap_ends,
        idempotency_digest=key,
        claimed_until=wrap_ends or now + CLAIM,
    )
    insert([lease])
    record(events.LEASE_BOUGHT, about_lease(lease, actor_of(lease)), now, **facts_of(lease), use=str(spent.id),
           wrapped=handle is not None, expires_at=lease.expires_at.isoformat(), bound_by=lease.bound_by)  # fmt: skip
    return Bought(lease, handle)


def _life(role: Role, backend: Backend, grant: Grant, wanted: Wanted, now: datetime) -> Life:
    limits = Limits(
        asked=wanted.lifetime,
        approved=wanted.approved_lifetime,
        default=role.default_lifetime,
        longest=role.longest_lifetime,
        grant_ends_at=grant.expires_at,
        is_revocable=bool(backend.is_revocable),
        agent_longest=grant.agent.longest_lease,
    )
    return life_of(limits, now)


@transaction.atomic(durable=True)
def activate(lease: Lease, password: str, now: datetime) -> bool:
    """creating → active: the account is there, and its password is about to be handed over. Not where it ended."""
    moved = statements.ACTIVATE(lease=lease.pk, claimed_until=lease.claimed_until, now=now)
    if moved:
        lease.state, lease.issued_at = State.ACTIVE, now
        record(events.LEASE_ISSUED, about_lease(lease, actor_of(lease)), now, **facts_of(lease),
               expires_at=lease.expires_at.isoformat(), max_expires_at=lease.max_expires_at.isoformat(),
               bound_by=lease.bound_by, revocable=lease.backend.is_revocable,
               fingerprint=fingerprint(password))  # fmt: skip
    return bool(moved)


@dataclass(frozen=True)
class AlreadyUnwrapped:
    """Somebody else has it, or the same holder asks again; nobody can know. The lease was ended."""

    lease_id: UUID


def find_backend_of_unopened(unverified_handle: str) -> UUID | None:
    """Of the lease that this handle is for, where it is still wrapped."""
    wrapped = Lease.objects.filter(wrap_digest=digest(unverified_handle), state=State.WRAPPED)
    return wrapped.values_list("backend_id", flat=True).first()


@transaction.atomic(durable=True)
def unwrap(unverified_handle: str, now: datetime, *, may_open: bool) -> Lease | AlreadyUnwrapped | ProtocolError | None:
    """wrapped → creating, once: of two at the same moment one wins, and the other ends it.

    Where nobody may open it now, or its system does not answer, the handle stays good for as long as it was.
    """
    lease = _find(wrap_digest=digest(unverified_handle))
    if lease is None:
        return None
    if lease.state == State.WRAPPED and breaker.is_open(lease.backend):
        return NoAnswer()
    if lease.state == State.WRAPPED and not may_open:
        return SlowAnswer()
    lends = Exists(Backend.objects.filter(pk=lease.backend_id, status=Backend.Status.ENABLED))
    recovering = Exists(Recovery.objects.filter(ended_at=None))
    won = (
        Lease.objects.entitled(now)
        .filter(lends, ~recovering, pk=lease.pk, state=State.WRAPPED, wrap_expires_at__gt=now, expires_at__gt=now)
        .update(state=State.CREATING, claimed_until=now + CLAIM)
    )
    if won:
        lease.state, lease.claimed_until = State.CREATING, now + CLAIM
        record(events.LEASE_UNWRAPPED, about_lease(lease, SYSTEM), now, **facts_of(lease))
        return lease
    lease.refresh_from_db(fields=["state"])
    if lease.state == State.WRAPPED:
        return None  # too late, or no longer entitled: the sweeper ends it
    end_one(lease, Why.UNWRAPPED_TWICE, SYSTEM, now)
    lease.refresh_from_db(fields=["issued_at", "ended_why"])
    if lease.issued_at is None and lease.ended_why != Why.UNWRAPPED_TWICE:
        return None  # it had ended before anybody got anything: an alarm would be false
    record_revocation(events.LEASE_UNWRAPPED_TWICE, about_lease(lease, SYSTEM), now, **facts_of(lease))
    ALARMS.labels("unwrapped twice").inc()
    log.error("the handle of lease %s was unwrapped a second time; the lease is ended", lease.id)
    return AlreadyUnwrapped(lease.id)


def _find(**which: Any) -> Lease | None:
    return Lease.objects.select_related("agent", "role", "backend", "grant").filter(**which).first()
