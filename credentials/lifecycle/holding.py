"""While it lasts: a new password, a renewal. Each claims the lease, so that nobody takes it back meanwhile."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from audit import events
from audit.record import record
from credentials import recovery
from credentials.errors import LeaseBusy, LeaseEnded, NotLending, NotRenewable
from credentials.lifecycle.told import about_lease, actor_of, facts_of, fingerprint
from credentials.limits import Bound, Life, Renewal, renewed_life
from credentials.models import Backend, Lease
from credentials.policy import RenewFacts, RenewVerdict, judge_renew
from credentials.retrying import CLAIM
from credentials.states import State
from foundation.errors import ProtocolError


@transaction.atomic(durable=True)
def start_password(lease: Lease, now: datetime) -> bool:
    """A repeat of the purchase is about to get a new password: on the record before the system is touched."""
    return _claim_active(lease, now)


@transaction.atomic(durable=True)
def finish_password(lease: Lease, password: str, now: datetime) -> bool:
    """The new password works. False where the lease has ended meanwhile."""
    if not _release_active(lease):
        return False
    told = {**facts_of(lease), "fingerprint": fingerprint(password)}
    record(events.LEASE_PASSWORD_SET, about_lease(lease, actor_of(lease)), now, **told)
    return True


@transaction.atomic(durable=True)
def start_renewal(lease: Lease, asked: int | None, now: datetime) -> Life | ProtocolError:
    """May it be renewed, and until when? Claims the lease; the system is told next."""
    locked = Lease.objects.select_for_update(of=("self",)).select_related("role", "agent", "backend")
    lease = locked.get(pk=lease.pk)
    life = renewed_life(_renewal(lease, asked), now)
    facts = RenewFacts(
        is_active=lease.state == State.ACTIVE and lease.expires_at > now,
        grant_is_alive=Lease.objects.entitled(now).filter(pk=lease.pk).exists(),
        is_lent=lease.role.is_active and lease.backend.status == Backend.Status.ENABLED and not recovery.is_on(),
        may_ask=lease.agent.operation_types.filter(pk=lease.role.operation_type_id, is_active=True).exists(),
        is_longer=life.expires_at > lease.expires_at,
    )
    match judge_renew(facts):
        case RenewVerdict.RENEW:
            return life if _claim_active(lease, now) else LeaseBusy()
        case RenewVerdict.ENDED:
            refusal: ProtocolError = LeaseEnded()
        case RenewVerdict.NOT_LENDING:
            refusal = NotLending()
        case RenewVerdict.NOT_ALLOWED:
            refusal = NotRenewable("this agent may not ask for the role any more: it lasts until its end")
        case RenewVerdict.AT_MOST:
            refusal = NotRenewable(f"it already lasts as long as it may: {life.bound_by} sets its end")
    record(events.LEASE_REFUSED, about_lease(lease, actor_of(lease)), now, **facts_of(lease), error=refusal.code)
    return refusal


def _renewal(lease: Lease, asked: int | None) -> Renewal:
    """Where nothing is asked for: as long again as it was bought for."""
    role, seconds = lease.role, asked or lease.lifetime
    is_default = asked is None and seconds == role.default_lifetime
    return Renewal(
        seconds=seconds,
        wish=Bound.DEFAULT if is_default else Bound.ASKED,
        created_at=lease.created_at,
        max_expires_at=lease.max_expires_at,
        most_bound_by=Bound(lease.most_bound_by),
        longest=role.longest_lifetime,
        agent_longest=lease.agent.longest_lease,
    )


@transaction.atomic(durable=True)
def finish_renewal(lease: Lease, life: Life, now: datetime) -> bool:
    """False where it has ended meanwhile, or is no longer entitled."""
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
    until = now + CLAIM
    claimed = Lease.objects.filter(free, pk=lease.pk, state=State.ACTIVE, expires_at__gt=now).update(
        claimed_until=until
    )
    lease.claimed_until = until
    return bool(claimed)


def _release_active(lease: Lease) -> bool:
    mine = Lease.objects.filter(pk=lease.pk, state=State.ACTIVE, claimed_until=lease.claimed_until)
    return bool(mine.update(claimed_until=None))


def release(lease: Lease) -> None:
    """Whoever had claimed it is done with the system: taking back need not wait for the claim to run out."""
    Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until).exclude(
        state__in=[State.CREATING, State.WRAPPED]
    ).update(claimed_until=None)
