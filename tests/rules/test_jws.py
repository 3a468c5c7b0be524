"""The door for signed JSON from outside: whatever is wrong with it is a BadJws, and never another exception."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.handles import b64url
from foundation.jws import BadJws, find_key, read_jws, verify_jws
from tests.support.keys import new_key, sign_anything

KEY = new_key("ES256")
OTHER = new_key("EdDSA")
ALGORITHMS = ("ES256", "EdDSA", "PS256")
HEADER: dict[str, Any] = {"alg": "ES256", "kid": KEY.kid}


def take(text: str) -> dict[str, Any]:
    unverified = read_jws(text, max_length=20_000)
    return verify_jws(unverified, find_key([KEY, OTHER], unverified, ALGORITHMS), ALGORITHMS)


def signed(header: Any = HEADER, claims: Any = None) -> str:
    return sign_anything(header, {"iss": "x"} if claims is None else claims, KEY, "ES256")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(HEADER, id="algorithm and key"),
        pytest.param({"alg": "ES256"}, id="no kid, and one key that fits"),
        pytest.param({**HEADER, "x-trace": {"a": [1]}, "nonce": 7}, id="members that nobody knows"),
        pytest.param({**HEADER, "padding": "x" * 2900}, id="a long header"),
        pytest.param({**HEADER, "typ": "JWT", "cty": "x"}, id="types"),
    ],
)
def test_taken(header: dict[str, Any]) -> None:
    assert take(signed(header)) == {"iss": "x"}


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(signed({**HEADER, "crit": crit}), id=f"crit {json.dumps(crit)}")
          for crit in (0, 1, True, [], ["exp"], ["alg"], [0], [None], [[]], {}, {"a": 1}, "", "exp", 1.5)),
        *(pytest.param(signed({**HEADER, name: value}), id=f"{name} {json.dumps(value)}")
          for name in ("alg", "kid", "typ") for value in (0, [], {}, ["ES256"], True)),
        *(pytest.param(signed({**HEADER, "b64": value}), id=f"b64 {json.dumps(value)}") for value in (0, False, "x")),
        pytest.param(signed('{"alg":"ES256","crit":null}'), id="crit null"),
        pytest.param(signed('{"alg":"ES256","alg":"ES256"}'), id="a repeated member"),
        pytest.param(signed({"alg": "none"}), id="no algorithm"),
        pytest.param(signed({"alg": "HS256", "kid": KEY.kid}), id="a symmetric algorithm"),
        pytest.param(signed({"alg": "RS256"}), id="an algorithm that is not taken here"),
        pytest.param(signed({"alg": "EdDSA", "kid": KEY.kid}), id="a kid of another kind of key"),
        pytest.param(signed({"alg": "ES256", "kid": "x"}), id="a kid that nobody has"),
        pytest.param(signed({"kid": KEY.kid}), id="no alg"),
        pytest.param(signed("[]"), id="a list for a header"),
        pytest.param(signed('"x"'), id="a text for a header"),
        pytest.param(signed("{" * 3000), id="a deep header"),
        pytest.param(signed({**HEADER, "padding": "x" * 4000}), id="too long a header"),
        pytest.param(signed(HEADER, "[]"), id="a list for claims"),
        pytest.param(signed(HEADER, "7"), id="a number for claims"),
        pytest.param(signed(HEADER, '{"a":1,"a":2}'), id="a repeated claim"),
        pytest.param(signed(HEADER, '{"a":"\\ud800"}'), id="a lone surrogate"),
        pytest.param(signed(HEADER, {"a": "x" * 20_000}), id="too long"),
        pytest.param(signed().rpartition(".")[0] + ".", id="no signature"),
        pytest.param(signed() + "A", id="a longer signature"),
        pytest.param(signed()[:-2] + "==", id="padding"),
        pytest.param(signed() + ".x.y", id="five parts"),
        pytest.param("", id="nothing"), pytest.param("..", id="nothing in three parts"),
        pytest.param("é.é.é", id="no ASCII"), pytest.param("\ud800..", id="no text"),
        pytest.param(f"{b64url(b'{}')}.\x00.x", id="a NUL"),
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(BadJws):
        take(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "x5u", "x5t", "x5t#S256", "cty", "enc", "zip", "epk"]
)


@given(st.dictionaries(NAMES | st.text(max_size=6), ANYTHING, max_size=5))
def test_whatever_a_header_holds(more: dict[str, Any]) -> None:
    """Rightly signed, so that every reader behind the signature sees it."""
    try:
        assert take(signed({**HEADER, **more})) == {"iss": "x"}
    except BadJws:
        return
    assert more.get("crit") is None  # which `signed` leaves out


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_whatever_a_text_is(text: str) -> None:
    for candidate in (text, f"{b64url(text.encode('utf-8', 'replace'))}.e30.AA", f"e30.{text}.AA"):
        with pytest.raises(BadJws):
            take(candidate)
