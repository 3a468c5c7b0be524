"""Agents' public keys: which JWK Sets are accepted (RFC 7517), and reading one."""

import warnings
from base64 import b64decode
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from foundation.certificates import parse_der
from foundation.handles import from_b64url

# RFC 9864 renames EdDSA to Ed25519. Agents' libraries still say EdDSA, and we accept it for Ed25519
# keys only.
warnings.filterwarnings("ignore", message="EdDSA is deprecated via RFC 9864")

# The agents' signing algorithms: an allow-list, independent of the token's header. The first tuple
# is for DPoP proofs and for the FAPI profiles. Large public clients sign their assertions with
# RS256.
SIGNING_ALGORITHMS = ("ES256", "PS256", "EdDSA")
ASSERTION_ALGORITHMS = (*SIGNING_ALGORITHMS, "RS256")
MAX_KEYS = 10
MAX_LISTED = 50  # in a published set, including ignored keys
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_KINDS = {"EC": ("ES256",), "RSA": ("PS256", "RS256"), "OKP": ("EdDSA",)}
MIN_RSA_BITS = 2048


def problem_with(jwks: Any, algorithms: Collection[str] = ASSERTION_ALGORITHMS) -> str | None:
    """Why this JWK Set cannot belong to an agent that signs with `algorithms`, or None. Never repeats key material."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        return f'a JWK Set must have 1 to {MAX_KEYS} keys: {{"keys": [...]}}'
    for key in keys:
        if problem := _problem_with_key(key, algorithms):
            return problem
    if any(_are_confusable(*pair) for pair in combinations(keys, 2)):
        return "each key of the same algorithm needs its own `kid`"
    return None


def algorithms_of(key: Mapping[str, Any]) -> tuple[str, ...]:
    """The algorithms of this JWK: its `alg`, or all that fit its key type."""
    kind = key.get("kty")
    fitting = _KINDS.get(kind, ()) if isinstance(kind, str) else ()
    named = _plain_name(key.get("alg"))
    return fitting if named is None else tuple(name for name in fitting if name == named)


def signing_algorithms(jwks: Mapping[str, Any]) -> frozenset[str]:
    """The algorithms that one of these keys can sign with."""
    return frozenset(name for key in jwks["keys"] for name in algorithms_of(key))


def _plain_name(alg: Any) -> Any:
    return "EdDSA" if alg == "Ed25519" else alg  # RFC 9864's name for EdDSA with Ed25519


def _are_confusable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a JWS may fit both keys, so that it does not tell which one must verify it."""
    kids = {one.get("kid"), other.get("kid")}
    return (len(kids) == 1 or None in kids) and not set(algorithms_of(one)).isdisjoint(algorithms_of(other))


def _problem_with_key(key: Any, algorithms: Collection[str] = ASSERTION_ALGORITHMS) -> str | None:
    if not isinstance(key, dict):
        return "a key is not an object"
    if _PRIVATE_MEMBERS & key.keys():
        return "the key is private or symmetric: keep it secret, and send the public key"
    kind = key.get("kty")
    if not isinstance(kind, str) or kind not in _KINDS:
        return "keys must be EC (P-256), RSA (2048 bits or more) or OKP (Ed25519)"
    if kind in _CURVES and key.get("crv") != _CURVES[kind]:
        return f"an {kind} key must be on {_CURVES[kind]}"
    operations = key.get("key_ops", ["verify"])
    if key.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return 'a key is not for signing ("use" or "key_ops")'
    if set(algorithms_of(key)).isdisjoint(algorithms):
        return f"an {kind} key signs {' or '.join(name for name in _KINDS[kind] if name in algorithms)} here"
    if not isinstance(key.get("kid", ""), str) or len(key.get("kid", "")) > 200:
        return "a `kid` must be a string of at most 200 characters"
    return _problem_with_members(key)


def _problem_with_members(key: Mapping[str, Any]) -> str | None:
    """The problem with the key itself: its numbers and its certificate."""
    try:
        if key["kty"] == "RSA" and int.from_bytes(from_b64url(key["n"])).bit_length() < MIN_RSA_BITS:
            return f"an RSA key has fewer than {MIN_RSA_BITS} bits"
        if "x5c" in key and (problem := _problem_with_x5c(key)):
            return problem
        load({"keys": [key]})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):  # a member has an invalid type
        return "a key is malformed"
    return None


def holds_private_key(unverified_jwks: Any) -> bool:
    listed = unverified_jwks.get("keys") if isinstance(unverified_jwks, dict) else None
    listed = listed if isinstance(listed, list) else []
    return any(isinstance(key, dict) and bool(_PRIVATE_MEMBERS & key.keys()) for key in listed)


def usable(unverified_jwks: Any) -> dict[str, Any]:
    """The accepted keys of an agent's own key set. Other keys may be for other servers (RFC 7517 5).

    Raises ValueError, also for a set that contains a private key.
    """
    listed = unverified_jwks.get("keys") if isinstance(unverified_jwks, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_LISTED:
        raise ValueError(f'it is not a JWK Set of at most {MAX_LISTED} keys: {{"keys": [...]}}')
    if holds_private_key(unverified_jwks):
        raise ValueError("it has a private or symmetric key")
    jwks = {"keys": [key for key in listed if _problem_with_key(key) is None]}
    if listed and not jwks["keys"]:
        raise ValueError(_problem_with_key(listed[0]))
    if problem := problem_with(jwks):
        raise ValueError(f"it has no key that this server accepts: {problem}")
    return jwks


def load(jwks: dict[str, Any]) -> KeySet:
    """Loads a key set that `problem_with` has accepted."""
    named = [{**key, "alg": _plain_name(key["alg"])} if "alg" in key else key for key in jwks["keys"]]
    return KeySet.import_key_set({"keys": named})


def thumbprints(jwks: dict[str, Any] | None) -> frozenset[str]:
    """RFC 7638 thumbprints, which identify keys independently of their `kid`."""
    return frozenset(key.thumbprint() for key in load(jwks).keys) if jwks else frozenset()


def registered_certificates(jwks: Any) -> list[bytes]:
    """The DER of each key's own certificate."""
    found = [key["x5c"][0] for key in (jwks or {}).get("keys", []) if key.get("x5c")]
    return [b64decode(one) for one in found]


def _problem_with_x5c(key: Mapping[str, Any]) -> str | None:
    """Why the certificates of a public JWK cannot be stored (RFC 7517 4.7), or None."""
    chain = key.get("x5c")
    if not isinstance(chain, list) or not 1 <= len(chain) <= 5 or not all(isinstance(one, str) for one in chain):
        return "x5c must be a list of 1 to 5 certificates in base64 DER"
    try:
        certificate = parse_der(b64decode(chain[0], validate=True))
        registered_key = cast(ECKey | RSAKey | OKPKey, load({"keys": [dict(key)]}).keys[0]).as_der(private=False)
    except (ValueError, JoseError):
        return "the certificate in x5c is malformed"
    certified_key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return None if registered_key == certified_key else "the certificate in x5c has another key"
