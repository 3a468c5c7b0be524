"""Verifies the access token of a call to our own endpoints: /userinfo and /v1/leases.

RFC 6750 for bearer tokens, RFC 9449 7 for DPoP-bound ones. One function does both, so that no endpoint
can omit the sender constraint.
"""

from datetime import datetime

from django.http import HttpRequest

from clients import keys
from foundation.errors import ProtocolError
from oauth.errors import BadProof, InvalidDpopProof, NonceNeeded, NoToken, Unauthorized, UseDpopNonce
from oauth.tokens.key_binding import JKT, Binding
from oauth.tokens.sender_constraint import prove
from oauth.tokens.token_verification import LiveToken, find_live_token


def authenticate_call(request: HttpRequest, *, audience: str | None, now: datetime) -> LiveToken:
    """The live token for `audience` that this request carries, whose every bound key its sender proved.

    Raises NoToken, Unauthorized, BadProof or NonceNeeded, each with a challenge. The audience is the
    endpoint's own resource identifier; None where the caller judges by the token's other claims whether it works
    there. Wrap the view in `sender_constraint.adds_nonce`.
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
        raise challenged(Unauthorized("the token needs the other Authorization scheme"), scheme)
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


def challenged(error: ProtocolError, scheme: str) -> ProtocolError:
    """With WWW-Authenticate: the scheme that was tried, or both where none was."""
    algorithms = f'algs="{" ".join(keys.SIGNING_ALGORITHMS)}"'
    if isinstance(error, NoToken):
        error.headers["WWW-Authenticate"] = f'Bearer realm="countersign", DPoP {algorithms}'
    else:
        parameters = f'error="{error.code}", error_description="{error.description}"'
        error.headers["WWW-Authenticate"] = (
            f"DPoP {parameters}, {algorithms}" if scheme.lower() == "dpop" else f"Bearer {parameters}"
        )
    return error
