"""Which JWK Sets we accept from agents."""

from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey

from clients.keys import problem_with
from foundation.handles import b64url
from tests.world import new_key


def public(algorithm: str = "ES256", **more: Any) -> dict[str, Any]:
    key = new_key(algorithm)
    return {**key.as_dict(private=False), "kid": key.kid, **more}


@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param({"keys": [public()]}, id="one P-256 key"),
        pytest.param({"keys": [public("PS256")]}, id="one RSA key of 2048 bits"),
        pytest.param({"keys": [public("EdDSA")]}, id="one Ed25519 key"),
        pytest.param({"keys": [public(), public("EdDSA")]}, id="two keys with ids"),
        pytest.param({"keys": [public(use="sig", alg="ES256")]}, id="a key that says what it is for"),
    ],
)
def test_accepted(jwks: Any) -> None:
    assert problem_with(jwks) is None


SMALL_RSA = {"kty": "RSA", "e": "AQAB", "n": b64url(b"\xff" * 128)}


@pytest.mark.parametrize(
    ("jwks", "why"),
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
        pytest.param({"keys": [public(kid="a"), public(kid="a")]}, "of its own", id="two keys with one id"),
        pytest.param({"keys": [public(x="AAAA")]}, "cannot be read", id="a point that is not on the curve"),
        pytest.param({"keys": [{"kty": "XX"}]}, "keys are", id="an unknown kind of key"),
    ],
)
def test_refused(jwks: Any, why: str) -> None:
    problem = problem_with(jwks)
    assert problem is not None
    assert why in problem
