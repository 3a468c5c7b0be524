"""Whose call is this? For endpoints of ours that take our own access tokens: userinfo and /v1/leases.

RFC 6750 for bearer tokens, RFC 9449 7 for DPoP-bound ones. One function; it cannot be called without the
sender constraint being checked.
"""

from datetime import datetime
from typing import ClassVar

from django.http import HttpRequest

from clients import keys
from foundation.errors import ProtocolError
from oauth.binding import JKT, Binding
from oauth.errors import InvalidDpopProof, UseDpopNonce
from oauth.sender_constraint import prove
from oauth.verifying import LiveToken, find_live_token


class Unauthorized(ProtocolError):
    """A protected call without what it needs; the challenge says what (RFC 6750 3, RFC 9449 7.1)."""

    status = 401
    code: ClassVar[str] = "invalid_token"
    default_description = "the access token does not work here"


class NoToken(Unauthorized):
    """RFC 6750 3.1: no error code for one who did not try."""

    default_description = "an access token is needed in the Authorization header"


class BadProof(Unauthorized):
    code = "invalid_dpop_proof"


class NonceNeeded(Unauthorized):
    code = "use_dpop_nonce"


def authenticate_call(request: HttpRequest, *, audience: str | None, now: datetime) -> LiveToken:
    """The live token for `audience` that this request carries, whose every bound key its sender proved.

    Raises Unauthorized. The audience is the endpoint's own resource identifier; None where the caller judges by
    the token's other claims whether it works there. Wrap the view in `sender_constraint.tells_nonce`.
    """
    scheme, _, unverified_token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "dpop") or not unverified_token:
        raise challenged(NoToken(), scheme)
    live = find_live_token(unverified_token.strip(), now, audience=audience)
    if live is None:
        raise challenged(Unauthorized(), scheme)
    cnf = live.claims.get("cnf", {})
    if (scheme.lower() == "dpop") != (JKT in cnf):
        # RFC 9449 7.2: a bound token sent as a bearer token is a stolen one, or might as well be.
        raise challenged(Unauthorized("the token is not of this Authorization scheme"), scheme)
    if not _prove(request, live, unverified_token.strip(), now, scheme).proves(cnf):
        raise challenged(Unauthorized("the token is bound to another key"), scheme)
    return live


def _prove(request: HttpRequest, live: LiveToken, access_token: str, now: datetime, scheme: str) -> Binding:
    if scheme.lower() == "dpop" and "DPoP" not in request.headers:
        raise challenged(BadProof("the DPoP header is missing"), scheme)
    try:
        return prove(request, live.claims["client_id"], now, access_token=access_token)
    except InvalidDpopProof as error:
        raise challenged(BadProof(error.description, detail=error.detail), scheme) from error
    except UseDpopNonce as error:
        raise challenged(NonceNeeded(error.description), scheme) from error


def challenged(error: Unauthorized, scheme: str) -> Unauthorized:
    """With WWW-Authenticate: the scheme that was tried, or both where none was."""
    algorithms = f'algs="{" ".join(keys.SIGNING_ALGORITHMS)}"'
    if isinstance(error, NoToken):
        error.headers["WWW-Authenticate"] = f'Bearer realm="countersign", DPoP {algorithms}'
    else:
        told = f'error="{error.code}", error_description="{error.description}"'
        error.headers["WWW-Authenticate"] = (
            f"DPoP {told}, {algorithms}" if scheme.lower() == "dpop" else f"Bearer {told}"
        )
    return error
