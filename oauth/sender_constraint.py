"""The phase "sender constraint": which key does the sender of this request prove to hold? (RFC 9449)

dpop.py and binding.py are its rules; here are the request, the clock and the replay store.
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
from clients.replay import spend
from foundation import keyring
from foundation.errors import ProtocolError
from oauth import nonces
from oauth.binding import Binding, Demand, judge_binding
from oauth.dpop import Expected, check_proof
from oauth.errors import InvalidDpopProof

View = Callable[..., HttpResponse]


def find_binding(request: HttpRequest, agent: Agent, now: datetime) -> Binding:
    """What the tokens of this token request are bound to. Raises a ProtocolError.

    A good proof is spent when this returns, whatever becomes of the request.
    """
    proved = prove(request, agent.client_id, now)
    bound = judge_binding(proved, Demand(dpop=agent.dpop_bound_access_tokens))
    if isinstance(bound, ProtocolError):
        raise bound
    return bound


def prove(request: HttpRequest, client_id: str, now: datetime, *, access_token: str | None = None) -> Binding:
    """The keys that the sender proves to hold. Raises InvalidDpopProof or UseDpopNonce for a proof that is not good.

    No proof is no error here: whoever needs one refuses what it finds to be unbound.
    """
    header = request.headers.get("DPoP")
    if header is None:
        return Binding()
    expected = Expected(
        method=request.method or "",
        urls=[f"{settings.ISSUER_URL}{escape_uri_path(request.path_info)}"],
        is_fresh_nonce=lambda nonce: nonces.is_fresh(nonce, _nonce_keys(), now),
        needs_nonce=settings.DPOP_NONCE_REQUIRED,
        access_token=access_token,
    )
    proof = check_proof(header, expected, now)
    if isinstance(proof, ProtocolError):
        raise proof
    # Per key: two keys may use the same jti.
    if not spend(client_id, f"dpop:{proof.jkt}:{proof.jti}", proof.expires_at.timestamp()):
        raise InvalidDpopProof("the proof was used before")
    return Binding(jkt=proof.jkt)


def _nonce_keys() -> list[bytes]:
    return keyring.derive_keys("dpop nonce")


def tells_nonce(view: View) -> View:
    """Wraps an endpoint that takes proofs: every answer to one carries the nonce for the next (RFC 9449 8.2)."""

    @functools.wraps(view)
    def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if "DPoP" in request.headers:
            response["DPoP-Nonce"] = nonces.current_nonce(_nonce_keys(), timezone.now())
        return response

    return endpoint
