"""Validates DPoP proofs (RFC 9449 4.3). Pure: no Django, clock or network."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from joserfc.jwk import Key

from clients import keys
from foundation.errors import ProtocolError
from foundation.handles import b64url, digest
from foundation.jws import BadJws, read_jws, verify_jws
from oauth.errors import InvalidDpopProof, UseDpopNonce

TYP = "dpop+jwt"
MAX_PROOF = 8192  # characters
PROOF_LIFETIME = timedelta(seconds=60)  # after `iat`
CLOCK_SKEW = timedelta(seconds=30)


_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


@dataclass(frozen=True)
class ExpectedProof:
    """The request that the proof must have been made for."""

    method: str
    urls: Collection[str]
    is_fresh_nonce: Callable[[str], bool]
    needs_nonce: bool
    access_token: str | None = None  # if the request carries one


@dataclass(frozen=True)
class DpopProof:
    """A verified proof. `jti` is not spent yet."""

    jkt: str
    jti: str
    expires_at: datetime


def check_proof(unverified_proof: str, expected: ExpectedProof, now: datetime) -> DpopProof | ProtocolError:
    """The verified proof or the refusal.

    The signature is checked first: nothing in an unverified proof is trusted.
    """
    try:
        key, claims = _verify(unverified_proof)
    except BadJws as error:
        return InvalidDpopProof(f"the proof is not a JWT that its own public key signed: {error}")
    if refusal := _judge_claims(claims, expected, now):
        return refusal
    made_at = datetime.fromtimestamp(claims["iat"], UTC)
    return DpopProof(key.thumbprint(), claims["jti"], made_at + PROOF_LIFETIME)


def _verify(unverified_proof: str) -> tuple[Key, dict[str, Any]]:
    """RFC 9449 4.3, points 2 to 7.

    Other header members (jku, x5u, kid) are ignored. Raises BadJws.
    """
    unverified = read_jws(unverified_proof, max_length=MAX_PROOF)
    if unverified.header.get("typ") != TYP:
        raise BadJws(f"typ is not {TYP}")
    jwks = {"keys": [unverified.header.get("jwk")]}
    if problem := keys.problem_with(jwks, keys.SIGNING_ALGORITHMS):
        raise BadJws(f"jwk: {problem}")
    key = keys.load(jwks).keys[0]
    return key, verify_jws(unverified, key, keys.SIGNING_ALGORITHMS)


def _judge_claims(claims: dict[str, Any], expected: ExpectedProof, now: datetime) -> ProtocolError | None:
    """RFC 9449 4.3, points 8 to 12, in their order.

    Only the nonce comes last: the server reveals one only to an otherwise valid proof.
    """
    jti, nonce = claims.get("jti"), claims.get("nonce")
    iat: Any = claims.get("iat")
    if not isinstance(jti, str) or not 1 <= len(jti) <= 255:
        return InvalidDpopProof("jti is missing or not a string of at most 255 characters")
    if claims.get("htm") != expected.method:
        return InvalidDpopProof("htm is not the method of this request")
    url = normalise(claims.get("htu"))
    if url is None or url not in {normalise(one) for one in expected.urls}:
        return InvalidDpopProof("htu is not the address of this endpoint")
    if type(iat) not in (int, float) or not 0 < iat < 2**40:
        return InvalidDpopProof("iat is missing or not a time")
    if not now - PROOF_LIFETIME - CLOCK_SKEW <= datetime.fromtimestamp(iat, UTC) <= now + CLOCK_SKEW:
        return InvalidDpopProof("iat is too old or in the future")
    if expected.access_token is not None and claims.get("ath") != access_token_hash(expected.access_token):
        return InvalidDpopProof("ath is not the hash of this access token")
    if (nonce is not None or expected.needs_nonce) and not (isinstance(nonce, str) and expected.is_fresh_nonce(nonce)):
        return UseDpopNonce()
    return None


def access_token_hash(access_token: str) -> str:
    """`ath`: SHA-256 of the token, base64url (RFC 9449 4.2)."""
    return b64url(digest(access_token))


def normalise(url: Any) -> str | None:
    """The same text for equivalent URLs (RFC 3986 6.2.2, 6.2.3), without query and fragment; None
    if `url` is not a URL.

    Scheme and host in lower case, no default port, dot segments resolved, escapes of plain
    characters undone.
    """
    if not isinstance(url, str) or len(url) > 2048 or not re.fullmatch(r"[\x21-\x7e]+", url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{_normalise_path(parts.path)}"


def _normalise_path(path: str) -> str:
    def decode(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if _UNRESERVED.fullmatch(character) else escape[0].upper()

    stored: list[str] = []
    segments = re.sub(r"%([0-9A-Fa-f]{2})", decode, path).split("/")[1:]
    for segment in segments:
        if segment == "..":
            stored = stored[:-1]
        elif segment != ".":
            stored.append(segment)
    if segments and segments[-1] in (".", ".."):
        stored.append("")
    return "/" + "/".join(stored)
