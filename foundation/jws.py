"""Signed JSON from outside (RFC 7515, RFC 7519). Only this module reads and verifies it. Pure.

Client assertions, request objects, login_hint_tokens, DPoP proofs, ID tokens and access tokens all
use it. Every problem raises BadJws, so that each endpoint converts one exception to its own
protocol error.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.handles import from_b64url

MAX_HEADER = 4096  # characters: joserfc's default of 512 is too small for a header with an RSA key


class BadJws(Exception):
    """The JWS is malformed or not acceptable. The text is ours and repeats no input of the sender."""


@dataclass(frozen=True)
class UnverifiedJws:
    """A parsed JWS. Its content is unverified until `verify_jws` returns."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @property
    def kid(self) -> str | None:
        return self.header.get("kid")


class _Registry(jws.JWSRegistry):
    max_header_length = MAX_HEADER


def read_jws(unverified_text: str, *, max_length: int) -> UnverifiedJws:
    """Parses a compact JWS of at most `max_length` characters, whose header and payload are JSON objects.

    Raises BadJws.
    """
    if len(unverified_text) > max_length:
        raise BadJws(f"it is longer than {max_length} characters")
    if unverified_text.count(".") != 2:
        raise BadJws("it is not a JWS of three parts")
    header, claims = (_read_part(part) for part in unverified_text.split(".")[:2])
    if not isinstance(header.get("alg"), str):
        raise BadJws("alg is missing or not a string")
    if any(not isinstance(header.get(name, ""), str) for name in ("kid", "typ")):
        raise BadJws("kid or typ is not a string")
    if "crit" in header:
        # RFC 7515 4.1.11: this server supports no extension, and an empty list is not allowed
        # either.
        raise BadJws("crit names an extension that this server does not know")
    return UnverifiedJws(unverified_text, header, claims)


def _read_part(part: str) -> dict[str, Any]:
    try:
        value = parse_json(from_b64url(part), "the part")
    except (ValueError, InvalidRequest) as error:
        raise BadJws("a part is not base64url of JSON") from error
    if not isinstance(value, dict):
        raise BadJws("a part is not a JSON object")
    return value


def find_key(keys: Iterable[Key], unverified: UnverifiedJws, algorithms: Collection[str]) -> Key:
    """The key that `kid` names or, without a `kid`, the only key that fits the algorithm. Raises BadJws."""
    algorithm = unverified.header["alg"]
    if algorithm not in algorithms:
        raise BadJws("this server does not accept the alg")
    named = [key for key in keys if unverified.kid is None or key.kid == unverified.kid]
    fitting = [key for key in named if _fits(key, algorithm)]
    if len(fitting) != 1:
        raise BadJws("no key matches it, or more than one")
    return fitting[0]


def _fits(key: Key, algorithm: str) -> bool:
    """Compares the key's type, curve, `use` and `alg` with the algorithm."""
    try:
        jws.JWSRegistry.algorithms[algorithm].check_key(key)
    except JoseError:
        return False
    return True


def verify_jws(unverified: UnverifiedJws, key: Key, algorithms: Collection[str]) -> dict[str, Any]:
    """Verifies the signature with this key and one of these algorithms, and returns the claims. Raises BadJws.

    Unknown header members are ignored (RFC 7515 4).
    """
    registry = _Registry(algorithms=list(algorithms), strict_check_header=False)
    try:
        jws.deserialize_compact(unverified.text, key, registry=registry)
    except Exception as error:  # the libraries raise many classes for hostile input; each of them is a refusal
        raise BadJws("its signature is not by the required key") from error
    return unverified.claims
