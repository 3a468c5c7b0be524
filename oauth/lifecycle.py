"""The use cases of grants: consent, make, spend a use, redeem what hangs on one, revoke.

The only module that writes `uses_left`, `revoked_at`, `answered_at` and `used_at`. Each of these changes by one
conditional UPDATE or under a row lock; the row count decides who won.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Value
from django.db.models.functions import Greatest

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation, record_revocations
from clients import lifecycle as agents
from clients.models import Agent
from foundation.canonical import operation_digest
from foundation.handles import digest, new_handle, new_id, random_bytes
from foundation.prepared import Given, Rows, Update, insert, names_of
from oauth.errors import InvalidToken, OperationMismatch, UsedUp
from oauth.models import (
    AuthorizationCode,
    AuthorizationRequest,
    Grant,
    RefreshToken,
    RevokedToken,
    Use,
    not_revoked,
)
from oauth.requesting import Requested
from oauth.spending import UseFacts, UseVerdict, judge_use
from oauth.successors import SALT_BYTES, derive_successors
from operations.models import IDENTITY_SCOPES, OFFLINE_ACCESS, Resource


def requested_digest(requested: Requested, agent: Agent, user: User | None) -> str:
    """The operation digest of what is asked for, the same as of the grant that may come of it."""
    return operation_digest(
        authorization_details=requested.authorization_details,
        client_id=agent.client_id,
        resource=requested.resource.identifier if requested.resource else None,
        sub=user.sub if user else agent.client_id,
    )


def make_unasked_grant(agent: Agent, requested: Requested, now: datetime, expires_at: datetime) -> Grant:
    """A grant without a person: routine operations of an agent on its own behalf. Not counted."""
    return Grant.objects.create(
        id=new_id(),
        agent=agent,
        agent_epoch=agent.control_epoch,
        resource=requested.resource,
        scopes=requested.scope_names,
        authorization_details=requested.authorization_details,
        operation_digest=requested_digest(requested, agent, None),
        created_at=now,
        expires_at=expires_at,
    )


@dataclass(frozen=True)
class Proposal:
    """What an agent asks a signed-in person for in the browser, checked against what it may ask for."""

    agent: Agent
    user: User
    resource: Resource | None
    scopes: list[str]  # that may be granted here
    later_scopes: list[str]
    may_stay: bool
    redirect_uri: str
    client_state: str
    nonce: str
    code_challenge: str
    signed_in_at: datetime
    acr: str
    dpop_jkt: str = ""  # the only key that may redeem the code, where one was named


@transaction.atomic(durable=True)
def propose(proposal: Proposal, session_digest: bytes, now: datetime) -> str:
    """Keeps the request while the person reads it. Returns its handle."""
    handle = new_handle()
    AuthorizationRequest.objects.create(
        handle_digest=digest(handle),
        session_digest=session_digest,
        agent_epoch=proposal.agent.control_epoch,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.CONSENT_PAGE_LIFETIME),
        **vars(proposal),
    )
    return handle


def find_proposed(
    unverified_handle: str, user: User, session_digest: bytes, now: datetime
) -> AuthorizationRequest | None:
    """The request that this person can still answer in this session; anybody else's is as unknown as none."""
    return (
        AuthorizationRequest.objects.select_related("agent", "user", "resource")
        .filter(handle_digest=digest(unverified_handle), user=user, session_digest=session_digest)
        .filter(answered_at=None, expires_at__gt=now, agent__status=Agent.Status.ACTIVE)
        .filter(agent_epoch=F("agent__control_epoch"))
        .first()
    )


@transaction.atomic(durable=True)
def consent(
    proposed: AuthorizationRequest, allowed: Collection[str], now: datetime, *, stays: bool, told: dict[str, str]
) -> str | None:
    """A yes: the grant, its code and the event, together or not at all. Returns the code.

    `allowed` and `stays` only narrow what was proposed. None where it was answered already, ran out, the person has
    stopped the agent meanwhile, or somebody else may control it by now.
    """
    agent, user = proposed.agent, proposed.user
    if not agents.lock_agent(agent, proposed.agent_epoch):
        return None
    if not _answer(proposed, now) or not agents.link_by_consent(agent, user, now):
        return None
    stays = stays and proposed.may_stay
    scopes = [name for name in proposed.scopes if name in allowed and (stays or name != OFFLINE_ACCESS)]
    # A resource of which nothing was allowed is not the token's.
    resource = proposed.resource if set(scopes) - {*IDENTITY_SCOPES, OFFLINE_ACCESS} else None
    grant = _make_consented_grant(
        Grant(
            agent=agent, agent_epoch=proposed.agent_epoch, user=user, resource=resource, scopes=scopes,
            is_offline=stays, acr=proposed.acr,
            signed_in_at=proposed.signed_in_at, consented_at=now,
            expires_at=now + timedelta(seconds=settings.GRANT_LIFETIME),
        ),
        now,
    )  # fmt: skip
    record(
        events.GRANT_CONSENTED, _about_consent(grant), now, **told, scope=scopes, not_allowed=proposed.later_scopes,
        resource=resource.identifier if resource else None, redirect_uri=proposed.redirect_uri, stays=stays,
        expires_at=grant.expires_at.isoformat(),
    )  # fmt: skip
    return _issue_code(grant, proposed, now)


@transaction.atomic(durable=True)
def decline(proposed: AuthorizationRequest, now: datetime, *, told: dict[str, str]) -> bool:
    if not _answer(proposed, now):
        return False
    about = About(f"user:{proposed.user_id}", proposed.agent.client_id, proposed.user_id)
    record(events.GRANT_DECLINED, about, now, **told, scope=proposed.scopes)
    return True


def _answer(proposed: AuthorizationRequest, now: datetime) -> bool:
    """Once, in time, by an active person for an active agent."""
    return bool(
        AuthorizationRequest.objects.filter(
            Exists(Agent.objects.filter(pk=OuterRef("agent_id"), status=Agent.Status.ACTIVE)),
            Exists(User.objects.filter(pk=OuterRef("user_id"), is_active=True)),
            pk=proposed.pk,
            answered_at=None,
            expires_at__gt=now,
        ).update(answered_at=now)
    )


def find_consented(proposal: Proposal, now: datetime) -> Grant | None:
    """A living grant by which this person has consented to all of this already: the memory of a consent is
    never more than what the agent still holds."""
    since = proposal.agent.identity_changed_at or datetime.min.replace(tzinfo=UTC)
    return (
        Grant.objects.alive(now)
        .filter(agent=proposal.agent, user=proposal.user, consented_at__gte=since)
        .filter(scopes__contains=proposal.scopes)
        .order_by("-is_offline", "-expires_at")
        .first()
    )


@transaction.atomic(durable=True)
def go_on(proposal: Proposal, now: datetime) -> str | None:
    """The code of a new grant within an earlier consent, which it does not outlive. None where that has ended."""
    if not agents.hold_link(proposal.agent, proposal.user):
        return None
    earlier = find_consented(proposal, now)
    if earlier is None:
        return None
    grant = _make_consented_grant(
        Grant(
            agent=proposal.agent, agent_epoch=proposal.agent.control_epoch, user=proposal.user,
            resource=proposal.resource, scopes=proposal.scopes,
            is_offline=earlier.is_offline and proposal.may_stay, acr=proposal.acr,
            signed_in_at=proposal.signed_in_at, consented_at=earlier.consented_at, expires_at=earlier.expires_at,
        ),
        now,
    )  # fmt: skip
    record(events.GRANT_CONTINUED, _about_consent(grant), now, earlier=str(earlier.id), scope=grant.scopes)
    return _issue_code(grant, proposal, now)


def _make_consented_grant(grant: Grant, now: datetime) -> Grant:
    grant.id, grant.created_at = new_id(), now
    grant.operation_digest = operation_digest(
        authorization_details=[],
        client_id=grant.agent.client_id,
        resource=grant.resource.identifier if grant.resource else None,
        sub=grant.sub,
    )
    grant.save(force_insert=True)
    return grant


def _about_consent(grant: Grant) -> About:
    return About(f"user:{grant.user_id}", grant.agent.client_id, grant.user_id, grant_id=grant.id)


def _issue_code(grant: Grant, asked: Proposal | AuthorizationRequest, now: datetime) -> str:
    code = new_handle()
    AuthorizationCode.objects.create(
        code_digest=digest(code),
        grant=grant,
        redirect_uri=asked.redirect_uri,
        nonce=asked.nonce,
        code_challenge=asked.code_challenge,
        dpop_jkt=asked.dpop_jkt,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.AUTHORIZATION_CODE_LIFETIME),
    )
    return code


def use_code(code: AuthorizationCode, now: datetime) -> bool:
    """Once: of two exchanges at the same moment one wins. Takes part in the transaction that mints."""
    _assert_in_transaction()
    return bool(AuthorizationCode.objects.filter(pk=code.pk, used_at=None).update(used_at=now))


def issue_refresh_token(grant: Grant, cnf: dict[str, str], now: datetime) -> str:
    """The first of its grant, bound to `cnf`. Takes part in the transaction that mints."""
    _assert_in_transaction()
    handle = new_handle()
    RefreshToken.objects.create(
        token_digest=digest(handle), grant=grant, cnf=cnf, created_at=now, expires_at=_refresh_end(grant, now)
    )
    return handle


def rotate(token: RefreshToken, value: str, cnf: dict[str, str], now: datetime) -> str | None:
    """Uses a refresh token up and returns its successor, bound to `cnf`, in one statement. None where it was used or
    given to another process since it was read. `value` is the token itself."""
    _assert_in_transaction()
    salt, table = random_bytes(SALT_BYTES), RefreshToken._meta.db_table
    successor = next(derive_successors(value, salt))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH used AS (UPDATE {table} SET used_at = %s WHERE id = %s AND used_at IS NULL"  # noqa: S608
            " AND given_at IS NOT DISTINCT FROM %s RETURNING id, grant_id)"
            f" INSERT INTO {table}"
            " (token_digest, grant_id, cnf, created_at, given_at, expires_at, predecessor_id, salt)"
            " SELECT %s, grant_id, %s, %s, %s, %s, id, %s FROM used",
            [now, token.pk, token.given_at, digest(successor), json.dumps(cnf), now, now,
             _refresh_end(token.grant, now), salt],
        )  # fmt: skip
        return successor if cursor.rowcount else None


def keep(token: RefreshToken, now: datetime) -> bool:
    """Gives a refresh token again, and its idle time starts again. False where it was used or ended meanwhile."""
    _assert_in_transaction()
    # Ended means that its end came nearer; what another refresh wrote is no nearer.
    unended = RefreshToken.objects.filter(pk=token.pk, used_at=None, expires_at__gte=token.expires_at)
    end = Greatest("expires_at", Value(_refresh_end(token.grant, now)))
    return bool(unended.update(given_at=Greatest("given_at", Value(now)), expires_at=end))


def _refresh_end(grant: Grant, now: datetime) -> datetime:
    return min(grant.expires_at, now + timedelta(seconds=settings.REFRESH_TOKEN_IDLE))


def end_replayed(grant: Grant, what: str, now: datetime) -> None:
    """Something of this grant was presented twice: it ends, with all that hangs on it."""
    revoke_grant(grant.id, grant.agent, grant.user, now, actor=SYSTEM, reason=f"{what} was used twice")


def revoke_grants_between(agent: Agent, user: User, now: datetime) -> int:
    """Ends everything that a person granted to an agent. Takes part in the caller's transaction."""
    _assert_in_transaction()
    ids = list(
        Grant.objects.filter(agent=agent, user=user, revoked_at=None, expires_at__gt=now)
        .order_by("id")
        .select_for_update()
        .values_list("id", flat=True)
    )
    return sum(revoke_grant(grant_id, agent, user, now) for grant_id in ids)


@transaction.atomic(durable=True)
def revoke_grants_of(agent: Agent, now: datetime, *, actor: str) -> int:
    """Ends everything that an agent holds, whoever granted it."""
    grants = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).select_related("user")
    locked = list(grants.order_by("id").select_for_update(of=("self",)))
    return sum(revoke_grant(grant.pk, agent, grant.user, now, actor=actor) for grant in locked)


def end_grants_of(agent: Agent, actor: str, reason: str, now: datetime) -> None:
    """All that an agent holds, in the caller's transaction and in few statements: it may hold very many."""
    _assert_in_transaction()
    held = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).order_by("id").select_for_update()
    grants = list(held.values_list("id", "user_id", "request_id"))
    Grant.objects.filter(pk__in=[grant_id for grant_id, *_ in grants]).update(revoked_at=now)
    facts = {"agent": agent.name, "reason": reason}
    abouts = [About(actor, agent.client_id, user_id, request_id, grant_id) for grant_id, user_id, request_id in grants]
    record_revocations(events.GRANT_REVOKED, [(about, facts) for about in abouts], now)


def revoke_grant(
    grant_id: UUID, agent: Agent, user: User | None, now: datetime, *, actor: str = "", reason: str = ""
) -> int:
    """Ends one grant, and so all that hangs on it; once. Takes part in the caller's transaction."""
    _assert_in_transaction()
    revoked = Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=now)
    if revoked:
        user_id = user.id if user else None
        about = About(actor or f"user:{user_id}", agent.client_id, user_id, grant_id=grant_id)
        record_revocation(events.GRANT_REVOKED, about, now, agent=agent.name, **({"reason": reason} if reason else {}))
    return revoked


def deny_token(jti: str, expires_at: datetime) -> bool:
    """From now on this access token counts nowhere that asks us; once. Takes part in the caller's transaction."""
    _assert_in_transaction()
    _, made = RevokedToken.objects.get_or_create(jti_digest=digest(jti), defaults={"expires_at": expires_at})
    return made


def sweep(now: datetime, batch: int) -> int:
    """Deletes what nobody can present any more, at most `batch` of each. A used code and a used refresh token
    stay until they would have expired, and a day longer, so that a late second use still ends the grant."""
    gone = 0
    for model in (AuthorizationRequest, AuthorizationCode, RefreshToken, RevokedToken):
        due = model._default_manager.filter(expires_at__lt=now - timedelta(days=1)).order_by("expires_at")[:batch]
        deleted, _ = model._default_manager.filter(pk__in=list(due.values_list("pk", flat=True))).delete()
        gone = max(gone, deleted)
    return gone


@dataclass(frozen=True)
class Called:
    """A resource server's word on the call that it is about to carry out."""

    grant_id: UUID
    operation_digest: str
    idempotency_key: str | None
    jti: str = ""  # of the token that the call came with, where the caller has not looked whether it was revoked


@transaction.atomic(durable=True)
def use(called: Called, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant. A refusal is returned, with its event written; the caller raises it after."""
    return spend(called, resource, now)


_LOCKED = Rows(
    lambda: (
        Grant.objects.select_for_update(of=("self",))
        .select_related("agent")
        # An agent has sixty columns, and this is asked at each use and each lease.
        .only(*names_of(Grant), "agent__client_id", "agent__name", "agent__longest_lease", "agent__most_leases")
        .filter(pk=Given("grant"))
    )
)
_ALIVE = Rows(lambda: Grant.objects.alive(Given("now")).filter(pk=Given("grant")).values_list("pk"))
_ALIVE_BY_TOKEN = Rows(
    lambda: (
        Grant.objects.alive(Given("now")).filter(not_revoked(Given("jti_digest")), pk=Given("grant")).values_list("pk")
    )
)
_SET_USES_LEFT = Update(lambda: Grant.objects.filter(pk=Given("grant")), uses_left=Given("uses_left"))


def lock_grant(grant_id: UUID) -> Grant | None:
    """With its agent's names. Takes part in the caller's transaction."""
    return _LOCKED.first(grant=grant_id)


def spend(called: Called, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Under the grant's row lock: of two at once on the last one, one wins."""
    _assert_in_transaction()
    grant = lock_grant(called.grant_id)
    if grant is None or grant.resource_id != resource.pk:
        return InvalidToken()
    return spend_locked(grant, called, now)


def spend_locked(grant: Grant, called: Called, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Of a grant that the caller has locked, as who sells a lease does: the use and what it bought are one."""
    _assert_in_transaction()
    key = digest(called.idempotency_key) if called.idempotency_key else None
    first = Use.objects.filter(grant=grant, idempotency_digest=key).first() if key else None
    facts = UseFacts(
        grant_is_alive=_is_alive(grant, called, now),
        granted_digest=grant.operation_digest,
        called_digest=called.operation_digest,
        uses_left=grant.uses_left,
        is_repeat=first is not None,
    )
    about = About(f"resource:{grant.resource_id}", grant.agent.client_id, grant.user_id, grant.request_id, grant.id)
    match judge_use(facts):
        case UseVerdict.SPEND:
            return _spend(grant, called, key, about, now)
        case UseVerdict.REPEAT if first is not None:
            return first
        case UseVerdict.DEAD | UseVerdict.REPEAT:
            refusal: InvalidToken | OperationMismatch | UsedUp = InvalidToken()
        case UseVerdict.MISMATCH:
            refusal = OperationMismatch()
        case UseVerdict.USED_UP:
            refusal = UsedUp()
        case verdict:
            assert_never(verdict)
    record(
        events.USE_REFUSED, about, now,
        error=refusal.code, types=_types(grant), granted=grant.operation_digest, called=called.operation_digest,
    )  # fmt: skip
    return refusal


def _is_alive(grant: Grant, called: Called, now: datetime) -> bool:
    """Asked after the lock was waited for."""
    if called.jti:
        return _ALIVE_BY_TOKEN.any(grant=grant.pk, jti_digest=digest(called.jti), now=now)
    return _ALIVE.any(grant=grant.pk, now=now)


def _spend(grant: Grant, called: Called, key: bytes | None, about: About, now: datetime) -> Use:
    if grant.uses_left is not None:
        grant.uses_left -= 1
        _SET_USES_LEFT(grant=grant.pk, uses_left=grant.uses_left)
    made = Use(
        id=new_id(),
        grant=grant,
        operation_digest=called.operation_digest,
        uses_left=grant.uses_left,
        idempotency_digest=key,
        at=now,
    )
    insert([made])
    record(
        events.USE_SPENT, about, now,
        use=str(made.id), types=_types(grant), operation_digest=made.operation_digest, uses_left=made.uses_left,
    )  # fmt: skip
    return made


def give_back(use_id: UUID, now: datetime) -> bool:
    """A use that bought nothing in the end is as if it had not been spent; once. In the caller's transaction."""
    _assert_in_transaction()
    made = Use.objects.filter(pk=use_id).first()
    if made is None:
        return False
    grant = Grant.objects.select_for_update(of=("self",)).select_related("agent").get(pk=made.grant_id)
    if not Use.objects.filter(pk=use_id).delete()[0]:
        return False
    if grant.uses_left is not None:
        grant.uses_left += 1
        grant.save(update_fields=["uses_left"])
    about = About(SYSTEM, grant.agent.client_id, grant.user_id, grant.request_id, grant.id)
    record(events.USE_GIVEN_BACK, about, now, use=str(use_id), types=_types(grant), uses_left=grant.uses_left)
    return True


def _types(grant: Grant) -> list[str]:
    return [one["type"] for one in grant.authorization_details]


def _assert_in_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("this takes part in a transaction of its caller")
