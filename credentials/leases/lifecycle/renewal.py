"""Changes of an active lease: a new password, and a renewal.

Each claims the lease, so that no revocation runs meanwhile.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from audit import events
from audit.record import record
from credentials.backends import recovery
from credentials.errors import LeaseBusy, LeaseEnded, NotIssuing, NotRenewable
from credentials.leases.lifecycle.audit_facts import about_lease, actor_of, facts_of, fingerprint
from credentials.leases.limits import Life, LifetimeLimit, Renewal, renewed_life
from credentials.leases.policy import RenewFacts, RenewVerdict, judge_renew
from credentials.leases.retries import CLAIM_DURATION
from credentials.leases.states import State
from credentials.models import Backend, Lease
from foundation.errors import ProtocolError


@transaction.atomic(durable=True)
def start_password(lease: Lease, now: datetime) -> bool:
    """Before a repeated lease request gets a new password.

    The event is written before the backend is changed.
    """
    return _claim_active(lease, now)


@transaction.atomic(durable=True)
def finish_password(lease: Lease, password: str, now: datetime) -> bool:
    """The new password works. False if the lease has ended meanwhile."""
    if not _release_active(lease):
        return False
    facts = {**facts_of(lease), "fingerprint": fingerprint(password)}
    record(events.LEASE_PASSWORD_SET, about_lease(lease, actor_of(lease)), now, **facts)
    return True


@transaction.atomic(durable=True)
def start_renewal(lease: Lease, requested: int | None, now: datetime) -> Life | ProtocolError:
    """Decides whether and until when the lease may be renewed, and claims the lease.

    The caller then calls the backend.
    """
    locked = Lease.objects.select_for_update(of=("self",)).select_related("role", "agent", "backend")
    lease = locked.get(pk=lease.pk)
    life = renewed_life(_renewal(lease, requested), now)
    facts = RenewFacts(
        is_active=lease.state == State.ACTIVE and lease.expires_at > now,
        grant_is_alive=Lease.objects.entitled(now).filter(pk=lease.pk).exists(),
        is_issuing=lease.role.is_active and lease.backend.status == Backend.Status.ENABLED and not recovery.is_on(),
        may_ask=lease.agent.operation_types.filter(pk=lease.role.operation_type_id, is_active=True).exists(),
        is_longer=life.expires_at > lease.expires_at,
    )
    match judge_renew(facts):
        case RenewVerdict.RENEW:
            return life if _claim_active(lease, now) else LeaseBusy()
        case RenewVerdict.ENDED:
            refusal: ProtocolError = LeaseEnded()
        case RenewVerdict.NOT_ISSUING:
            refusal = NotIssuing()
        case RenewVerdict.NOT_ALLOWED:
            refusal = NotRenewable("this agent may no longer request this role; the lease works until its end")
        case RenewVerdict.AT_MAXIMUM:
            refusal = NotRenewable(f"the lease already has its maximum lifetime: {life.bound_by} sets its end")
    record(events.LEASE_REFUSED, about_lease(lease, actor_of(lease)), now, **facts_of(lease), error=refusal.code)
    return refusal


def _renewal(lease: Lease, requested: int | None) -> Renewal:
    """The renewal. Without a requested lifetime, the lifetime of the lease request applies."""
    role, seconds = lease.role, requested or lease.lifetime
    is_default = requested is None and seconds == role.default_lifetime
    return Renewal(
        seconds=seconds,
        requested_limit=LifetimeLimit.DEFAULT if is_default else LifetimeLimit.REQUESTED,
        created_at=lease.created_at,
        max_expires_at=lease.max_expires_at,
        max_bound_by=LifetimeLimit(lease.max_bound_by),
        max_lifetime=role.max_lifetime,
        agent_max=lease.agent.max_lease_lifetime,
    )


@transaction.atomic(durable=True)
def finish_renewal(lease: Lease, life: Life, now: datetime) -> bool:
    """Stores the new end. False if the lease has ended meanwhile or is no longer entitled."""
    moved = (
        Lease.objects.entitled(now)
        .filter(pk=lease.pk, state=State.ACTIVE, expires_at__gt=now, claimed_until=lease.claimed_until)
        .update(expires_at=life.expires_at, bound_by=life.bound_by, claimed_until=None)
    )
    if moved:
        lease.expires_at, lease.bound_by = life.expires_at, life.bound_by
        record(events.LEASE_RENEWED, about_lease(lease, actor_of(lease)), now, **facts_of(lease),
               expires_at=life.expires_at.isoformat(), bound_by=life.bound_by)  # fmt: skip
    return bool(moved)


def _claim_active(lease: Lease, now: datetime) -> bool:
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    until = now + CLAIM_DURATION
    claimed = Lease.objects.filter(free, pk=lease.pk, state=State.ACTIVE, expires_at__gt=now).update(
        claimed_until=until
    )
    lease.claimed_until = until
    return bool(claimed)


def _release_active(lease: Lease) -> bool:
    claimed = Lease.objects.filter(pk=lease.pk, state=State.ACTIVE, claimed_until=lease.claimed_until)
    return bool(claimed.update(claimed_until=None))


def release(lease: Lease) -> None:
    """The call that had claimed the lease no longer uses the backend, so a revocation need not wait
    for the claim's end.
    """
    Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until).exclude(
        state__in=[State.CREATING, State.WRAPPED]
    ).update(claimed_until=None)
