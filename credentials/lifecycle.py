"""The use cases of a lease, one transaction each. The only module that writes a lease's `state`.

A state changes by one conditional UPDATE whose WHERE is the transition table. No transaction is open while an
engine speaks to a system: lending.py and taking_back.py do that, between two use cases of this module. Lock order:
grant, then backend, then lease.

Ending is never held back: not by audit (record_revocation), not by Redis (which nothing here asks), and not by the
backend, whose account goes on being taken back after the lease has ended.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, F, Q

from audit import events
from audit.record import SYSTEM, About, record, record_refusal, record_revocation, record_revocations
from credentials import breaker, recovery, statements
from credentials.engines import Presence
from credentials.errors import (
    LeaseBusy,
    LeaseEnded,
    NoAnswer,
    NotLending,
    NotRenewable,
    QuotaExceeded,
)
from credentials.limits import Bound, Life, Limits, life_of, renewed_life
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease, Recovery, Role
from credentials.policy import (
    BuyFacts,
    BuyVerdict,
    Quota,
    RenewFacts,
    RenewVerdict,
    judge_buy,
    judge_renew,
)
from credentials.retrying import is_stuck, pause
from credentials.states import ENDING, State, sources
from foundation.errors import ProtocolError
from foundation.handles import digest, new_handle, new_id
from foundation.prepared import insert
from oauth.lifecycle import Called, give_back, lock_grant, spend_locked
from oauth.models import Grant, Use

log = logging.getLogger(__name__)

# Longer than any call to a system may take (credentials/engines), and the least that a crash of ours costs.
CLAIM = timedelta(seconds=45)
MAX_NAME = 20  # hexadecimal digits of the lease id in an account's name


class Why(StrEnum):
    """Why a lease ended."""

    EXPIRED = "expired"
    ENTITLEMENT = "no longer entitled"  # grant, agent, person or resource
    AGENT = "given back"
    PERSON = "ended by person"
    ADMINISTRATOR = "ended by admin"
    FAILED = "not created"
    UNWRAPPED_TWICE = "unwrapped twice"
    NOT_UNWRAPPED = "not unwrapped"


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
        record(events.LEASE_REFUSED, _about_grant(grant), now, role=wanted.role.name, error=refusal.code,
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
            return NotLending(retry_after=60)
        case BuyVerdict.UNREACHABLE:
            return NoAnswer()
        case BuyVerdict.FULL:
            full = facts.full
            return QuotaExceeded(f"the {full.whose} are {full.live}, and may be {full.most}" if full else "")
        case BuyVerdict.TOO_FAST:
            return QuotaExceeded("the agent buys too many leases a minute", retry_after=60)


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
    record(events.LEASE_BOUGHT, _about(lease, _agent(lease)), now, **_facts(lease), use=str(spent.id),
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
        record(events.LEASE_ISSUED, _about(lease, _agent(lease)), now, **_facts(lease),
               expires_at=lease.expires_at.isoformat(), max_expires_at=lease.max_expires_at.isoformat(),
               bound_by=lease.bound_by, revocable=lease.backend.is_revocable,
               fingerprint=fingerprint(password))  # fmt: skip
    return bool(moved)


@dataclass(frozen=True)
class AlreadyUnwrapped:
    """Somebody else has it, or the same holder asks again; nobody can know. The lease was ended."""

    lease_id: UUID


@transaction.atomic(durable=True)
def unwrap(unverified_handle: str, now: datetime) -> Lease | AlreadyUnwrapped | NoAnswer | None:
    """wrapped → creating, once: of two at the same moment one wins, and the other ends it."""
    lease = _find(wrap_digest=digest(unverified_handle))
    if lease is None:
        return None
    if lease.state == State.WRAPPED and breaker.is_open(lease.backend):
        return NoAnswer()  # and the handle stays good for as long as it was
    lends = Exists(Backend.objects.filter(pk=lease.backend_id, status=Backend.Status.ENABLED))
    recovering = Exists(Recovery.objects.filter(ended_at=None))
    won = (
        Lease.objects.entitled(now)
        .filter(lends, ~recovering, pk=lease.pk, state=State.WRAPPED, wrap_expires_at__gt=now, expires_at__gt=now)
        .update(state=State.CREATING, claimed_until=now + CLAIM)
    )
    if won:
        lease.state, lease.claimed_until = State.CREATING, now + CLAIM
        record(events.LEASE_UNWRAPPED, _about(lease, SYSTEM), now, **_facts(lease))
        return lease
    lease.refresh_from_db(fields=["state"])
    if lease.state == State.WRAPPED:
        return None  # too late, or no longer entitled: the sweeper ends it
    _end_one(lease, Why.UNWRAPPED_TWICE, SYSTEM, now)
    record_revocation(events.LEASE_UNWRAPPED_TWICE, _about(lease, SYSTEM), now, **_facts(lease))
    ALARMS.labels("unwrapped twice").inc()
    log.error("the handle of lease %s was unwrapped a second time; the lease is ended", lease.id)
    return AlreadyUnwrapped(lease.id)


# --- while it lasts


@transaction.atomic(durable=True)
def start_password(lease: Lease, now: datetime) -> bool:
    """A repeat of the purchase is about to get a new password: on the record before the system is touched."""
    return _claim_active(lease, now)


@transaction.atomic(durable=True)
def finish_password(lease: Lease, password: str, now: datetime) -> bool:
    """The new password works. False where the lease has ended meanwhile."""
    if not _release_active(lease):
        return False
    told = {**_facts(lease), "fingerprint": fingerprint(password)}
    record(events.LEASE_PASSWORD_SET, _about(lease, _agent(lease)), now, **told)
    return True


def fingerprint(password: str) -> str:
    """What the record keeps of a password, which is kept nowhere: whose is one that turns up somewhere?

    Of 256 random bits, so that nothing is found from it.
    """
    return digest(password).hex()[:16]


@transaction.atomic(durable=True)
def start_renewal(lease: Lease, asked: int | None, now: datetime) -> Life | ProtocolError:
    """May it be renewed, and until when? Claims the lease; the system is told next."""
    locked = Lease.objects.select_for_update(of=("self",)).select_related("role", "agent", "backend")
    lease = locked.get(pk=lease.pk)
    wish = Bound.DEFAULT if asked is None else Bound.ASKED
    life = renewed_life(
        asked or lease.role.default_lifetime, wish, lease.max_expires_at, Bound(lease.most_bound_by), now
    )
    facts = RenewFacts(
        is_active=lease.state == State.ACTIVE and lease.expires_at > now,
        grant_is_alive=Lease.objects.entitled(now).filter(pk=lease.pk).exists(),
        is_lent=lease.role.is_active and lease.backend.status == Backend.Status.ENABLED and not recovery.is_on(),
        is_longer=life.expires_at > lease.expires_at,
    )
    match judge_renew(facts):
        case RenewVerdict.RENEW:
            return life if _claim_active(lease, now) else LeaseBusy()
        case RenewVerdict.ENDED:
            refusal: ProtocolError = LeaseEnded()
        case RenewVerdict.NOT_LENDING:
            refusal = NotLending()
        case RenewVerdict.AT_MOST:
            refusal = NotRenewable(f"it already lasts as long as it may: {life.bound_by} sets its end")
    record(events.LEASE_REFUSED, _about(lease, _agent(lease)), now, **_facts(lease), error=refusal.code)
    return refusal


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
        record(events.LEASE_RENEWED, _about(lease, _agent(lease)), now, **_facts(lease),
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


# --- ending


@transaction.atomic(durable=True)
def end(lease: Lease, why: Why, actor: str, now: datetime) -> bool:
    """Nobody may use it from now on; taking_back.py sees to the account. Does nothing where it has ended."""
    return _end_one(lease, why, actor, now)


@transaction.atomic(durable=True)
def end_all(which: Q, actor: str, now: datetime, **said: Any) -> int:
    """An administrator's: every lease of an agent, a person, a grant, a role, a backend, or all of them.

    First those that are not handed over yet, because their grants are locked before them; the others together.
    """
    # In the order in which whoever revokes many grants locks them: neither waits for the other for ever.
    leases = Lease.objects.select_related("agent", "role").filter(which).order_by("grant_id", "id")
    unfinished = leases.filter(state__in=[State.WRAPPED, State.CREATING])
    count = sum(_end_one(lease, Why.ADMINISTRATOR, actor, now) for lease in unfinished)
    active = list(leases.filter(state=State.ACTIVE).select_for_update(of=("self",)))
    if active:
        _end_locked(active, Why.ADMINISTRATOR, now, actor)
    count += len(active)
    record_revocation(events.LEASES_ENDED, About(actor), now, leases=count, **said)
    return count


@transaction.atomic(durable=True)
def fail(lease: Lease, problem: str, now: datetime) -> None:
    """The system could not make the account, or nobody knows: it is taken back, and the use given back."""
    _end_one(lease, Why.FAILED, SYSTEM, now)
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
    told = [(_about(lease, actor), {**_facts(lease), "why": why.value}) for lease in leases]
    record_revocations(events.LEASE_ENDED, told, now)


def _end_unfinished(now: datetime, batch: int) -> int:
    """One transaction each: the grant is locked before the lease."""
    unfinished = Lease.objects.filter(state__in=[State.WRAPPED, State.CREATING]).select_related("agent", "role")
    over = unfinished.filter(claimed_until__lte=now).order_by("claimed_until")[:batch]
    count = 0
    for lease in over:
        why = Why.NOT_UNWRAPPED if lease.state == State.WRAPPED else Why.FAILED
        with transaction.atomic(durable=True):
            count += _end_one(lease, why, SYSTEM, now, unclaimed=True)
    return count


def _end_one(lease: Lease, why: Why, actor: str, now: datetime, *, unclaimed: bool = False) -> bool:
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
        record_revocation(events.LEASE_ENDED, _about(lease, actor), now, **_facts(lease), why=why.value)
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


# --- taking back


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
                events.LEASE_REVOKED, _about(lease, SYSTEM), now, **_facts(lease), attempts=lease.attempts
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
        record_revocation(kind, _about(lease, SYSTEM), now, **_facts(lease), problem=problem[:300])
        if state is State.STUCK:
            log.error("lease %s could not be taken back after %s attempts: %s", lease.id, lease.attempts, problem)
    return state


def note_not_revocable(lease: Lease, until: datetime) -> None:
    """It has ended, and works until the system ends it: nothing is tried before, and the lease says so."""
    Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING).update(
        claimed_until=None, due_at=until, attempts=F("attempts") - 1,
        problem=f"nothing can take it back: it works until {until:%H:%M:%S} UTC",
    )  # fmt: skip


def note_unreachable(leases: Iterable[Lease]) -> None:
    """Nothing is known about these: they stay due, and the next sweep asks the backend again."""
    for lease in leases:
        Lease.objects.filter(pk=lease.pk, claimed_until=lease.claimed_until, state__in=ENDING).update(
            claimed_until=None, attempts=F("attempts") - 1
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
        record(events.LEASE_FORGOTTEN, _about(lease, actor), now, **_facts(lease), reason=reason,
               backend=lease.backend.name, attempts=lease.attempts, problem=lease.problem)  # fmt: skip
        log.error("lease %s was forgotten by %s; its account may live: %s", lease.id, actor, lease.account_name)
    return bool(given_up)


# --- telling


def refuse(agent_id: str, grant: Grant | None, role: str, error: ProtocolError, now: datetime) -> None:
    about = _about_grant(grant) if grant else About(f"agent:{agent_id}", client_id=agent_id)
    record_refusal(events.LEASE_REFUSED, about, now, role=role, error=error.code)


def _find(**which: Any) -> Lease | None:
    return Lease.objects.select_related("agent", "role", "backend", "grant").filter(**which).first()


def _agent(lease: Lease) -> str:
    return f"agent:{lease.agent.client_id}"


def _about(lease: Lease, actor: str) -> About:
    return About(actor, lease.agent.client_id, lease.user_id, lease.request_id, lease.grant_id)


def _about_grant(grant: Grant) -> About:
    client_id = grant.agent.client_id
    return About(f"agent:{client_id}", client_id, grant.user_id, grant.request_id, grant.id)


def _facts(lease: Lease) -> dict[str, Any]:
    """What every event of a lease says; `agent` and `headline` are what the person reads of it."""
    return {
        "lease": str(lease.id),
        "role": lease.role.name,
        "account": lease.account_name,
        "operation_digest": lease.operation_digest,
        "agent": lease.agent.name,
        "headline": lease.role.name,
    }


def _assert_in_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("this takes part in a transaction of its caller")
