"""POST /oauth/introspect (RFC 7662), for resources only: each learns of tokens for itself, and of no other."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest
from foundation.forms import parse_form
from oauth.binding import token_type
from oauth.resources import authenticate_resource
from oauth.verifying import find_live_token

# Everything of the token but what only the token's holder and we need.
CLAIMS = (
    "iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope", "act", "authorization_details",
    "operation_digest", "grant_id", "cnf",
)  # fmt: skip


@protocol_endpoint("introspect", "POST")
def introspect(request: HttpRequest) -> HttpResponse:
    parameters = parse_form(request)
    resource = authenticate_resource(request)
    if "token" not in parameters:
        raise InvalidRequest("token is missing")
    live = find_live_token(parameters["token"], resource.identifier, timezone.now())
    if live is None:
        return json_response({"active": False})  # RFC 7662 2.2: and nothing about why
    # RFC 9449 6.2: it is the resource server that checks the proof, against this `cnf`.
    answer: dict[str, Any] = {"active": True, "token_type": token_type(live.claims.get("cnf", {}))}
    answer |= {name: live.claims[name] for name in CLAIMS if name in live.claims}
    if live.grant and live.grant.uses_left is not None:
        answer["uses_left"] = live.grant.uses_left
    return json_response(answer)
