"""The authorization_code grant (RFC 6749 4.1.3, RFC 7636 4.6, OpenID Connect Core 3.1.3): only the
steps that are specific to it.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from django.conf import settings
from django.db.models import OuterRef

from clients.models import REFRESH_TOKEN
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter
from foundation.errors import InvalidRequest, InvalidTarget
from foundation.handles import b64url, digest, same
from oauth.errors import InvalidGrant
from oauth.grants import lifecycle
from oauth.models import AuthorizationCode, Grant
from oauth.requests.requested_access import living_scopes
from oauth.token_endpoint.endpoints import GrantHandler, TokenRequest, Verdict
from oauth.token_endpoint.redemption import RedemptionFacts, RedemptionVerdict, judge_code
from oauth.tokens.issuance import Issue, UserAuthentication
from oauth.tokens.key_binding import JKT, Binding, refresh_cnf
from operations.identifiers import is_same_resource
from operations.models import IDENTITY_SCOPES, OFFLINE_ACCESS

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 4.1


@dataclass(frozen=True)
class Exchange:
    unverified_code: str
    unverified_redirect_uri: str
    unverified_verifier: str | None  # None: it was not sent
    resource: str | None


def _prepare(token_request: TokenRequest, _now: datetime) -> Exchange:
    parameters = token_request.parameters
    required = (
        ["code", "redirect_uri"] if token_request.agent.may_omit_pkce else ["code", "redirect_uri", "code_verifier"]
    )
    for name in required:
        if name not in parameters:
            raise InvalidRequest(f"{name} is missing")
    verifier = parameters.get("code_verifier")
    if verifier is not None and not _VERIFIER.fullmatch(verifier):
        raise InvalidRequest("code_verifier must be 43 to 128 unreserved characters")
    return Exchange(parameters["code"], parameters["redirect_uri"], verifier, parameters.get("resource"))


_FIND = CompiledQuery(
    lambda: (
        AuthorizationCode.objects.select_related("grant__user", "grant__resource")
        .annotate(
            is_alive=ExistsByKey(Grant.objects.alive(Parameter("now")).filter(pk=OuterRef("grant_id"))),
            living=living_scopes(),
        )
        .filter(code_digest=Parameter("code_digest"))
    )
)


def _decide(token_request: TokenRequest, exchange: Exchange, now: datetime) -> Verdict:
    agent = token_request.agent
    code = _FIND.first(code_digest=digest(exchange.unverified_code), now=now)
    verdict = judge_code(
        _facts(code, token_request),
        now,
        redirect_matches=code is not None and code.redirect_uri == exchange.unverified_redirect_uri,
        verifier_matches=code is not None and fits_challenge(exchange.unverified_verifier, code.code_challenge),
    )
    if code is None or verdict is RedemptionVerdict.UNKNOWN:
        return InvalidGrant("the code is unknown or not this agent's")
    code.grant.agent = agent
    if verdict is RedemptionVerdict.ISSUE and refuses_resource(exchange.resource, code.grant):
        return InvalidTarget("resource is not the granted resource")
    scopes = still_granted(code.grant, code.living)
    if verdict is RedemptionVerdict.ISSUE and not scopes:
        verdict = RedemptionVerdict.DEAD
    if verdict is RedemptionVerdict.ISSUE and not lifecycle.use_code(code, now):
        verdict = RedemptionVerdict.USED_AGAIN
    return (
        _issue(code, token_request.binding, scopes, now)
        if verdict is RedemptionVerdict.ISSUE
        else _refuse(code, verdict, now)
    )


def _facts(code: AuthorizationCode | None, token_request: TokenRequest) -> RedemptionFacts | None:
    if code is None:
        return None
    return RedemptionFacts(
        is_own=code.grant.agent_id == token_request.agent.pk,
        is_used=code.used_at is not None,
        expires_at=code.expires_at,
        is_alive=code.is_alive,  # type: ignore[attr-defined]  # annotated
        proves_key=token_request.binding.proves({JKT: code.dpop_jkt} if code.dpop_jkt else {}),
    )


def fits_challenge(unverified_verifier: str | None, challenge: str) -> bool:
    """Whether the verifier matches the challenge (RFC 7636 4.6, S256).

    A code that was issued without a challenge accepts no verifier (RFC 9700 4.8.2): its sender
    started with a challenge, so an attacker removed it or the code is from another flow.
    """
    if unverified_verifier is None or not challenge:
        return unverified_verifier is None and not challenge
    made = b64url(hashlib.sha256(unverified_verifier.encode()).digest())
    return same(made.encode(), challenge.encode())


def _refuse(code: AuthorizationCode, verdict: RedemptionVerdict, now: datetime) -> Verdict:
    match verdict:
        case RedemptionVerdict.USED_AGAIN:
            lifecycle.end_replayed(code.grant, "a code", now)
            return InvalidGrant("the code was used before: its grant has ended", detail="code used twice")
        case RedemptionVerdict.EXPIRED:
            return InvalidGrant("the code has expired")
        case RedemptionVerdict.DEAD:
            return InvalidGrant("the grant of the code has ended")
        case RedemptionVerdict.WRONG_REDIRECT:
            return InvalidGrant("redirect_uri differs from the one of the authorization request")
        case RedemptionVerdict.WRONG_KEY:
            return InvalidGrant("the code is bound to another key (dpop_jkt)", detail="code with another key")
        case RedemptionVerdict.WRONG_VERIFIER:
            return InvalidGrant("code_verifier does not match the code_challenge")
        case RedemptionVerdict.ISSUE | RedemptionVerdict.REPEAT | RedemptionVerdict.UNKNOWN:
            raise RuntimeError("the verdict is not a refusal of a known code")
        case _:
            assert_never(verdict)


def _issue(code: AuthorizationCode, binding: Binding, scopes: list[str], now: datetime) -> Issue:
    grant = code.grant
    offline = grant.is_offline and grant.agent.allows_grant_type(REFRESH_TOKEN)
    cnf = refresh_cnf(binding, is_public=grant.agent.is_public)
    refresh_token = lifecycle.issue_refresh_token(grant, cnf, now) if offline else None
    return issue_of(grant, scopes, now, nonce=code.nonce, refresh_token=refresh_token)


def refuses_resource(token_request: str | None, grant: Grant) -> bool:
    """RFC 8707 2.2: a token request may name only the resource that was granted."""
    return token_request is not None and (
        grant.resource is None or not is_same_resource(grant.resource.identifier, token_request)
    )


def still_granted(grant: Grant, living: list[str]) -> list[str]:
    """The grant's scopes without those that its agent may no longer request."""
    identity = {*grant.agent.identity_scopes} & {*IDENTITY_SCOPES} | {OFFLINE_ACCESS}
    return [name for name in grant.scopes if name in identity or name in living]


def issue_of(
    grant: Grant, scopes: list[str], now: datetime, *, nonce: str = "", refresh_token: str | None = None
) -> Issue:
    """The tokens for a code or a refresh token: a short-lived access token, and the ID token of the
    user's sign-in.
    """
    if grant.user is None or grant.signed_in_at is None:
        raise RuntimeError("a grant by consent has no signed-in user")
    is_of_resource = bool(set(scopes) - {*IDENTITY_SCOPES, OFFLINE_ACCESS})
    return Issue(
        agent=grant.agent,
        user=grant.user,
        scopes=scopes,
        resource=grant.resource.identifier if grant.resource and is_of_resource else None,
        expires_at=min(grant.expires_at, now + timedelta(seconds=settings.ACCESS_TOKEN_LIFETIME)),
        grant=grant,
        authentication=UserAuthentication(
            auth_time=grant.signed_in_at,
            amr=["pwd"],
            acr=grant.acr,
            extra_claims={"nonce": nonce} if nonce else {},
        ),
        refresh_token=refresh_token,
    )


HANDLER = GrantHandler(_prepare, _decide, for_public=True)
