"""POST /oauth/revoke (RFC 7009): an agent revokes a token that it holds.

A table maps each kind of token to its revoker. The hinted kind is tried first. A token that is
unknown, used or another agent's gets the same answer as a revoked one: the agent does not need the
difference (RFC 7009 2.2), and a stranger learns nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit import events
from audit.record import About, record_revocation
from clients.authentication import authenticate_agent
from clients.models import Agent
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest
from foundation.forms import parse_form
from foundation.handles import digest
from oauth.grants import lifecycle
from oauth.models import RefreshToken
from oauth.tokens.token_verification import verify

# Returns True if the token was of this kind and of this agent; then no other kind is tried. Each
# revoker is one transaction.
Revoker = Callable[[Agent, str, datetime], bool]


@protocol_endpoint("revoke", "POST", hides_users=True, cross_origin=True)
def revoke(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    parameters = parse_form(request)
    agent = authenticate_agent(
        request, parameters, endpoint_url=f"{settings.ISSUER_URL}/oauth/revoke", now=now, public=True
    )
    if "token" not in parameters:
        raise InvalidRequest("token is missing")
    hint = parameters.get("token_type_hint")
    for kind in sorted(REVOKERS, key=lambda kind: kind != hint):  # an unknown hint is ignored (RFC 7009 2.1)
        if REVOKERS[kind](agent, parameters["token"], now):
            break
    return json_response({})  # oidc-client-ts refuses an empty text/html body


@transaction.atomic(durable=True)
def revoke_refresh_token(agent: Agent, unverified_token: str, now: datetime) -> bool:
    """Ends the token's grant and so all its tokens (RFC 7009 2.1).

    A used refresh token does so too.
    """
    token = RefreshToken.objects.select_related("grant__user").filter(token_digest=digest(unverified_token)).first()
    if token is None or token.grant.agent_id != agent.pk:
        return False
    lifecycle.revoke_grant(token.grant_id, agent, token.grant.user, now, actor=f"agent:{agent.client_id}")
    return True


@transaction.atomic(durable=True)
def revoke_access_token(agent: Agent, unverified_token: str, now: datetime) -> bool:
    """Revokes this one token. Its grant and the grant's other tokens stay valid."""
    claims = verify(unverified_token, "at+jwt", now)
    if claims is None or claims["client_id"] != agent.client_id:
        return False
    ends_at = datetime.fromtimestamp(claims["exp"], UTC)
    if ends_at > now and lifecycle.deny_token(claims["jti"], ends_at):
        about = About(f"agent:{agent.client_id}", agent.client_id)
        record_revocation(events.TOKEN_REVOKED, about, now, jti=claims["jti"])
    return True


# `token_type_hint` → Revoker. Upper packages add theirs in authserver/wiring.py.
REVOKERS: dict[str, Revoker] = {
    "refresh_token": revoke_refresh_token,
    "access_token": revoke_access_token,
}
