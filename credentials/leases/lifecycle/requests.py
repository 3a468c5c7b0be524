"""From the lease request to the account: stored before the backend is called, delivered after the
account is confirmed.
"""

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
from credentials.backends import breaker
from credentials.errors import LeaseBusy, LeaseEnded, NoAnswer, NotIssuing, QuotaExceeded, SlowAnswer
from credentials.leases.lifecycle import statements
from credentials.leases.lifecycle.audit_facts import (
    EndReason,
    about_grant,
    about_lease,
    actor_of,
    facts_of,
    fingerprint,
)
from credentials.leases.lifecycle.endings import end_one
from credentials.leases.limits import Life, Limits, life_of
from credentials.leases.policy import LeaseFacts, LeaseVerdict, Quota, judge_lease_request
from credentials.leases.retries import CLAIM_DURATION
from credentials.leases.states import LEASE_STATES, State
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease, Recovery, Role
from foundation.errors import ProtocolError
from foundation.handles import digest, new_handle, new_id
from foundation.inserts import insert
from oauth.grants.lifecycle import UseCall, lock_grant, spend_locked
from oauth.models import Grant, Use

log = logging.getLogger(__name__)

LEASE_ID_DIGITS = 20  # hexadecimal digits of the lease id in an account's name


@dataclass(frozen=True)
class LeaseRequest:
    """A request at POST /v1/leases, parsed and within its bounds."""

    role: Role
    grant_id: UUID
    purpose: str
    lifetime: int | None
    approved_lifetime: int | None
    wrap_for: int | None  # seconds; None: delivered at once
    idempotency_key: str | None


@dataclass(frozen=True)
class RequestedLease:
    """The stored lease. If it is wrapped, with its handle, which is known only now."""

    lease: Lease
    handle: str | None = None
    is_repeat: bool = False


@transaction.atomic(durable=True)
def request_lease(request: LeaseRequest, now: datetime) -> RequestedLease | ProtocolError:
    """Spends one use of the grant and stores the lease, in one transaction.

    The backend is not called yet.
    """
    grant = lock_grant(request.grant_id)
    if grant is None or grant.resource_id is None:
        return LeaseEnded()
    key = digest(request.idempotency_key) if request.idempotency_key else None
    if key and (before := _find(grant=grant, idempotency_digest=key)):
        return _repeat(before, request, now)
    # Requests for this backend, for this agent or for this user wait here, so that quotas are
    # counted exactly.
    (backend,) = statements.LOCK_BACKEND(backend=request.role.backend_id)
    statements.lock_agent_and_user(grant.agent_id, grant.user_id)
    facts = _lease_facts(request, backend, grant, now)
    if refusal := _refusal(judge_lease_request(facts), facts):
        record(events.LEASE_REFUSED, about_grant(grant), now, role=request.role.name, error=refusal.code,
               detail=refusal.description)  # fmt: skip
        return refusal
    spent = spend_locked(grant, UseCall(grant.id, grant.operation_digest, None), now)
    if not isinstance(spent, Use):
        return spent
    return _write_down(request, backend, grant, spent, key, now)


def _repeat(before: Lease, request: LeaseRequest, now: datetime) -> RequestedLease | ProtocolError:
    """A repeated key returns the same lease and spends no use.

    A new password or handle replaces the lost one.
    """
    if before.role_id != request.role.id:
        return LeaseEnded("this Idempotency-Key was used for another role")
    match State(before.state):
        case State.ACTIVE:
            return RequestedLease(before, is_repeat=True)
        case State.CREATING:
            return LeaseBusy()
        case State.WRAPPED if request.wrap_for:
            handle = new_handle()
            wrapped = Lease.objects.filter(pk=before.pk, state=State.WRAPPED, wrap_expires_at__gt=now)
            if wrapped.update(wrap_digest=digest(handle)):
                return RequestedLease(before, handle, is_repeat=True)
    return LeaseEnded("the lease of this Idempotency-Key has ended")


def _lease_facts(request: LeaseRequest, backend: Backend, grant: Grant, now: datetime) -> LeaseFacts:
    role = request.role
    live = statements.count(backend=backend.pk, role=role.pk, agent=grant.agent_id, user=grant.user_id, now=now)
    quotas = [
        Quota("agent's leases of this role", live.of_agent_in_role, role.max_per_agent),
        Quota("agent's leases", live.of_agent, grant.agent.max_leases or settings.LEASES_MAX_PER_AGENT),
        Quota("leases of this role", live.of_role, role.max_leases),
        Quota("backend's leases", live.of_backend, backend.max_leases),
    ]
    if grant.user_id:
        quotas += [
            Quota("user's leases of this role", live.of_user_in_role, role.max_per_user),
            Quota("user's leases", live.of_user, settings.LEASES_MAX_PER_USER),
        ]
    return LeaseFacts(
        role_is_active=live.role_is_active,
        backend_issues=backend.status == Backend.Status.ENABLED and backend.is_revocable is not None,
        is_recovering=live.is_recovering,
        backend_is_reachable=not breaker.is_open(backend),
        quotas=quotas,
        requested_in_last_minute=live.requested_in_last_minute,
    )


def _refusal(verdict: LeaseVerdict, facts: LeaseFacts) -> ProtocolError | None:
    match verdict:
        case LeaseVerdict.ISSUE:
            return None
        case LeaseVerdict.NOT_ISSUING:
            return NotIssuing()
        case LeaseVerdict.UNREACHABLE:
            return NoAnswer()
        case LeaseVerdict.FULL:
            full = facts.full
            return QuotaExceeded(
                f"the limit of the {full.counted} is reached: {full.live} of {full.max_live}" if full else ""
            )
        case LeaseVerdict.TOO_FAST:
            return QuotaExceeded("the agent requests too many leases per minute")


def _write_down(
    request: LeaseRequest, backend: Backend, grant: Grant, spent: Use, key: bytes | None, now: datetime
) -> RequestedLease:
    lease_id, handle = new_id(), new_handle() if request.wrap_for else None
    life = _life(request.role, backend, grant, request, now)
    wrap_ends = min(now + timedelta(seconds=request.wrap_for), grant.expires_at) if request.wrap_for else None
    lease = Lease(
        id=lease_id,
        role=request.role,
        backend=backend,
        grant=grant,
        agent=grant.agent,
        user_id=grant.user_id,
        request_id=grant.request_id,
        operation_digest=grant.operation_digest,
        use_id=spent.id,
        purpose=request.purpose,
        account_name=f"{backend.prefix}{lease_id.hex[:LEASE_ID_DIGITS]}",
        settings=request.role.settings,
        state=State.WRAPPED if handle else State.CREATING,
        created_at=now,
        lifetime=request.lifetime or request.role.default_lifetime,
        expires_at=life.expires_at,
        max_expires_at=life.max_expires_at,
        bound_by=life.bound_by,
        max_bound_by=life.max_bound_by,
        wrap_digest=digest(handle) if handle else None,
        wrap_expires_at=wrap_ends,
        idempotency_digest=key,
        claimed_until=wrap_ends or now + CLAIM_DURATION,
    )
    insert([lease])
    record(events.LEASE_REQUESTED, about_lease(lease, actor_of(lease)), now, **facts_of(lease), use=str(spent.id),
           wrapped=handle is not None, expires_at=lease.expires_at.isoformat(), bound_by=lease.bound_by)  # fmt: skip
    return RequestedLease(lease, handle)


def _life(role: Role, backend: Backend, grant: Grant, request: LeaseRequest, now: datetime) -> Life:
    limits = Limits(
        requested=request.lifetime,
        approved=request.approved_lifetime,
        default=role.default_lifetime,
        max_lifetime=role.max_lifetime,
        grant_ends_at=grant.expires_at,
        is_revocable=bool(backend.is_revocable),
        agent_max=grant.agent.max_lease_lifetime,
    )
    return life_of(limits, now)


@transaction.atomic(durable=True)
def activate(lease: Lease, password: str, now: datetime) -> bool:
    """creating → active: the account exists and its password is about to be delivered.

    Does nothing if the lease has ended.
    """
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
    """The handle was used twice, by another party or by the same holder; the server cannot know
    which. The lease was ended.
    """

    lease_id: UUID


def find_backend_of_unopened(unverified_handle: str) -> UUID | None:
    """The backend of the lease of this handle, if the lease is still wrapped."""
    wrapped = Lease.objects.filter(wrap_digest=digest(unverified_handle), state=State.WRAPPED)
    return wrapped.values_list("backend_id", flat=True).first()


@transaction.atomic(durable=True)
def unwrap(unverified_handle: str, now: datetime, *, may_open: bool) -> Lease | AlreadyUnwrapped | ProtocolError | None:
    """wrapped → creating, once: of two concurrent calls one wins, and the other ends the lease.

    If no call may unwrap now, or the backend does not answer, the handle keeps its validity.
    """
    lease = _find(wrap_digest=digest(unverified_handle))
    if lease is None:
        return None
    if lease.state == State.WRAPPED and breaker.is_open(lease.backend):
        return NoAnswer()
    if lease.state == State.WRAPPED and not may_open:
        return SlowAnswer()
    backend_issues = Exists(Backend.objects.filter(pk=lease.backend_id, status=Backend.Status.ENABLED))
    recovering = Exists(Recovery.objects.filter(ended_at=None))
    openable = Lease.objects.entitled(now).filter(
        backend_issues, ~recovering, pk=lease.pk, wrap_expires_at__gt=now, expires_at__gt=now
    )
    if LEASE_STATES.move(openable, State.CREATING, claimed_until=now + CLAIM_DURATION):
        lease.state, lease.claimed_until = State.CREATING, now + CLAIM_DURATION
        record(events.LEASE_UNWRAPPED, about_lease(lease, SYSTEM), now, **facts_of(lease))
        return lease
    lease.refresh_from_db(fields=["state"])
    if lease.state == State.WRAPPED:
        return None  # too late, or no longer entitled: the sweeper ends it
    end_one(lease, EndReason.UNWRAPPED_TWICE, SYSTEM, now)
    lease.refresh_from_db(fields=["issued_at", "end_reason"])
    if lease.issued_at is None and lease.end_reason != EndReason.UNWRAPPED_TWICE:
        return None  # it ended before anything was delivered: an alarm would be false
    record_revocation(events.LEASE_UNWRAPPED_TWICE, about_lease(lease, SYSTEM), now, **facts_of(lease))
    ALARMS.labels("unwrapped twice").inc()
    log.error("the handle of lease %s was unwrapped a second time; Countersign ended the lease", lease.id)
    return AlreadyUnwrapped(lease.id)


def _find(**which: Any) -> Lease | None:
    return Lease.objects.select_related("agent", "role", "backend", "grant").filter(**which).first()
