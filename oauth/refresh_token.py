"""The refresh_token grant (RFC 6749 6, RFC 9700 4.14, OpenID Connect Core 12): what is its own.

Each refresh token works once and is followed by another. A second use ends the grant, also where the first
answer was lost on the way: a time of grace would give a thief the same grace. What the agent then needs is
the person's consent again.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from django.db.models import Exists, OuterRef

from clients.models import Agent
from foundation.errors import InvalidRequest, InvalidScope, InvalidTarget
from foundation.handles import digest
from foundation.prepared import Given, Rows
from oauth import lifecycle
from oauth.authorization_code import issue_of, refuses_resource, still_granted
from oauth.binding import refresh_cnf
from oauth.errors import InvalidGrant
from oauth.models import Grant, RefreshToken
from oauth.redeeming import Redemption, RedemptionFacts, judge_refresh
from oauth.requesting import living_scopes, scope_names
from oauth.token_endpoint import GrantHandler, TokenRequest, Verdict


@dataclass(frozen=True)
class Refresh:
    unverified_token: str
    scopes: list[str] | None  # None: as granted
    resource: str | None


def _prepare(asked: TokenRequest, now: datetime) -> Refresh:
    parameters = asked.parameters
    if "refresh_token" not in parameters:
        raise InvalidRequest("refresh_token is missing")
    scopes = scope_names(parameters["scope"]) if "scope" in parameters else None
    return Refresh(parameters["refresh_token"], scopes, parameters.get("resource"))


def _decide(asked: TokenRequest, refresh: Refresh, now: datetime) -> Verdict:
    agent = asked.agent
    token = find(refresh.unverified_token, now)
    holds_key = token is not None and asked.binding.proves(token.cnf)
    verdict = judge_refresh(facts(token, agent, holds_key=holds_key), now)
    if token is None or verdict is Redemption.UNKNOWN:
        return InvalidGrant("the refresh token is unknown or not this agent's")
    grant = token.grant
    grant.agent = agent
    if verdict is not Redemption.ISSUE:
        return _refuse(grant, verdict, now)
    # Before it is used up: a wrong parameter costs the agent nothing.
    if refuses_resource(refresh.resource, grant):
        return InvalidTarget("resource is not the one that was granted")
    scopes = still_granted(grant, token.living)  # type: ignore[attr-defined]  # annotated
    if refresh.scopes is not None:
        if not set(refresh.scopes) <= set(scopes):
            return InvalidScope("scope is more than what was granted")
        scopes = [name for name in scopes if name in refresh.scopes]
    if not scopes:
        return InvalidScope("nothing of what was granted may be asked for any more")
    successor = lifecycle.rotate(token, token.cnf or refresh_cnf(asked.binding, is_public=agent.is_public), now)
    if successor is None:
        return _refuse(grant, Redemption.USED_AGAIN, now)
    return issue_of(grant, scopes, now, refresh_token=successor)


def find(unverified_token: str, now: datetime) -> RefreshToken | None:
    """With its grant, whether that is alive, and which of its scopes are still to be had."""
    return _FIND.first(token_digest=digest(unverified_token), now=now)


_FIND = Rows(
    lambda: (
        RefreshToken.objects.select_related("grant__user", "grant__resource")
        .annotate(
            is_alive=Exists(Grant.objects.alive(Given("now")).filter(pk=OuterRef("grant_id"))), living=living_scopes()
        )
        .filter(token_digest=Given("token_digest"))
    )
)


def facts(token: RefreshToken | None, agent: Agent, *, holds_key: bool) -> RedemptionFacts | None:
    if token is None:
        return None
    return RedemptionFacts(
        is_own=token.grant.agent_id == agent.pk,
        is_used=token.used_at is not None,
        expires_at=token.expires_at,
        is_alive=token.is_alive,  # type: ignore[attr-defined]  # annotated
        holds_key=holds_key,
    )


def _refuse(grant: Grant, verdict: Redemption, now: datetime) -> Verdict:
    match verdict:
        case Redemption.USED_AGAIN:
            lifecycle.end_replayed(grant, "a refresh token", now)
            return InvalidGrant("the refresh token was used before: the grant has ended", detail="refresh token reused")
        case Redemption.EXPIRED:
            return InvalidGrant("the refresh token has expired")
        case Redemption.DEAD:
            return InvalidGrant("the grant has ended")
        case Redemption.WRONG_KEY:
            return InvalidGrant("the refresh token is bound to another key", detail="refresh token with another key")
        case Redemption.WRONG_REDIRECT | Redemption.WRONG_VERIFIER | Redemption.ISSUE | Redemption.UNKNOWN:
            raise RuntimeError("not a refusal of a known refresh token")
        case _:
            assert_never(verdict)


HANDLER = GrantHandler(_prepare, _decide, for_public=True)
