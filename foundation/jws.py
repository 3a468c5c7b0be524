"""Signed JSON from outside (RFC 7515, RFC 7519): the one place that reads and verifies it. Pure.

Client assertions, request objects, login_hint_tokens, DPoP proofs, ID tokens and access tokens all pass here. Whatever
is wrong with one is a BadJws, so that each endpoint has one exception to turn into its own protocol error.
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

MAX_HEADER = 4096  # characters: joserfc's 512 are too few for a header with an RSA key


class BadJws(Exception):
    """It is no JWS that counts here. The text is ours: it repeats nothing that the sender wrote."""


@dataclass(frozen=True)
class UnverifiedJws:
    """A JWS that was read. Nothing in it is true until `verify_jws` returns."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]

    @property
    def kid(self) -> str | None:
        return self.header.get("kid")


class _Registry(jws.JWSRegistry):
    max_header_length = MAX_HEADER


def read_jws(unverified_text: str, *, most: int) -> UnverifiedJws:
    """A compact JWS of at most `most` characters whose header and payload are JSON objects. Raises BadJws."""
    if len(unverified_text) > most:
        raise BadJws(f"it is longer than {most} characters")
    if unverified_text.count(".") != 2:
        raise BadJws("it is not a JWS of three parts")
    header, claims = (_read_part(part) for part in unverified_text.split(".")[:2])
    if not isinstance(header.get("alg"), str):
        raise BadJws("alg is missing or not a text")
    if any(not isinstance(header.get(name, ""), str) for name in ("kid", "typ")):
        raise BadJws("kid or typ is not a text")
    if "crit" in header:
        # RFC 7515 4.1.11: this server knows no extension, and an empty list is not allowed either.
        raise BadJws("crit names what this server does not know")
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
    """The key that `kid` names, or without a `kid` the only key that fits the algorithm. Raises BadJws."""
    algorithm = unverified.header["alg"]
    if algorithm not in algorithms:
        raise BadJws("alg is not one that is taken here")
    named = [key for key in keys if unverified.kid is None or key.kid == unverified.kid]
    fitting = [key for key in named if _fits(key, algorithm)]
    if len(fitting) != 1:
        raise BadJws("no key fits it, or more than one")
    return fitting[0]


def _fits(key: Key, algorithm: str) -> bool:
    """By its type, curve, `use` and `alg`."""
    try:
        jws.JWSRegistry.algorithms[algorithm].check_key(key)
    except JoseError:
        return False
    return True


def verify_jws(unverified: UnverifiedJws, key: Key, algorithms: Collection[str]) -> dict[str, Any]:
    """The claims, which this key signed with one of these algorithms. Raises BadJws.

    Header members that we do not know are ignored (RFC 7515 4).
    """
    registry = _Registry(algorithms=list(algorithms), strict_check_header=False)
    try:
        jws.deserialize_compact(unverified.text, key, registry=registry)
    except Exception as error:  # the libraries raise many kinds for what a stranger wrote; each is a refusal
        raise BadJws("its signature is not by the key that it needs") from error
    return unverified.claims
