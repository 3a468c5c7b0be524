"""login_hint_token: an outside issuer that this server trusts names the user (CIBA Core 7.1).

It is a JWT signed by a hint issuer that an administrator has listed, with `iss`, `aud` (this
issuer), `exp` and `sub_id` (RFC 9493). It names a user and proves nothing else: the usual rules
decide whether the agent may ask that user.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from ciba.errors import ExpiredLoginHintToken
from ciba.models import HintIssuer, HintIssuerKeys
from ciba.parameters import MAX_HINT
from clients.replay import CLOCK_SKEW
from foundation.errors import InvalidRequest
from foundation.handles import from_b64url
from foundation.jws import BadJws, UnverifiedJws, find_key, read_jws, verify_jws
from foundation.outbound import Lane, Trust
from foundation.remote_jwks import PublishedKeySet

LANE = Lane("hint issuers' keys", Trust.CONFIGURED, per_host=2, in_total=3)
NOT_TRUSTED = "this server does not trust the issuer of the login_hint_token"


def subject_of(unverified_token: str, now: datetime) -> Any:
    """The subject identifier that a trusted issuer has signed.

    Raises InvalidRequest or ExpiredLoginHintToken.
    """
    try:
        unverified = read_jws(unverified_token, max_length=MAX_HINT)
    except BadJws as error:
        raise InvalidRequest(NOT_TRUSTED, detail=str(error)) from error
    issuer = HintIssuer.objects.filter(issuer=str(unverified.claims.get("iss", "")), is_active=True).first()
    if issuer is None:
        raise InvalidRequest(NOT_TRUSTED)
    claims = _verified(unverified, issuer, now)
    if problem := claims_problem(claims, issuer.issuer, now):
        raise InvalidRequest(f"login_hint_token {problem}")
    if claims["exp"] <= (now - CLOCK_SKEW).timestamp():
        raise ExpiredLoginHintToken()
    return claims["sub_id"]


def claims_problem(claims: Mapping[str, Any], issuer: str, now: datetime) -> str | None:
    """Why a verified token is not a hint for this server, or None.

    The caller checks its expiry afterwards.
    """
    audience = claims.get("aud") if isinstance(claims.get("aud"), list) else [claims.get("aud")]
    if claims.get("iss") != issuer or settings.ISSUER_URL not in (audience or []):
        return "is for another server: aud is not this issuer"
    times = [claims.get(name, 0) for name in ("nbf", "iat")]
    if type(claims.get("exp")) not in (int, float) or any(type(one) not in (int, float) for one in times):
        return "has no exp, or a time that is not a number"
    if max(times) > (now + CLOCK_SKEW).timestamp():
        return "is not yet valid"
    if "sub_id" not in claims:
        return "has no sub_id, so it names no user"
    return None


def _verified(unverified: UnverifiedJws, issuer: HintIssuer, now: datetime) -> dict[str, Any]:
    try:
        key = find_key(_keys(issuer, unverified.kid, now), unverified, issuer.algorithms)
        return verify_jws(unverified, key, issuer.algorithms)
    except BadJws as error:
        raise InvalidRequest(NOT_TRUSTED, detail=f"of {issuer.issuer}: {error}") from error


def _keys(issuer: HintIssuer, kid: object, now: datetime) -> list[Key]:
    """The issuer's keys: those that it publishes, or those that an administrator entered."""
    jwks: Any = _published(issuer).read(lambda jwks: _has_key(jwks, kid), now) if issuer.jwks_uri else issuer.jwks
    return list(KeySet.import_key_set(jwks).keys) if jwks else []


def _published(issuer: HintIssuer) -> PublishedKeySet:
    return PublishedKeySet(HintIssuerKeys, {"issuer": issuer}, issuer.jwks_uri, LANE, accept=_accept)


def _has_key(jwks: dict[str, Any], kid: object) -> bool:
    return kid in {key.get("kid") for key in jwks["keys"]}


def _accept(unverified_jwks: Any) -> dict[str, Any]:
    """Raises ValueError if this is no key set of a hint issuer."""
    if problem := problem_with_keys(unverified_jwks):
        raise ValueError(problem)
    return dict(unverified_jwks)


def problem_with_keys(jwks: Any) -> str | None:
    """Why this JWK Set is not acceptable for a hint issuer, or None."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= 50 or not all(isinstance(key, dict) for key in keys):
        return 'a JWK Set must have 1 to 50 keys: {"keys": [...]}'
    if any({"d", "k", "p", "q"} & key.keys() for key in keys):
        return "a key is private or symmetric"
    try:
        KeySet.import_key_set({"keys": keys})
        weak = [
            key for key in keys if key.get("kty") == "RSA" and int.from_bytes(from_b64url(key["n"])).bit_length() < 2048
        ]
    except (JoseError, ValueError, TypeError, KeyError):
        return "a key is malformed"
    return "an RSA key has fewer than 2048 bits" if weak else None
