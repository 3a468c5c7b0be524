"""Signed requests (CIBA Core 7.1.1; the JWT is that of RFC 9101): all parameters under one
signature.

They are evidence of the agent's request. Signatures are asymmetric only. Request objects are never
encrypted and never fetched from a URL.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from clients.authentication import times_problem, verified_claims
from clients.models import Agent
from clients.replay import spend
from foundation.errors import InvalidRequest
from foundation.handles import b64url, digest
from foundation.jws import BadJws, read_jws

MAX_REQUEST = 65_536  # characters
MAX_LIFETIME = timedelta(hours=1)  # of exp after nbf (FAPI-CIBA 5.2.2)
_REQUIRED = ("aud", "iss", "exp", "iat", "nbf", "jti")
_FORBIDDEN_INSIDE = frozenset({"request", "request_uri", "client_secret", "client_assertion"})


@dataclass(frozen=True)
class OpenedRequestObject:
    """The parameters as the agent sent them, and the digest of their JWT (empty: unsigned)."""

    parameters: Mapping[str, str]
    digest: str = ""


def open_request(
    agent: Agent, parameters: Mapping[str, str], names: Collection[str], now: datetime
) -> OpenedRequestObject:
    """Unpacks `request`, if present.

    `names` are the parameters that must be inside it.

    The `jti` of a verified object is spent when this function returns. Raises InvalidRequest.
    """
    if "request" not in parameters:
        if agent.must_sign_requests:
            raise InvalidRequest("this agent must sign its requests: send `request`")
        return OpenedRequestObject(parameters)
    if outside := sorted(set(names) & parameters.keys()):
        # Otherwise anyone who forwards the request could add to the signed parameters.
        raise InvalidRequest(
            f"all parameters must be inside the signed request, but these are outside: {', '.join(outside)}"
        )
    claims = _verified(agent, parameters["request"], now)
    inside = {name: _as_text(name, claims[name]) for name in names if name in claims}
    return OpenedRequestObject(
        {name: value for name, value in inside.items() if value}, b64url(digest(parameters["request"]))
    )


def _verified(agent: Agent, unverified_request: str, now: datetime) -> dict[str, Any]:
    if len(unverified_request) > MAX_REQUEST:
        raise InvalidRequest("the request object is too long")
    if unverified_request.count(".") == 4:
        raise InvalidRequest("this server does not accept encrypted request objects")
    try:
        unverified = read_jws(unverified_request, max_length=MAX_REQUEST)
        claims = verified_claims(unverified, agent, now, agent.request_signing_algorithms)
    except BadJws as error:
        allowed = ", ".join(agent.request_signing_algorithms)
        raise InvalidRequest(f"the request object has no signature by this agent's key with {allowed}") from error
    if problem := claims_problem(claims, agent, now):
        raise InvalidRequest(f"the request object {problem}")
    # A separate namespace from client assertions: a library that numbers both with one counter is
    # not a replay.
    if not spend(agent.client_id, f"request {claims['jti']}", claims["exp"]):
        raise InvalidRequest("the request object was used before")
    return claims


def claims_problem(claims: Mapping[str, Any], agent: Agent, now: datetime) -> str | None:
    """Why a verified request object is not acceptable now, or None."""
    if missing := [name for name in _REQUIRED if claims.get(name) is None]:
        return f"has no {', '.join(missing)}"
    if claims["iss"] != agent.client_id:
        return "has another issuer: iss is not the client_id"
    if claims.get("sub") == agent.client_id:
        # RFC 9101 10.8: such an object could be presented as a client assertion.
        return "has the client_id as its sub"
    if inside := sorted(_FORBIDDEN_INSIDE & claims.keys()):
        return f"must not hold {', '.join(inside)}"
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if settings.ISSUER_URL not in audience:
        return "is for another server: aud is not this issuer"
    if not isinstance(claims["jti"], str) or not 1 <= len(claims["jti"]) <= 255:
        return "has no jti of 1 to 255 characters"
    if problem := times_problem(dict(claims), now.timestamp()):
        return f"is not valid now: {problem}"
    if claims["exp"] - claims["nbf"] > MAX_LIFETIME.total_seconds():
        return "has a lifetime of more than one hour from nbf to exp"
    return None


def _as_text(name: str, value: Any) -> str:
    """The value as a form would carry it. requested_expiry may be a number (CIBA Core 7.1.1);
    authorization_details are JSON (RFC 9396 5).
    """
    if isinstance(value, str):
        return value
    if name == "requested_expiry" and type(value) in (int, float) and value == int(value):
        return str(int(value))
    if name == "authorization_details" and isinstance(value, list):
        return json.dumps(value)
    raise InvalidRequest(f"{name} in the request object has the wrong type")
