"""POST /oauth/introspect (RFC 7662).

A resource server may introspect tokens for its resource, an agent its own tokens.

Every other token is `active:false`, without a reason. On request the answer is signed (RFC 9701).
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import IntegerField, Subquery, Value
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from clients.authentication import authenticate_agent
from clients.models import Agent
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest
from foundation.forms import parse_form
from oauth.models import Grant
from oauth.resource_servers.authentication import authenticate_resource, by_secret, is_from_resource
from oauth.token_endpoint import refresh_token
from oauth.token_endpoint.redemption import RedemptionVerdict
from oauth.tokens.issuance import sign
from oauth.tokens.key_binding import token_type
from oauth.tokens.signing_keys import signing_key
from oauth.tokens.token_verification import find_live_token, given, living_agents, living_grants, verify
from operations.identifiers import is_same_resource

# Every claim except those that concern only the token's holder and this server.
INTROSPECTION_CLAIMS = (
    "iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope", "act", "authorization_details",
    "operation_digest", "grant_id", "cnf",
)  # fmt: skip
SIGNED_MEDIA_TYPE = "application/token-introspection+jwt"
ALGORITHM = "ES256"
INACTIVE_ANSWER = {"active": False}


@protocol_endpoint("introspect", "POST")
def introspect(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    parameters = parse_form(request)
    token = parameters.get("token", "")
    if is_from_resource(request):
        reader, answer = _for_resource(request, token, now)
    else:
        endpoint = f"{settings.ISSUER_URL}/oauth/introspect"
        agent = authenticate_agent(request, parameters, endpoint_url=endpoint, now=now)
        reader, answer = str(agent.client_id), _for_agent(agent, token, now)
    if not token:
        raise InvalidRequest("token is missing")
    if SIGNED_MEDIA_TYPE in request.headers.get("Accept", ""):
        return _signed(reader, answer, now)
    return json_response(answer)


def _for_resource(request: HttpRequest, unverified_token: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """One query finds the resource of the credential, whether the token's grant is alive, whether
    the token was revoked, and the uses left.
    """
    claims = verify(unverified_token, "at+jwt", now)
    if claims is None or claims["exp"] <= now.timestamp():
        return authenticate_resource(request).identifier, INACTIVE_ANSWER
    if "grant_id" in claims:
        resource: Any = authenticate_resource(request, _AND_GRANT, **given(claims), now=now)
    else:
        resource = authenticate_resource(request, _AND_AGENT, **given(claims))
    if not is_same_resource(resource.identifier, claims["aud"]) or not resource.token_is_alive:
        return resource.identifier, INACTIVE_ANSWER
    return resource.identifier, _active(claims, resource.token_uses_left)


_AND_GRANT = CompiledQuery(
    lambda: by_secret().annotate(
        token_is_alive=ExistsByKey(living_grants()),
        token_uses_left=Subquery(Grant.objects.filter(pk=Parameter("grant")).values("uses_left")),
    )
)
_AND_AGENT = CompiledQuery(
    lambda: by_secret().annotate(
        token_is_alive=ExistsByKey(living_agents()), token_uses_left=Value(None, IntegerField())
    )
)


def _for_agent(agent: Agent, unverified_token: str, now: datetime) -> dict[str, Any]:
    """An access token or a refresh token of this agent."""
    claims = verify(unverified_token, "at+jwt", now)
    if claims is not None:
        live = find_live_token(unverified_token, now, audience=None)
        if live is None or claims["client_id"] != agent.client_id:
            return INACTIVE_ANSWER
        return _active(claims, live.grant.uses_left if live.grant else None)
    token = refresh_token.find(unverified_token, now)
    if token is None or refresh_token.judge(token, agent, None, now) is not RedemptionVerdict.ISSUE:
        return INACTIVE_ANSWER
    return {
        "active": True,
        "iss": settings.ISSUER_URL,
        "client_id": agent.client_id,
        "sub": token.grant.sub,
        "scope": " ".join(token.grant.scopes),
        "iat": int(token.created_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
        **({"cnf": token.cnf} if token.cnf else {}),
    }


def _active(claims: dict[str, Any], uses_left: int | None) -> dict[str, Any]:
    # RFC 9449 6.2: the resource server checks the proof against this `cnf`.
    answer: dict[str, Any] = {"active": True, "token_type": token_type(claims.get("cnf", {}))}
    answer |= {name: claims[name] for name in INTROSPECTION_CLAIMS if name in claims}
    if uses_left is not None:
        answer["uses_left"] = uses_left
    return answer


def _signed(reader: str, answer: dict[str, Any], now: datetime) -> HttpResponse:
    """RFC 9701 5: the answer in a JWT for this one reader, who can later prove what the answer was."""
    claims = {
        "iss": settings.ISSUER_URL,
        "aud": reader,
        "iat": int(now.timestamp()),
        "token_introspection": answer,
    }
    body = sign(claims, signing_key(ALGORITHM, now), "token-introspection+jwt")
    return HttpResponse(body, content_type=SIGNED_MEDIA_TYPE, headers={"Cache-Control": "no-store"})
