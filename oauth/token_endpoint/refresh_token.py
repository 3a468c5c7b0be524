"""The refresh_token grant (RFC 6749 6, RFC 9700 4.14, OpenID Connect Core 12): only the steps that
are specific to it.

Each refresh token works once and has a successor (except under FAPI 2.0). Within 30 seconds a
second use returns the same successor: two processes of one agent may refresh at once, and a
response may be lost. A later second use ends the grant, and the agent needs the user's consent
again (docs/adr/0016).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from django.db.models import OuterRef

from audit import events
from audit.record import About, record
from clients.models import Agent
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter
from foundation.errors import InvalidRequest, InvalidScope, InvalidTarget
from foundation.handles import digest
from oauth.errors import InvalidGrant
from oauth.grants import lifecycle
from oauth.models import Grant, RefreshToken
from oauth.requests.requested_access import living_scopes, scope_names
from oauth.successors import derive_successors
from oauth.token_endpoint.authorization_code import issue_of, refuses_resource, still_granted
from oauth.token_endpoint.endpoints import GrantHandler, TokenRequest, Verdict
from oauth.token_endpoint.redemption import (
    RedemptionFacts,
    RedemptionVerdict,
    RotationFacts,
    SettlingFacts,
    judge_refresh,
    must_rotate,
)
from oauth.tokens.key_binding import Binding, refresh_cnf

TRIES = 3  # decisions, if another process of the agent changes the token between the read and the write


@dataclass(frozen=True)
class Refresh:
    unverified_token: str
    scopes: list[str] | None  # None: as granted
    resource: str | None


def _prepare(token_request: TokenRequest, _now: datetime) -> Refresh:
    parameters = token_request.parameters
    if "refresh_token" not in parameters:
        raise InvalidRequest("refresh_token is missing")
    scopes = scope_names(parameters["scope"]) if "scope" in parameters else None
    return Refresh(parameters["refresh_token"], scopes, parameters.get("resource"))


def _decide(token_request: TokenRequest, refresh: Refresh, now: datetime) -> Verdict:
    for _ in range(TRIES):
        if (verdict := _try(token_request, refresh, now)) is not None:
            return verdict
    return InvalidGrant("another request used or ended the refresh token at the same time")


def _try(token_request: TokenRequest, refresh: Refresh, now: datetime) -> Verdict | None:
    """None if the token changed between the read and the write."""
    agent = token_request.agent
    token = find(refresh.unverified_token, now)
    verdict = judge(token, agent, token_request.binding, now)
    if token is None or verdict is RedemptionVerdict.UNKNOWN:
        return InvalidGrant("the refresh token is unknown or not this agent's")
    grant = token.grant
    grant.agent = agent
    if verdict not in (RedemptionVerdict.ISSUE, RedemptionVerdict.REPEAT):
        return _refuse(grant, verdict, now)
    # Before the token is used: a wrong parameter must not cost the agent its token.
    if refuses_resource(refresh.resource, grant):
        return InvalidTarget("resource is not the granted resource")
    scopes = still_granted(grant, token.living)  # type: ignore[attr-defined]  # annotated
    if refresh.scopes is not None:
        if not set(refresh.scopes) <= set(scopes):
            return InvalidScope("scope has more than the grant")
        scopes = [name for name in scopes if name in refresh.scopes]
    if not scopes:
        return InvalidScope("this agent may no longer request anything of the grant")
    give = _repeat if verdict is RedemptionVerdict.REPEAT else _renew
    given = give(token, token_request, refresh.unverified_token, now)
    return issue_of(grant, scopes, now, refresh_token=given) if isinstance(given, str) else given


def _renew(token: RefreshToken, token_request: TokenRequest, value: str, now: datetime) -> str | None:
    """The refresh token that the agent uses next. None if another process was faster."""
    cnf = token.cnf or refresh_cnf(token_request.binding, is_public=token_request.agent.is_public)
    settling = SettlingFacts(token.created_at, token.given_at) if token.salt and token.given_at else None
    profile_rotates = token_request.agent.demands.rotates_refresh_tokens
    if must_rotate(settling, now, profile_rotates=profile_rotates, changes_key=cnf != token.cnf):
        return lifecycle.rotate(token, value, cnf, now)
    return value if lifecycle.keep(token, now) else None


def _repeat(token: RefreshToken, token_request: TokenRequest, value: str, now: datetime) -> str | InvalidGrant:
    """The successor that the first use returned, with an event, because a thief may have sent
    either request.
    """
    successor = token.successor
    salt, expected = bytes(successor.salt), bytes(successor.token_digest)
    found = next((one for one in derive_successors(value, salt) if digest(one) == expected), None)
    if found is None:  # the server lost a key, which is not the agent's fault: the grant stays alive
        return InvalidGrant(
            "the refresh token was used a moment ago: use the one of that response",
            detail="the key-encryption key of the successor was withdrawn",
        )
    agent = token_request.agent
    about = About(f"agent:{agent.client_id}", agent.client_id, token.grant.user_id, grant_id=token.grant_id)
    record(events.REFRESH_TOKEN_REPEATED, about, now, cnf=token_request.binding.cnf)
    return found


def find(unverified_token: str, now: datetime) -> RefreshToken | None:
    """The token with its grant, whether the grant is alive, and which of its scopes may still be
    issued.
    """
    return _FIND.first(token_digest=digest(unverified_token), now=now)


_FIND = CompiledQuery(
    lambda: (
        RefreshToken.objects.select_related("grant__user", "grant__resource", "successor")
        .annotate(
            is_alive=ExistsByKey(Grant.objects.alive(Parameter("now")).filter(pk=OuterRef("grant_id"))),
            living=living_scopes(),
        )
        .filter(token_digest=Parameter("token_digest"))
    )
)


def judge(token: RefreshToken | None, agent: Agent, binding: Binding | None, now: datetime) -> RedemptionVerdict:
    """`binding` holds the keys that the sender proved; None if the token is only inspected."""
    if token is None:
        return RedemptionVerdict.UNKNOWN
    own, successor = _facts(token, token, agent, binding), getattr(token, "successor", None)
    rotation = None
    if successor is not None and token.used_at is not None:
        rotation = RotationFacts(token.used_at, _facts(successor, token, agent, binding))
    return judge_refresh(own, rotation, now)


def _facts(token: RefreshToken, presented: RefreshToken, agent: Agent, binding: Binding | None) -> RedemptionFacts:
    return RedemptionFacts(
        is_own=presented.grant.agent_id == agent.pk,
        is_used=token.used_at is not None,
        expires_at=token.expires_at,
        is_alive=presented.is_alive,  # type: ignore[attr-defined]  # annotated
        proves_key=binding is None or (binding.proves(presented.cnf) and binding.proves(token.cnf)),
    )


def _refuse(grant: Grant, verdict: RedemptionVerdict, now: datetime) -> Verdict:
    match verdict:
        case RedemptionVerdict.USED_AGAIN:
            lifecycle.end_replayed(grant, "a refresh token", now)
            return InvalidGrant("the refresh token was used before: the grant has ended", detail="refresh token reused")
        case RedemptionVerdict.EXPIRED:
            return InvalidGrant("the refresh token has expired")
        case RedemptionVerdict.DEAD:
            return InvalidGrant("the grant has ended")
        case RedemptionVerdict.WRONG_KEY:
            return InvalidGrant("the refresh token is bound to another key", detail="refresh token with another key")
        case (
            RedemptionVerdict.WRONG_REDIRECT | RedemptionVerdict.WRONG_VERIFIER
            | RedemptionVerdict.ISSUE | RedemptionVerdict.REPEAT | RedemptionVerdict.UNKNOWN
        ):  # fmt: skip
            raise RuntimeError("the verdict is not a refusal of a known refresh token")
        case _:
            assert_never(verdict)


HANDLER = GrantHandler(_prepare, _decide, for_public=True)
