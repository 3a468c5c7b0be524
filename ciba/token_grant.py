"""The CIBA grant of the token endpoint (CIBA Core 10.1): only the steps that are specific to it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from django.conf import settings
from django.utils import timezone

from audit import events
from audit.record import record
from ciba import lifecycle
from ciba.errors import AuthorizationPending, ExpiredToken, PollsTooMuch, SlowDown
from ciba.models import BackchannelRequest, find_polled
from ciba.poll_policy import PollFacts, PollVerdict, judge_poll
from ciba.states import State
from ciba.topics import request_topic
from clients.models import REFRESH_TOKEN, Agent
from foundation.errors import InvalidRequest
from foundation.handles import digest
from foundation.pending_answers import Watch
from foundation.poll_throttle import PollPace, get_poll_throttle
from oauth.errors import AccessDenied, InvalidGrant, UnauthorizedClient
from oauth.grants.lifecycle import issue_refresh_token
from oauth.token_endpoint.endpoints import GrantHandler, TokenRequest, Verdict
from oauth.token_endpoint.long_poll import PendingAnswer
from oauth.tokens.issuance import Issue, UserAuthentication

AUTH_REQ_ID_CLAIM = "urn:openid:params:jwt:claim:auth_req_id"


@dataclass(frozen=True)
class Poll:
    unverified_auth_req_id: str
    pace: PollPace
    found: BackchannelRequest | None = None  # as it was before the transaction


def _prepare(token_request: TokenRequest, now: datetime) -> Poll:
    if token_request.agent.backchannel_token_delivery_mode == Agent.DeliveryMode.PUSH:
        raise UnauthorizedClient("this agent uses push and must not poll")  # CIBA Core 11
    auth_req_id = token_request.parameters.get("auth_req_id")
    if auth_req_id is None:
        raise InvalidRequest("auth_req_id is missing")
    key = _throttle_key(token_request.agent, auth_req_id)
    lifetime = settings.REQUEST_LIFETIME_MAX + 60
    pace = get_poll_throttle().poll(key, now=now, interval=settings.POLL_INTERVAL, lifetime=lifetime)
    return Poll(auth_req_id, pace)


def _throttle_key(agent: Agent, auth_req_id: str) -> str:
    """The agent is part of the key, so that a stranger's polls never slow the owner down."""
    return f"poll:{agent.pk}:{digest(auth_req_id).hex()}"


def _look(token_request: TokenRequest, poll: Poll, now: datetime) -> Verdict | Poll:
    """Most polls change nothing: the user has not answered yet."""
    agent = token_request.agent
    if poll.pace.heeds_nothing:
        return PollsTooMuch(retry_after=poll.pace.interval)  # before any query
    request = _find(poll)
    if request is not None and not _is_due(request, agent, now):
        verdict = judge_poll(_facts(request, agent, poll), now)
        if verdict in (PollVerdict.PENDING, PollVerdict.SLOW_DOWN):
            return _wait(verdict, request, agent, poll)
    return replace(poll, found=request)


def _decide(token_request: TokenRequest, poll: Poll, now: datetime) -> Verdict:
    """The conditional UPDATEs of the use cases judge `poll.found` again."""
    agent, request = token_request.agent, poll.found or _find(poll)
    if request is not None and _is_due(request, agent, now) and not lifecycle.expire(request, now):
        request = _find(poll)  # an answer in time came first
    verdict = judge_poll(_facts(request, agent, poll), now)
    if request is not None and verdict is PollVerdict.ISSUE:
        if lifecycle.redeem(request, now):
            return issue(request, poll.unverified_auth_req_id, now)
        # Another answer, or the expiry, came first: the row's current state is the answer.
        request = _find(poll)
        verdict = judge_poll(_facts(request, agent, poll), now)
    if request is not None and verdict is PollVerdict.POLLED_AGAIN:
        record(events.REQUEST_POLLED_AGAIN, lifecycle.about(request, f"agent:{agent.client_id}"), now)
    return _wait(verdict, request, agent, poll) if request is not None else _refusal(verdict, poll.pace)


def _wait(verdict: PollVerdict, request: BackchannelRequest, agent: Agent, poll: Poll) -> Verdict:
    """The refusal. A poll of a pending request may wait for the decision."""
    refusal = _refusal(verdict, poll.pace)
    if isinstance(refusal, AuthorizationPending):
        refusal.pending = _hold(request, agent, poll)
    return refusal


def _is_due(request: BackchannelRequest, agent: Agent, now: datetime) -> bool:
    """This agent's request was not answered in time, and no sweep has expired it yet."""
    return request.agent_id == agent.pk and request.state == State.PENDING and request.expires_at <= now


def _hold(request: BackchannelRequest, agent: Agent, poll: Poll) -> PendingAnswer:
    """A long poll that waits for the decision.

    Another poll meanwhile is too early; the poll interval starts at the end of this one.
    """
    key = _throttle_key(agent, poll.unverified_auth_req_id)
    return PendingAnswer(
        watch=Watch(request_topic(request), State.PENDING),
        until=request.expires_at,
        begin=lambda over_at: get_poll_throttle().count_from(key, over_at),
        end=lambda: get_poll_throttle().count_from(key, timezone.now()),
    )


def _find(poll: Poll) -> BackchannelRequest | None:
    return find_polled(digest(poll.unverified_auth_req_id))


def _facts(request: BackchannelRequest | None, agent: Agent, poll: Poll) -> PollFacts:
    if request is None:
        return PollFacts(None, is_own=False, is_alive=False, expires_at=None, too_early=poll.pace.too_early)
    return PollFacts(
        state=State(request.state),
        is_own=request.agent_id == agent.pk,
        is_alive=request.is_alive,  # type: ignore[attr-defined]  # annotated
        expires_at=request.expires_at,
        too_early=poll.pace.too_early,
    )


def _refusal(verdict: PollVerdict, pace: PollPace) -> Verdict:
    match verdict:
        case PollVerdict.PENDING:
            return AuthorizationPending()
        case PollVerdict.SLOW_DOWN:
            text = f"the agent polled too early: from now on, wait {pace.interval} seconds between polls"
            return SlowDown(text, retry_after=pace.interval)
        case PollVerdict.DENIED:
            return AccessDenied()
        case PollVerdict.EXPIRED:
            return ExpiredToken()
        case PollVerdict.UNKNOWN | PollVerdict.POLLED_AGAIN | PollVerdict.ISSUE:
            # ISSUE only if another poll won the redemption: the request is used like any other used
            # one.
            return InvalidGrant("auth_req_id is unknown, used, or not this agent's")
        case _:
            assert_never(verdict)


def issue(request: BackchannelRequest, auth_req_id: str, now: datetime) -> Issue:
    """The tokens for an approved request, the same for poll, ping and push.

    Runs in the transaction that mints them.

    One token that lasts as long as the approval. If the user allowed offline access, a short-lived
    token and a refresh token. CIBA agents authenticate, so the refresh token is bound to the agent
    (RFC 9449 5).
    """
    grant = request.grant
    if grant is None or grant.signed_in_at is None:
        raise RuntimeError("an approved request has no grant of a user")
    short = now + timedelta(seconds=settings.ACCESS_TOKEN_LIFETIME)
    offline = grant.is_offline and request.agent.allows_grant_type(REFRESH_TOKEN)
    return Issue(
        agent=request.agent,
        user=request.user,
        scopes=request.scopes,
        resource=request.resource.identifier if request.resource else None,
        expires_at=min(grant.expires_at, short) if grant.is_offline else grant.expires_at,
        refresh_token=issue_refresh_token(grant, {}, now) if offline else None,
        grant=grant,
        authentication=UserAuthentication(
            auth_time=grant.signed_in_at,
            amr=["pwd"],
            acr=grant.acr,
            extra_claims={AUTH_REQ_ID_CLAIM: auth_req_id},
            binds_refresh_token=True,
        ),
    )


HANDLER = GrantHandler(_prepare, _decide, look=_look)
