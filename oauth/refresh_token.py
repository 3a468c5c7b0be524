"""The refresh_token grant (RFC 6749 6, RFC 9700 4.14, OpenID Connect Core 12): what is its own.

Each refresh token works once and is followed by another (except under FAPI 2.0). Within 30 seconds a second use brings
the same successor again: two processes of one agent may refresh at once, and an answer may be lost. A later second
use ends the grant; what the agent then needs is the user's consent again (docs/adr/0016).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from django.db.models import Exists, OuterRef

from audit import events
from audit.record import About, record
from clients.models import Agent
from foundation.errors import InvalidRequest, InvalidScope, InvalidTarget
from foundation.handles import digest
from foundation.prepared import Given, Rows
from oauth import lifecycle
from oauth.authorization_code import issue_of, refuses_resource, still_granted
from oauth.binding import Binding, refresh_cnf
from oauth.errors import InvalidGrant
from oauth.models import Grant, RefreshToken
from oauth.redeeming import Redemption, RedemptionFacts, RotationFacts, SettlingFacts, judge_refresh, must_rotate
from oauth.requesting import living_scopes, scope_names
from oauth.successors import derive_successors
from oauth.token_endpoint import GrantHandler, TokenRequest, Verdict

TRIES = 3  # of a decision whose token another process of the agent changed between reading and writing it


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
    for _ in range(TRIES):
        if (verdict := _try(asked, refresh, now)) is not None:
            return verdict
    return InvalidGrant("the refresh token was used or ended at this moment")


def _try(asked: TokenRequest, refresh: Refresh, now: datetime) -> Verdict | None:
    """None where the token changed between reading and writing it."""
    agent = asked.agent
    token = find(refresh.unverified_token, now)
    verdict = judge(token, agent, asked.binding, now)
    if token is None or verdict is Redemption.UNKNOWN:
        return InvalidGrant("the refresh token is unknown or not this agent's")
    grant = token.grant
    grant.agent = agent
    if verdict not in (Redemption.ISSUE, Redemption.REPEAT):
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
    give = _repeat if verdict is Redemption.REPEAT else _renew
    given = give(token, asked, refresh.unverified_token, now)
    return issue_of(grant, scopes, now, refresh_token=given) if isinstance(given, str) else given


def _renew(token: RefreshToken, asked: TokenRequest, value: str, now: datetime) -> str | None:
    """The refresh token that the agent goes on with. None where another was faster."""
    cnf = token.cnf or refresh_cnf(asked.binding, is_public=asked.agent.is_public)
    settling = SettlingFacts(token.created_at, token.given_at) if token.salt and token.given_at else None
    profile_rotates = asked.agent.demands.rotates_refresh_tokens
    if must_rotate(settling, now, profile_rotates=profile_rotates, changes_key=cnf != token.cnf):
        return lifecycle.rotate(token, value, cnf, now)
    return value if lifecycle.keep(token, now) else None


def _repeat(token: RefreshToken, asked: TokenRequest, value: str, now: datetime) -> str | InvalidGrant:
    """The successor that the first use brought, with an event: it may have been a thief's."""
    successor = token.successor
    salt, expected = bytes(successor.salt), bytes(successor.token_digest)
    found = next((one for one in derive_successors(value, salt) if digest(one) == expected), None)
    if found is None:  # the server lost a key, and that is not the agent's fault: the grant goes on
        return InvalidGrant(
            "the refresh token was used a moment ago: use the one that came with that answer",
            detail="the key-encryption key of the successor was withdrawn",
        )
    agent = asked.agent
    about = About(f"agent:{agent.client_id}", agent.client_id, token.grant.user_id, grant_id=token.grant_id)
    record(events.REFRESH_TOKEN_REPEATED, about, now, cnf=asked.binding.cnf)
    return found


def find(unverified_token: str, now: datetime) -> RefreshToken | None:
    """With its grant, whether that is alive, and which of its scopes are still to be had."""
    return _FIND.first(token_digest=digest(unverified_token), now=now)


_FIND = Rows(
    lambda: (
        RefreshToken.objects.select_related("grant__user", "grant__resource", "successor")
        .annotate(
            is_alive=Exists(Grant.objects.alive(Given("now")).filter(pk=OuterRef("grant_id"))), living=living_scopes()
        )
        .filter(token_digest=Given("token_digest"))
    )
)


def judge(token: RefreshToken | None, agent: Agent, binding: Binding | None, now: datetime) -> Redemption:
    """`binding` is what the sender proves; None where the token is looked at and not used."""
    if token is None:
        return Redemption.UNKNOWN
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
        holds_key=binding is None or (binding.proves(presented.cnf) and binding.proves(token.cnf)),
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
        case (
            Redemption.WRONG_REDIRECT | Redemption.WRONG_VERIFIER
            | Redemption.ISSUE | Redemption.REPEAT | Redemption.UNKNOWN
        ):  # fmt: skip
            raise RuntimeError("not a refusal of a known refresh token")
        case _:
            assert_never(verdict)


HANDLER = GrantHandler(_prepare, _decide, for_public=True)
