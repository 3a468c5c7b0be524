"""DPoP proofs as a table of sentences (RFC 9449 4.2, 4.3)."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey

from foundation.errors import ProtocolError
from foundation.handles import b64url
from oauth.tokens import nonces
from oauth.tokens.dpop import DpopProof, ExpectedProof, access_token_hash, check_proof, normalise
from oauth.tokens.key_binding import Binding, Demand, judge_binding
from tests.support.keys import Prover, new_key, sign_anything

URL = "http://localhost:8000/oauth/token"
AT = int(time.time())
NOW = datetime.fromtimestamp(AT, UTC)
PROVER = Prover(new_key("ES256"))


def expected(**changes: Any) -> ExpectedProof:
    facts = {"method": "POST", "urls": [URL], "is_fresh_nonce": lambda n: n == "fresh", "needs_nonce": False}
    return ExpectedProof(**(facts | changes))


def check(proof: str, **changes: Any) -> str:
    """`proof`, or the error's code."""
    answer = check_proof(proof, expected(**changes), NOW)
    return answer.code if isinstance(answer, ProtocolError) else "proof"


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_a_good_proof_names_its_key(algorithm: str) -> None:
    prover = Prover(new_key(algorithm), algorithm)
    proof = check_proof(prover.proof(jti="one", iat=AT), expected(), NOW)
    assert proof == DpopProof(prover.jkt, "one", NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        pytest.param({}, "proof", id="everything as it must be"),
        pytest.param({"jti": None}, "invalid_dpop_proof", id="no jti"),
        pytest.param({"jti": ""}, "invalid_dpop_proof", id="an empty jti"),
        pytest.param({"jti": 5}, "invalid_dpop_proof", id="a jti that is a number"),
        pytest.param({"jti": "x" * 256}, "invalid_dpop_proof", id="a long jti"),
        pytest.param({"htm": None}, "invalid_dpop_proof", id="no htm"),
        pytest.param({"htm": "GET"}, "invalid_dpop_proof", id="another method"),
        pytest.param({"htm": "post"}, "invalid_dpop_proof", id="a method in lower case: methods are case-sensitive"),
        pytest.param({"htu": None}, "invalid_dpop_proof", id="no htu"),
        pytest.param({"htu": "http://localhost:8000/userinfo"}, "invalid_dpop_proof", id="another endpoint"),
        pytest.param({"htu": "https://localhost:8000/oauth/token"}, "invalid_dpop_proof", id="another scheme"),
        pytest.param({"htu": "http://localhost/oauth/token"}, "invalid_dpop_proof", id="another port"),
        pytest.param({"htu": "http://localhost:8000/oauth/Token"}, "invalid_dpop_proof", id="a path in another case"),
        pytest.param({"htu": "http://x@localhost:8000/oauth/token"}, "invalid_dpop_proof", id="a user in the address"),
        pytest.param({"htu": "/oauth/token"}, "invalid_dpop_proof", id="a relative address"),
        pytest.param({"htu": ["http://localhost:8000/oauth/token"]}, "invalid_dpop_proof", id="a list of addresses"),
        pytest.param({"htu": "http://localhost:99999/oauth/token"}, "invalid_dpop_proof", id="a port beyond all ports"),
        pytest.param({"htu": "http://[localhost:8000/oauth/token"}, "invalid_dpop_proof", id="half a bracket"),
        pytest.param({"htu": "http://localhost:8000/oauth/tok\nen"}, "invalid_dpop_proof", id="a line break in htu"),
        pytest.param({"htu": "HTTP://LOCALHOST:8000/oauth/token"}, "proof", id="scheme and host in upper case"),
        pytest.param({"htu": "http://localhost:8000/x/../oauth/./token"}, "proof", id="dot segments"),
        pytest.param({"htu": "http://localhost:8000/oauth/%74oken"}, "proof", id="an escaped plain character"),
        pytest.param({"htu": "http://localhost:8000/oauth/token?a=b#c"}, "proof", id="query and fragment are ignored"),
        pytest.param({"iat": None}, "invalid_dpop_proof", id="no iat"),
        pytest.param({"iat": "now"}, "invalid_dpop_proof", id="an iat that is a text"),
        pytest.param({"iat": True}, "invalid_dpop_proof", id="an iat that is a boolean"),
        pytest.param({"iat": 10**400}, "invalid_dpop_proof", id="an iat beyond all numbers"),
        pytest.param({"iat": -5}, "invalid_dpop_proof", id="an iat before all time"),
        pytest.param({"iat": AT - 91}, "invalid_dpop_proof", id="made 91 seconds ago"),
        pytest.param({"iat": AT - 90}, "proof", id="made 90 seconds ago"),
        pytest.param({"iat": AT + 30}, "proof", id="made by a clock 30 seconds ahead"),
        pytest.param({"iat": AT + 31}, "invalid_dpop_proof", id="made by a clock 31 seconds ahead"),
        pytest.param({"nonce": "fresh"}, "proof", id="a fresh nonce, though none is needed"),
        pytest.param({"nonce": "stale"}, "use_dpop_nonce", id="a stale nonce, though none is needed"),
        pytest.param({"nonce": 5}, "use_dpop_nonce", id="a nonce that is a number"),
        pytest.param({"ath": "anything"}, "proof", id="an ath where no token is presented is ignored"),
        pytest.param({"unknown": {"a": 1}}, "proof", id="an unknown claim is ignored"),
    ],
)
def test_claims(claims: dict[str, Any], verdict: str) -> None:
    assert check(PROVER.proof(**{"iat": AT, **claims})) == verdict


def test_a_needed_nonce() -> None:
    assert check(PROVER.proof(iat=AT), needs_nonce=True) == "use_dpop_nonce"
    assert check(PROVER.proof(iat=AT, nonce="fresh"), needs_nonce=True) == "proof"
    assert check(PROVER.proof(iat=AT, htm="GET"), needs_nonce=True) == "invalid_dpop_proof", "nonce is told last"


def test_the_access_tokens_hash() -> None:
    assert check(PROVER.proof(iat=AT, token="a"), access_token="a") == "proof"
    assert check(PROVER.proof(iat=AT, token="b"), access_token="a") == "invalid_dpop_proof"
    assert check(PROVER.proof(iat=AT), access_token="a") == "invalid_dpop_proof"
    # RFC 9449 7.1's own example.
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert access_token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def private(key: Any) -> dict[str, Any]:
    return dict(key.as_dict(private=True))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"typ": None}, id="no typ"),
        pytest.param({"typ": "JWT"}, id="another typ: an assertion is no proof"),
        pytest.param({"typ": ["dpop+jwt"]}, id="a typ that is a list"),
        pytest.param({"jwk": None}, id="no key"),
        pytest.param({"jwk": None, "kid": "x"}, id="a key's name in place of a key"),
        pytest.param({"jwk": None, "jku": "https://keys.example.com"}, id="a key's address in place of a key"),
        pytest.param({"jwk": None, "x5u": "https://keys.example.com"}, id="a certificate's address in place of a key"),
        pytest.param({"jwk": "x"}, id="a key that is a text"),
        pytest.param({"jwk": private(PROVER.key)}, id="a private key"),
        pytest.param({"jwk": {"kty": "oct", "k": "AAAA"}}, id="a symmetric key"),
        pytest.param(
            {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, id="a point that is not on the curve"
        ),
        pytest.param({"jwk": ECKey.generate_key("P-384").as_dict(private=False)}, id="another curve"),
        pytest.param({"jwk": new_key("ES256").as_dict(private=False)}, id="somebody else's key"),
        pytest.param({"jwk": new_key("EdDSA").as_dict(private=False)}, id="a key that does not fit the algorithm"),
        pytest.param({"crit": ["exp"], "exp": 1}, id="a critical extension"),
    ],
)
def test_headers_that_are_refused(header: dict[str, Any]) -> None:
    assert check(PROVER.proof(iat=AT, header=header)) == "invalid_dpop_proof"


def test_addresses_in_the_header_are_never_looked_at() -> None:
    header = {"jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/", "kid": "x"}
    assert check(PROVER.proof(iat=AT, header=header)) == "proof"


def test_algorithms_that_are_not_asymmetric() -> None:
    head, payload, signature = PROVER.proof(iat=AT).split(".")
    public = PROVER.key.as_dict(private=False)
    none = b64url(json.dumps({"typ": "dpop+jwt", "alg": "none", "jwk": public}).encode())
    assert check(f"{none}.{payload}.") == "invalid_dpop_proof"
    assert check(f"{none}.{payload}.{signature}") == "invalid_dpop_proof"
    assert check(f"{head}.{payload}.") == "invalid_dpop_proof"
    secret = OctKey.import_key(json.dumps(public).encode())
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": public}
    assert check(sign_anything(header, {"jti": "x"}, secret, "HS256")) == "invalid_dpop_proof"


def test_an_algorithm_beyond_the_list() -> None:
    key = new_key("PS256")
    assert check(Prover(key, "RS256").proof(iat=AT)) == "invalid_dpop_proof"
    assert check(Prover(key, "PS256").proof(iat=AT)) == "proof"


@pytest.mark.parametrize("junk", ["", "x", "a.b.c", "é.é.é", "....", "e30.e30.e30", "W10.W10.W10", "." * 9000])
def test_what_is_no_proof(junk: str) -> None:
    assert check(junk) == "invalid_dpop_proof"


def test_two_proofs_in_one_header() -> None:
    """What a server makes of a repeated header."""
    assert check(f"{PROVER.proof(iat=AT)},{PROVER.proof(iat=AT)}") == "invalid_dpop_proof"
    assert check(f"{PROVER.proof(iat=AT)}, {PROVER.proof(iat=AT)}") == "invalid_dpop_proof"


def test_payloads_that_are_no_claims() -> None:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": PROVER.key.as_dict(private=False)}
    for payload in ("[]", "7", "x", '{"jti":"a","jti":"b"}', "[" * 3000):
        assert check(sign_anything(header, payload, PROVER.key, "ES256")) == "invalid_dpop_proof"


@given(st.text(max_size=60), st.text(max_size=60))
def test_never_an_exception(proof: str, url: str) -> None:
    check(proof)
    normalise(url)
    normalise(f"https://h/{url}")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://example.com/a/../../b", "https://example.com/b"),
        ("https://example.com/a/..", "https://example.com/"),
        ("https://example.com/a/.", "https://example.com/a/"),
        ("https://example.com/%7euser/%2f%2F", "https://example.com/~user/%2F%2F"),
        ("https://example.com/%2e%2e/a", "https://example.com/a"),
        ("https://example.com//a", "https://example.com//a"),
        ("https://[::1]:443/", "https://[::1]/"),
        ("https://example.com?a=b", "https://example.com/"),
        ("ftp://example.com/", None),
        ("https:///a", None),
        ("https://example.com/\x00", None),
        (None, None),
    ],
)
def test_addresses_that_are_the_same(url: Any, same: str | None) -> None:
    assert normalise(url) == same


class TestNonces:
    KEYS = [b"k" * 32]

    def test_each_lives_for_one_to_two_windows(self) -> None:
        start = datetime.fromtimestamp(1_800_000_000 // nonces.NONCE_WINDOW_S * nonces.NONCE_WINDOW_S, UTC)
        nonce = nonces.current_nonce(self.KEYS, start)
        ages = {age: nonces.is_fresh(nonce, self.KEYS, start + timedelta(seconds=age)) for age in (0, 59, 119, 120)}
        assert ages == {0: True, 59: True, 119: True, 120: False}

    def test_a_neighbour_whose_clock_is_ahead(self) -> None:
        ahead = nonces.current_nonce(self.KEYS, NOW + timedelta(seconds=nonces.NONCE_WINDOW_S))
        assert nonces.is_fresh(ahead, self.KEYS, NOW)
        ahead = nonces.current_nonce(self.KEYS, NOW + timedelta(seconds=2 * nonces.NONCE_WINDOW_S))
        assert not nonces.is_fresh(ahead, self.KEYS, NOW)

    def test_during_a_rotation_both_keys_nonces_are_taken(self) -> None:
        old = nonces.current_nonce(self.KEYS, NOW)
        both = [b"n" * 32, *self.KEYS]
        assert nonces.is_fresh(old, both, NOW) and nonces.is_fresh(nonces.current_nonce(both, NOW), both, NOW)
        assert nonces.current_nonce(both, NOW) != old
        assert not nonces.is_fresh(old, [b"n" * 32], NOW)

    def test_what_is_no_nonce(self) -> None:
        assert not any(nonces.is_fresh(junk, self.KEYS, NOW) for junk in ("", "x", "é", "\ud800"[:0], "a" * 5000))


KEY = Binding(jkt="a" * 43)
CERTIFICATE = Binding(x5t="b" * 43)
BOTH = Binding(KEY.jkt, CERTIFICATE.x5t)
NOTHING = Demand(dpop=False, mutual_tls=False)
DPOP = Demand(dpop=True, mutual_tls=False)
ANYTHING = Demand(dpop=False, mutual_tls=False, something=True)
MUTUAL_TLS = Demand(dpop=False, mutual_tls=True)


@pytest.mark.parametrize(
    ("proved", "demand", "bound"),
    [
        pytest.param(Binding(), NOTHING, Binding(), id="neither proof nor demand: a bearer token"),
        pytest.param(KEY, NOTHING, KEY, id="a proof without a demand binds all the same"),
        pytest.param(KEY, DPOP, KEY, id="a proof as demanded"),
        pytest.param(Binding(), DPOP, "invalid_dpop_proof", id="no downgrade: a demanded proof is missing"),
        pytest.param(CERTIFICATE, DPOP, "invalid_dpop_proof", id="a certificate in place of a demanded proof"),
        pytest.param(CERTIFICATE, NOTHING, Binding(), id="a certificate binds nothing where nobody asked for it"),
        pytest.param(CERTIFICATE, MUTUAL_TLS, CERTIFICATE, id="a certificate as demanded"),
        pytest.param(Binding(), MUTUAL_TLS, "invalid_request", id="no downgrade: a demanded certificate is missing"),
        pytest.param(KEY, MUTUAL_TLS, "invalid_request", id="a proof in place of a demanded certificate"),
        pytest.param(BOTH, MUTUAL_TLS, BOTH, id="both: the token is bound to both"),
        pytest.param(Binding(), ANYTHING, "invalid_request", id="whichever, and there is none"),
        pytest.param(CERTIFICATE, ANYTHING, "invalid_request", id="whichever, and a certificate that binds nothing"),
        pytest.param(KEY, ANYTHING, KEY, id="whichever, and a proof"),
    ],
)
def test_what_a_token_is_bound_to(proved: Binding, demand: Demand, bound: Binding | str) -> None:
    answer = judge_binding(proved, demand)
    assert (answer.code if isinstance(answer, ProtocolError) else answer) == bound


@pytest.mark.parametrize(
    ("cnf", "holds"),
    [
        pytest.param({}, True, id="a bearer token is anybody's"),
        pytest.param({"jkt": "a" * 43}, True, id="the same key"),
        pytest.param({"jkt": "b" * 43}, False, id="another key"),
        pytest.param({"jkt": "a" * 43, "x5t#S256": "c"}, False, id="one of two"),
        pytest.param({"jwk": {}}, False, id="a confirmation that we do not know"),
        pytest.param({"jkt": None}, False, id="no key at all"),
    ],
)
def test_who_holds_a_token(cnf: dict[str, Any], holds: bool) -> None:
    assert KEY.proves(cnf) is holds


def test_a_confirmation_of_nothing_is_held_by_nobody() -> None:
    assert not Binding().proves({"jkt": None})
