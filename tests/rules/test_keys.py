"""Which JWK Sets we accept from agents."""

from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey

from clients.keys import SIGNING_ALGORITHMS, load, problem_with
from foundation.handles import b64url
from foundation.jws import find_key, read_jws, verify_jws
from tests.support.keys import new_key, sign_anything


def public(algorithm: str = "ES256", **more: Any) -> dict[str, Any]:
    key = new_key(algorithm)
    return {**key.as_dict(private=False), "kid": key.kid, **more}


def without_id(algorithm: str = "ES256", **more: Any) -> dict[str, Any]:
    return {name: value for name, value in public(algorithm, **more).items() if name != "kid"}


@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param({"keys": [public()]}, id="one P-256 key"),
        pytest.param({"keys": [public("PS256")]}, id="one RSA key of 2048 bits"),
        pytest.param({"keys": [public("EdDSA")]}, id="one Ed25519 key"),
        pytest.param({"keys": [public(), public("EdDSA")]}, id="two keys with ids"),
        pytest.param({"keys": [public(use="sig", alg="ES256")]}, id="a key that says what it is for"),
        pytest.param({"keys": [public("PS256", alg="RS256")]}, id="a key for RS256"),
        pytest.param({"keys": [public("EdDSA", alg="Ed25519")]}, id="RFC 9864's name"),
        pytest.param({"keys": [public(key_ops=["verify"])]}, id="a key that says what may be done with it"),
        pytest.param({"keys": [public(kid="a"), public("EdDSA", kid="a")]}, id="one id for keys of two kinds"),
        pytest.param({"keys": [without_id(), without_id("PS256"), without_id("EdDSA")]}, id="no ids, and no doubt"),
        pytest.param(
            {"keys": [without_id("PS256", alg="PS256"), without_id("PS256", alg="RS256")]}, id="told by algorithm"
        ),
    ],
)
def test_accepted(jwks: Any) -> None:
    assert problem_with(jwks) is None


SMALL_RSA = {"kty": "RSA", "e": "AQAB", "n": b64url(b"\xff" * 128)}


@pytest.mark.parametrize(
    ("jwks", "reason"),
    [
        pytest.param(None, "a JWK Set", id="nothing"),
        pytest.param([], "a JWK Set", id="a list"),
        pytest.param({"keys": []}, "1 to 10 keys", id="no key"),
        pytest.param({"keys": [public()] * 11}, "1 to 10 keys", id="eleven keys"),
        pytest.param({"keys": ["x"]}, "not an object", id="a key that is a text"),
        pytest.param({"keys": [new_key("ES256").as_dict(private=True)]}, "private", id="a private EC key"),
        pytest.param({"keys": [new_key("PS256").as_dict(private=True)]}, "private", id="a private RSA key"),
        pytest.param({"keys": [OctKey.generate_key(256).as_dict()]}, "private or symmetric", id="a symmetric key"),
        pytest.param({"keys": [ECKey.generate_key("P-384").as_dict(private=False)]}, "P-256", id="another curve"),
        pytest.param({"keys": [SMALL_RSA]}, "2048", id="a small RSA key"),
        pytest.param({"keys": [public(use="enc")]}, "not for signing", id="an encryption key"),
        pytest.param({"keys": [public(alg="RS256")]}, "signs ES256", id="an algorithm that does not fit"),
        pytest.param({"keys": [public(kid=7)]}, "kid", id="an id that is no text"),
        pytest.param({"keys": [public(alg="HS256")]}, "signs ES256", id="a symmetric algorithm"),
        pytest.param({"keys": [public("PS256", alg="RS512")]}, "PS256 or RS256", id="an RSA algorithm of others"),
        pytest.param({"keys": [public(alg=["ES256"])]}, "signs ES256", id="an algorithm that is no text"),
        pytest.param({"keys": [public(key_ops=["encrypt"])]}, "not for signing", id="a key to encrypt with"),
        pytest.param({"keys": [public(key_ops="verify")]}, "not for signing", id="operations that are no list"),
        pytest.param({"keys": [public(key_ops=7)]}, "not for signing", id="operations that are a number"),
        pytest.param({"keys": [public(kid="a"), public(kid="a")]}, "its own `kid`", id="two keys with one id"),
        pytest.param({"keys": [without_id(), without_id()]}, "its own `kid`", id="two keys without ids"),
        pytest.param({"keys": [without_id(), public(kid="a")]}, "its own `kid`", id="one of two without an id"),
        pytest.param({"keys": [public(x="AAAA")]}, "is malformed", id="a point that is not on the curve"),
        pytest.param({"keys": [{"kty": "XX"}]}, "keys must be", id="an unknown kind of key"),
    ],
)
def test_refused(jwks: Any, reason: str) -> None:
    problem = problem_with(jwks)
    assert problem is not None
    assert reason in problem


def test_rs256_is_not_for_proofs_nor_for_the_fapi_profiles() -> None:
    """They pass their own tuple of algorithms."""
    jwks = {"keys": [public("PS256", alg="RS256")]}
    problem = problem_with(jwks, SIGNING_ALGORITHMS)
    assert problem == "an RSA key signs PS256 here"
    assert problem_with({"keys": [public("PS256")]}, SIGNING_ALGORITHMS) is None


def test_a_key_under_its_new_name_signs_under_the_old_one() -> None:
    """What is accepted works later: the key says Ed25519, the assertion EdDSA."""
    key = new_key("EdDSA")
    jwk = {**key.as_dict(private=False), "kid": "a", "alg": "Ed25519"}
    signed = read_jws(sign_anything({"alg": "EdDSA"}, {"iss": "x"}, key, "EdDSA"), max_length=1000)
    found = find_key(load({"keys": [jwk]}).keys, signed, SIGNING_ALGORITHMS)
    assert verify_jws(signed, found, SIGNING_ALGORITHMS) == {"iss": "x"}
