"""A user's consent in the browser, the grant and the code that come of it; a grant that needs no user."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef

from accounts.models import User
from audit import events
from audit.record import About, record
from clients import lifecycle as agents
from clients.models import Agent
from foundation.canonical import operation_digest
from foundation.handles import digest, new_handle, new_id
from foundation.inserts import insert
from oauth.models import (
    AuthorizationCode,
    AuthorizationRequest,
    Grant,
)
from oauth.requests.requested_access import RequestedAccess
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
    grant = Grant(
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
    insert([grant])
    return grant


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
def reuse_consent(proposal: Proposal, now: datetime) -> str | None:
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
