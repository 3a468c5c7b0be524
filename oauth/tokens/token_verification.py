"""Verifies tokens that this server issued: access tokens at introspection, uses and protected
calls, and ID tokens as hints.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from clients.models import Agent
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.handles import digest
from foundation.jws import BadJws, read_jws, verify_jws
from foundation.plaintext import problem_with
from oauth.models import Grant, not_revoked
from oauth.tokens.signing_keys import find_key
from operations.identifiers import is_same_resource

MAX_TOKEN = 32_768  # characters


def verify(unverified_token: str, typ: str, now: datetime) -> dict[str, Any] | None:
    """The claims of a token that a listed key of this server signed as this `typ`.

    Times are not checked.

    None for any other input, whatever the reason.
    """
    try:
        unverified = read_jws(unverified_token, max_length=MAX_TOKEN)
        loaded = find_key(unverified.kid, now)
        if loaded is None or unverified.header.get("typ") != typ:
            return None
        claims = verify_jws(unverified, loaded.key, [loaded.algorithm])
    except BadJws:
        return None
    return claims if claims.get("iss") == settings.ISSUER_URL else None


@dataclass(frozen=True)
class LiveToken:
    """An access token that is valid now, with its grant if it has one."""

    claims: dict[str, Any]
    grant: Grant | None


def find_live_token(unverified_token: str, now: datetime, *, audience: str | None) -> LiveToken | None:
    """Checks signature, times and audience, then in one query that agent, user and grant are alive
    and the token is not revoked.

    None for any other token. `audience` None: the caller decides by another claim which tokens are
    acceptable.
    """
    claims = verify(unverified_token, "at+jwt", now)
    if claims is None or claims["exp"] <= now.timestamp():
        return None
    if audience is not None and not is_same_resource(audience, claims["aud"]):
        return None
    if "grant_id" in claims:
        grant = _LIVING_GRANT.first(**given(claims), now=now)
        return LiveToken(claims, grant) if grant else None
    return LiveToken(claims, None) if _LIVING_AGENT.any(**given(claims)) else None


def living_grants() -> QuerySet[Grant]:
    """The grant of a verified token (`given`), if the grant is alive and the token is not revoked."""
    return Grant.objects.alive(Parameter("now")).filter(not_revoked(Parameter("jti_digest")), pk=Parameter("grant"))


def living_agents() -> QuerySet[Agent]:
    """Like `living_grants`, for a token without a grant: it is valid while its agent is active."""
    living: QuerySet[Agent] = Agent.objects.filter(
        not_revoked(Parameter("jti_digest")), client_id=Parameter("client_id"), status=Agent.Status.ACTIVE
    )
    return living


def given(claims: dict[str, Any]) -> dict[str, Any]:
    """The parameters of these two queries, from a verified token."""
    jti_digest = digest(claims["jti"])
    if "grant_id" in claims:
        return {"grant": UUID(claims["grant_id"]), "jti_digest": jti_digest}
    return {"client_id": claims["client_id"], "jti_digest": jti_digest}


_LIVING_GRANT = CompiledQuery(lambda: living_grants().select_related("user", "agent"))
_LIVING_AGENT = CompiledQuery(lambda: living_agents().values_list("pk"))


def find_hinted_sub(unverified_id_token: str, agent: Agent, now: datetime) -> str | None:
    """The `sub` of an id_token_hint (CIBA Core 7.1), or None.

    Another agent's ID token is not accepted; expired ones are if the setting allows it.
    """
    claims = verify(unverified_id_token, "JWT", now)
    if claims is not None and claims["exp"] <= now.timestamp() and not settings.EXPIRED_ID_TOKEN_HINTS:
        return None
    if claims is None or claims.get("aud") != agent.client_id or problem_with(str(claims.get("sub")), max_length=255):
        return None
    return str(claims["sub"])
