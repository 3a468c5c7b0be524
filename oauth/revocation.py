"""POST /oauth/revoke (RFC 7009): an agent gives back what it holds.

One table from the kind of token to what ends it, tried from the hinted kind on. Whatever is unknown, spent
or another agent's is answered like what was revoked: an agent has no use for the difference (2.2), and a
stranger learns nothing.
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
from oauth import lifecycle
from oauth.models import RefreshToken
from oauth.verifying import verify

# True where the token was of this kind and this agent's; then no other kind is tried. Each is a transaction.
Revoker = Callable[[Agent, str, datetime], bool]


@protocol_endpoint("revoke", "POST", hides_people=True, cross_origin=True)
def revoke(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    parameters = parse_form(request)
    agent = authenticate_agent(
        request, parameters, endpoint_url=f"{settings.ISSUER_URL}/oauth/revoke", now=now, public=True
    )
    if "token" not in parameters:
        raise InvalidRequest("token is missing")
    hint = parameters.get("token_type_hint")
    for kind in sorted(REVOKERS, key=lambda kind: kind != hint):  # an unknown hint is no hint (RFC 7009 2.1)
        if REVOKERS[kind](agent, parameters["token"], now):
            break
    return json_response({})  # not an empty text/html, which oidc-client-ts refuses to read


@transaction.atomic(durable=True)
def revoke_refresh_token(agent: Agent, unverified_token: str, now: datetime) -> bool:
    """Ends its grant, and so every token of it (RFC 7009 2.1); a used one ends it too."""
    token = RefreshToken.objects.select_related("grant__user").filter(token_digest=digest(unverified_token)).first()
    if token is None or token.grant.agent_id != agent.pk:
        return False
    lifecycle.revoke_grant(token.grant_id, agent, token.grant.user, now, actor=f"agent:{agent.client_id}")
    return True


@transaction.atomic(durable=True)
def revoke_access_token(agent: Agent, unverified_token: str, now: datetime) -> bool:
    """This one token; its grant, and others of it, go on."""
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
