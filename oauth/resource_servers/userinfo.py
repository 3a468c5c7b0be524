"""GET and POST /userinfo (OpenID Connect Core 5.3): claims about the user.

It accepts the access token of the user's sign-in or approval, for whichever API that token is: an
OpenID Connect client has only one access token and uses it here too.
"""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import User
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest
from oauth.errors import InsufficientScope, Unauthorized
from oauth.resource_servers.access import authenticate_call, challenged
from oauth.tokens.issuance import user_claims
from oauth.tokens.sender_constraint import adds_nonce
from oauth.tokens.token_verification import LiveToken


@adds_nonce
@protocol_endpoint("userinfo", "GET", "POST", cross_origin=True)
def userinfo(request: HttpRequest) -> HttpResponse:
    """Accepts the token in the Authorization header only, because URLs and bodies are logged (RFC
    9700 4.3.2).
    """
    if "access_token" in request.GET:
        raise InvalidRequest("send the access token in the Authorization header")
    live = authenticate_call(request, audience=None, now=timezone.now())
    user = find_user(live)
    if user is None:
        scheme = request.headers.get("Authorization", "").partition(" ")[0]
        raise challenged(Unauthorized("the token is not from a user's sign-in or approval"), scheme)
    scopes = live.claims.get("scope", "").split(" ")
    if live.grant is None or "openid" not in {*scopes} & {*live.grant.scopes}:
        error = InsufficientScope("the access token needs the scope openid")
        error.headers["WWW-Authenticate"] = 'Bearer error="insufficient_scope", scope="openid"'
        raise error
    return json_response({"sub": live.claims["sub"], **user_claims(user, scopes)})


def find_user(live: LiveToken) -> User | None:
    """The user of a token from a code, a refresh token or CIBA; None for every other token of this
    server.

    Such a token belongs to a grant from its user to its own agent, and that agent alone acts (RFC
    8693 4.1). An exchanged token has another agent or a longer chain of actors. A
    client_credentials token has no user.
    """
    grant, claims = live.grant, live.claims
    if grant is None or grant.user is None or claims["sub"] != grant.sub:
        return None
    client_id = grant.agent.client_id
    is_its_agents_own = claims["client_id"] == client_id and claims.get("act") == {"sub": client_id}
    return grant.user if is_its_agents_own else None
