"""The use cases of grants: consent, create, spend a use, redeem codes and refresh tokens, revoke.

This is the only module that writes `uses_left`, `revoked_at`, `answered_at` and `used_at`. Each of
them changes by one conditional UPDATE or under a row lock; the row count decides which caller won.
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
from foundation.compiled_queries import CompiledQuery, CompiledUpdate, Parameter, insert, names_of
from foundation.handles import digest, new_handle, new_id, random_bytes
from foundation.transactions import inside_transaction
from oauth.errors import InvalidToken, OperationMismatch, UsedUp
from oauth.grants.use_policy import UseFacts, UseVerdict, judge_use
from oauth.models import (
    AuthorizationCode,
    AuthorizationRequest,
    Grant,
    RefreshToken,
    RevokedToken,
    Use,
    not_revoked,
)
from oauth.requests.requested_access import RequestedAccess
from oauth.successors import SALT_BYTES, derive_successors
from operations.models import IDENTITY_SCOPES, OFFLINE_ACCESS, Resource


def requested_digest(requested: RequestedAccess, agent: Agent, user: User | None) -> str:
    """The operation digest of the requested access.

    It equals the digest of the grant that the request may lead to.
    """
    return operation_digest(
        authorization_details=requested.authorization_details,
        client_id=agent.client_id,
        resource=requested.resource.identifier if requested.resource else None,
        sub=user.sub if user else agent.client_id,
    )


def make_unasked_grant(agent: Agent, requested: RequestedAccess, now: datetime, expires_at: datetime) -> Grant:
    """A grant without a user, for routine operations of an agent on its own behalf.

    Its uses are not counted.
    """
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
    """What an agent requests from a signed-in user in the browser, after the check against what it
    may request.
    """

    agent: Agent
    user: User
    resource: Resource | None
    scopes: list[str]  # that may be granted in the browser
    later_scopes: list[str]
    may_use_offline_access: bool
    redirect_uri: str
    client_state: str
    nonce: str
    code_challenge: str
    signed_in_at: datetime
    acr: str
    dpop_jkt: str = ""  # the only key that may redeem the code; empty: any


@transaction.atomic(durable=True)
def propose(proposal: Proposal, session_digest: bytes, now: datetime) -> str:
    """Stores the request while the user reads the consent page. Returns its handle."""
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
    """The request, if this user can still answer it in this session.

    Another user's request is unknown.
    """
    return (
        AuthorizationRequest.objects.select_related("agent", "user", "resource")
        .filter(handle_digest=digest(unverified_handle), user=user, session_digest=session_digest)
        .filter(answered_at=None, expires_at__gt=now, agent__status=Agent.Status.ACTIVE)
        .filter(agent_epoch=F("agent__control_epoch"))
        .first()
    )


@transaction.atomic(durable=True)
def consent(
    proposed: AuthorizationRequest, allowed: Collection[str], now: datetime, *, offline: bool, detail: dict[str, str]
) -> str | None:
    """Stores the consent: the grant, its code and the event, in one transaction.

    Returns the code.

    `allowed` and `offline` can only narrow the proposal. None if the request was already answered
    or has expired, if the user has stopped the agent meanwhile, or if control of the agent has
    changed.
    """
    agent, user = proposed.agent, proposed.user
    if not agents.lock_agent(agent, proposed.agent_epoch):
        return None
    if not _answer(proposed, now) or not agents.link_by_consent(agent, user, now):
        return None
    offline = offline and proposed.may_use_offline_access
    scopes = [name for name in proposed.scopes if name in allowed and (offline or name != OFFLINE_ACCESS)]
    # If no scope of the resource was allowed, the token is not for that resource.
    resource = proposed.resource if set(scopes) - {*IDENTITY_SCOPES, OFFLINE_ACCESS} else None
    grant = _make_consented_grant(
        Grant(
            agent=agent, agent_epoch=proposed.agent_epoch, user=user, resource=resource, scopes=scopes,
            is_offline=offline, acr=proposed.acr,
            signed_in_at=proposed.signed_in_at, consented_at=now,
            expires_at=now + timedelta(seconds=settings.GRANT_LIFETIME),
        ),
        now,
    )  # fmt: skip
    record(
        events.GRANT_CONSENTED, _about_consent(grant), now, **detail, scope=scopes, not_allowed=proposed.later_scopes,
        resource=resource.identifier if resource else None, redirect_uri=proposed.redirect_uri, offline=offline,
        expires_at=grant.expires_at.isoformat(),
    )  # fmt: skip
    return _issue_code(grant, proposed, now)


@transaction.atomic(durable=True)
def decline(proposed: AuthorizationRequest, now: datetime, *, detail: dict[str, str]) -> bool:
    if not _answer(proposed, now):
        return False
    about = About(f"user:{proposed.user_id}", proposed.agent.client_id, proposed.user_id)
    record(events.GRANT_DECLINED, about, now, **detail, scope=proposed.scopes)
    return True


def _answer(proposed: AuthorizationRequest, now: datetime) -> bool:
    """Marks the request as answered.

    Succeeds once, in time, for an active user and an active agent.
    """
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
    """A living grant whose consent already covers this request.

    An earlier consent counts only while the agent still holds a grant from it.
    """
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
    """Reuses an earlier consent: the code of a new grant that ends no later than the earlier one.

    None if the earlier grant has ended.
    """
    if not agents.lock_link(proposal.agent, proposal.user):
        return None
    earlier = find_consented(proposal, now)
    if earlier is None:
        return None
    grant = _make_consented_grant(
        Grant(
            agent=proposal.agent, agent_epoch=proposal.agent.control_epoch, user=proposal.user,
            resource=proposal.resource, scopes=proposal.scopes,
            is_offline=earlier.is_offline and proposal.may_use_offline_access, acr=proposal.acr,
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


def _issue_code(grant: Grant, parsed: Proposal | AuthorizationRequest, now: datetime) -> str:
    code = new_handle()
    AuthorizationCode.objects.create(
        code_digest=digest(code),
        grant=grant,
        redirect_uri=parsed.redirect_uri,
        nonce=parsed.nonce,
        code_challenge=parsed.code_challenge,
        dpop_jkt=parsed.dpop_jkt,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.AUTHORIZATION_CODE_LIFETIME),
    )
    return code


def use_code(code: AuthorizationCode, now: datetime) -> bool:
    """Marks the code as used.

    Of two concurrent exchanges one wins. Runs in the transaction that issues the tokens.
    """
    inside_transaction("this use case")
    return bool(AuthorizationCode.objects.filter(pk=code.pk, used_at=None).update(used_at=now))


def issue_refresh_token(grant: Grant, cnf: dict[str, str], now: datetime) -> str:
    """Issues the first refresh token of a grant, bound to `cnf`.

    Runs in the transaction that issues the tokens.
    """
    inside_transaction("this use case")
    handle = new_handle()
    RefreshToken.objects.create(
        token_digest=digest(handle), grant=grant, cnf=cnf, created_at=now, expires_at=_refresh_end(grant, now)
    )
    return handle


def rotate(token: RefreshToken, value: str, cnf: dict[str, str], now: datetime) -> str | None:
    """Marks a refresh token as used and returns its successor, bound to `cnf`, in one statement.

    `value` is the token itself. None if another process used or returned the token since it was
    read.
    """
    inside_transaction("this use case")
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
    """Returns the same refresh token again and restarts its idle time.

    False if it was used or revoked meanwhile.
    """
    inside_transaction("this use case")
    # Revoking moves `expires_at` closer; a concurrent refresh never does.
    unended = RefreshToken.objects.filter(pk=token.pk, used_at=None, expires_at__gte=token.expires_at)
    end = Greatest("expires_at", Value(_refresh_end(token.grant, now)))
    return bool(unended.update(given_at=Greatest("given_at", Value(now)), expires_at=end))


def _refresh_end(grant: Grant, now: datetime) -> datetime:
    return min(grant.expires_at, now + timedelta(seconds=settings.REFRESH_TOKEN_IDLE))


def end_replayed(grant: Grant, what: str, now: datetime) -> None:
    """Ends a grant, with everything that belongs to it, because a code or token of it was presented
    twice.
    """
    revoke_grant(grant.id, grant.agent, grant.user, now, actor=SYSTEM, reason=f"{what} was used twice")


def revoke_grants_between(agent: Agent, user: User, now: datetime) -> int:
    """Ends all grants of one user to one agent. Runs in the caller's transaction."""
    inside_transaction("this use case")
    ids = list(
        Grant.objects.filter(agent=agent, user=user, revoked_at=None, expires_at__gt=now)
        .order_by("id")
        .select_for_update()
        .values_list("id", flat=True)
    )
    return sum(revoke_grant(grant_id, agent, user, now) for grant_id in ids)


@transaction.atomic(durable=True)
def revoke_grants_of(agent: Agent, now: datetime, *, actor: str) -> int:
    """Ends all grants of an agent, of every user."""
    grants = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).select_related("user")
    locked = list(grants.order_by("id").select_for_update(of=("self",)))
    return sum(revoke_grant(grant.pk, agent, grant.user, now, actor=actor) for grant in locked)


def end_grants_of(agent: Agent, actor: str, reason: str, now: datetime) -> None:
    """Ends all grants of an agent in the caller's transaction.

    Uses few statements, because an agent may hold very many grants.
    """
    inside_transaction("this use case")
    held = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).order_by("id").select_for_update()
    grants = list(held.values_list("id", "user_id", "request_id"))
    Grant.objects.filter(pk__in=[grant_id for grant_id, *_ in grants]).update(revoked_at=now)
    facts = {"agent": agent.name, "reason": reason}
    abouts = [About(actor, agent.client_id, user_id, request_id, grant_id) for grant_id, user_id, request_id in grants]
    record_revocations(events.GRANT_REVOKED, [(about, facts) for about in abouts], now)


def revoke_grant(
    grant_id: UUID, agent: Agent, user: User | None, now: datetime, *, actor: str = "", reason: str = ""
) -> int:
    """Ends one grant, once, with everything that belongs to it.

    Runs in the caller's transaction.
    """
    inside_transaction("this use case")
    revoked = Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=now)
    if revoked:
        user_id = user.id if user else None
        about = About(actor or f"user:{user_id}", agent.client_id, user_id, grant_id=grant_id)
        record_revocation(events.GRANT_REVOKED, about, now, agent=agent.name, **({"reason": reason} if reason else {}))
    return revoked


def deny_token(jti: str, expires_at: datetime) -> bool:
    """Revokes one access token, once: introspection and our own endpoints refuse it from now on.

    Runs in the caller's transaction.
    """
    inside_transaction("this use case")
    _, made = RevokedToken.objects.get_or_create(jti_digest=digest(jti), defaults={"expires_at": expires_at})
    return made


def sweep(now: datetime, batch: int) -> int:
    """Deletes codes, tokens and requests that can no longer be presented, at most `batch` of each.

    A used code or refresh token is kept until one day after its expiry, so that a late second use
    still ends the grant.
    """
    gone = 0
    for model in (AuthorizationRequest, AuthorizationCode, RefreshToken, RevokedToken):
        due = model._default_manager.filter(expires_at__lt=now - timedelta(days=1)).order_by("expires_at")[:batch]
        deleted, _ = model._default_manager.filter(pk__in=list(due.values_list("pk", flat=True))).delete()
        gone = max(gone, deleted)
    return gone


@dataclass(frozen=True)
class UseCall:
    """The call that a resource server is about to carry out."""

    grant_id: UUID
    operation_digest: str
    idempotency_key: str | None
    jti: str = ""  # the call's token, if the caller has not checked whether it was revoked


@transaction.atomic(durable=True)
def use(called: UseCall, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant.

    A refusal is returned after its event was written; the caller raises it after the commit.
    """
    return spend(called, resource, now)


_LOCKED = CompiledQuery(
    lambda: (
        Grant.objects.select_for_update(of=("self",))
        .select_related("agent")
        # An agent has sixty columns, and every use and every lease runs this query.
        .only(*names_of(Grant), "agent__client_id", "agent__name", "agent__max_lease_lifetime", "agent__max_leases")
        .filter(pk=Parameter("grant"))
    )
)
_ALIVE = CompiledQuery(lambda: Grant.objects.alive(Parameter("now")).filter(pk=Parameter("grant")).values_list("pk"))
_ALIVE_BY_TOKEN = CompiledQuery(
    lambda: (
        Grant.objects.alive(Parameter("now"))
        .filter(not_revoked(Parameter("jti_digest")), pk=Parameter("grant"))
        .values_list("pk")
    )
)
_SET_USES_LEFT = CompiledUpdate(lambda: Grant.objects.filter(pk=Parameter("grant")), uses_left=Parameter("uses_left"))


def lock_grant(grant_id: UUID) -> Grant | None:
    """Locks the grant and reads its agent's names. Runs in the caller's transaction."""
    return _LOCKED.first(grant=grant_id)


def spend(called: UseCall, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use under the grant's row lock: of two concurrent calls for the last use, one
    wins.
    """
    inside_transaction("this use case")
    grant = lock_grant(called.grant_id)
    if grant is None or grant.resource_id != resource.pk:
        return InvalidToken()
    return spend_locked(grant, called, now)


def spend_locked(grant: Grant, called: UseCall, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant that the caller has locked.

    A lease request uses this to spend the use and store the lease in one transaction.
    """
    inside_transaction("this use case")
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


def _is_alive(grant: Grant, called: UseCall, now: datetime) -> bool:
    """Checked after the lock was acquired, because the wait may have been long."""
    if called.jti:
        return _ALIVE_BY_TOKEN.any(grant=grant.pk, jti_digest=digest(called.jti), now=now)
    return _ALIVE.any(grant=grant.pk, now=now)


def _spend(grant: Grant, called: UseCall, key: bytes | None, about: About, now: datetime) -> Use:
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


def refund_use(use_id: UUID, now: datetime) -> bool:
    """Refunds a use that came to nothing, once. Runs in the caller's transaction."""
    inside_transaction("this use case")
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
    record(events.USE_REFUNDED, about, now, use=str(use_id), types=_types(grant), uses_left=grant.uses_left)
    return True


def _types(grant: Grant) -> list[str]:
    return [one["type"] for one in grant.authorization_details]
