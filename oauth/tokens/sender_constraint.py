"""The sender constraint: which key does the sender of this request prove to hold?

(RFC 9449, RFC 8705)

The rules are in dpop.py and key_binding.py. This module adds the request, the clock and the replay
store.
"""

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.encoding import escape_uri_path

from clients.models import Agent
from clients.mutual_tls import certificate_of
from clients.profiles import Constraint
from clients.replay import spend
from foundation import keyring
from foundation.errors import ProtocolError
from oauth.errors import InvalidDpopProof
from oauth.tokens import nonces
from oauth.tokens.dpop import ExpectedProof, check_proof
from oauth.tokens.key_binding import Binding, Demand, judge_binding

View = Callable[..., HttpResponse]


def find_binding(request: HttpRequest, agent: Agent, now: datetime) -> Binding:
    """The keys that the tokens of this token request are bound to.

    Raises a ProtocolError.

    A valid proof is spent when this function returns, whatever the request's outcome.
    """
    proved = prove(request, agent.client_id, now)
    demand = Demand(
        dpop=Constraint.DPOP in agent.constraints,
        mutual_tls=Constraint.MUTUAL_TLS in agent.constraints,
        something=bool(agent.demands.constraints),
    )
    bound = judge_binding(proved, demand)
    if isinstance(bound, ProtocolError):
        raise bound
    return bound


def prove(request: HttpRequest, client_id: str, now: datetime, *, access_token: str | None = None) -> Binding:
    """The keys that the sender proves to hold.

    Raises InvalidDpopProof or UseDpopNonce for an invalid proof.

    A request without a proof is not an error here: the caller refuses an unbound request if it
    requires a proof.
    """
    certificate = certificate_of(request)
    x5t = certificate.x5t if certificate else None
    header = request.headers.get("DPoP")
    if header is None:
        return Binding(x5t=x5t)
    expected = ExpectedProof(
        method=request.method or "",
        urls=[
            f"{base}{escape_uri_path(request.path_info)}" for base in (settings.ISSUER_URL, settings.MTLS_URL) if base
        ],
        is_fresh_nonce=lambda nonce: nonces.is_fresh(nonce, _nonce_keys(), now),
        needs_nonce=settings.DPOP_NONCE_REQUIRED,
        access_token=access_token,
    )
    proof = check_proof(header, expected, now)
    if isinstance(proof, ProtocolError):
        raise proof
    # The key is part of the identifier: two keys may use the same jti.
    if not spend(client_id, f"dpop:{proof.jkt}:{proof.jti}", proof.expires_at.timestamp()):
        raise InvalidDpopProof("the proof was used before")
    return Binding(proof.jkt, x5t)


def _nonce_keys() -> list[bytes]:
    return keyring.derive_keys("dpop nonce")


def adds_nonce(view: View) -> View:
    """Wraps an endpoint that accepts proofs: every response to a proof carries the next nonce (RFC
    9449 8.2).
    """

    @functools.wraps(view)
    def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if "DPoP" in request.headers:
            response["DPoP-Nonce"] = nonces.current_nonce(_nonce_keys(), timezone.now())
        return response

    return endpoint
