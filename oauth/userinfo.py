"""GET and POST /userinfo (OpenID Connect Core 5.3): who the person is, for a token that is for this endpoint."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest
from oauth.access import authenticate_call
from oauth.errors import InsufficientScope
from oauth.minting import person_claims
from oauth.sender_constraint import tells_nonce


@tells_nonce
@protocol_endpoint("userinfo", "GET", "POST", cross_origin=True)
def userinfo(request: HttpRequest) -> HttpResponse:
    """The token comes in the Authorization header alone: addresses and bodies are logged (RFC 9700 4.3.2)."""
    if "access_token" in request.GET:
        raise InvalidRequest("the access token goes into the Authorization header")
    live = authenticate_call(request, audience=f"{settings.ISSUER_URL}/userinfo", now=timezone.now())
    scopes = live.claims.get("scope", "").split(" ")
    if "openid" not in scopes or live.grant is None or live.grant.user is None:
        error = InsufficientScope("openid is needed")
        error.headers["WWW-Authenticate"] = 'Bearer error="insufficient_scope", scope="openid"'
        raise error
    return json_response({"sub": live.claims["sub"], **person_claims(live.grant.user, scopes)})
