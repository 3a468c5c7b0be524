"""Whose certificate is this? As a table of sentences (RFC 8705 2, RFC 9440)."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.certificates import problem_with_chained, problem_with_names, problem_with_self_signed
from clients.keys import problem_with
from foundation.certificates import MAX_HEADER, parse_client_cert
from tests.support.certificates import dns, email, ip, make_certificate, uri

NOW = datetime.now(UTC)
HOLDER = make_certificate(
    "CN=Assistant,OU=Agents,O=Example  GmbH,C=DE",
    dns("agent.example.com"), dns("Second.example.com"), uri("spiffe://example.com/agent"),
    ip("192.0.2.7"), ip("2001:db8::7"), email("agent@example.com"),
)  # fmt: skip
PLAIN = make_certificate("CN=Assistant")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        pytest.param({"subject_dn": "CN=Assistant,OU=Agents,O=Example  GmbH,C=DE"}, None, id="the subject"),
        pytest.param(
            {"subject_dn": "CN=assistant,OU=AGENTS,O=example gmbh,C=de"}, None, id="in another case (RFC 4517)"
        ),
        pytest.param({"subject_dn": "C=DE,O=Example GmbH,OU=Agents,CN=Assistant"}, "name", id="in another order"),
        pytest.param({"subject_dn": "CN=Assistant,OU=Agents,O=Example GmbH"}, "name", id="a part of the subject"),
        pytest.param({"subject_dn": "CN=Assistant+OU=Agents,O=Example GmbH,C=DE"}, "name", id="joined parts"),
        pytest.param({"subject_dn": "CN=Other,OU=Agents,O=Example GmbH,C=DE"}, "name", id="another subject"),
        pytest.param({"san_dns": "agent.example.com"}, None, id="a DNS name"),
        pytest.param({"san_dns": "AGENT.example.com"}, None, id="DNS names have no case"),
        pytest.param({"san_dns": "second.example.com"}, None, id="the second DNS name"),
        pytest.param({"san_dns": "example.com"}, "name", id="the domain above"),
        pytest.param({"san_dns": "Assistant"}, "name", id="the common name is no DNS name"),
        pytest.param({"san_uri": "spiffe://example.com/agent"}, None, id="a URI"),
        pytest.param({"san_uri": "spiffe://example.com/AGENT"}, "name", id="URIs have case"),
        pytest.param({"san_uri": "agent.example.com"}, "name", id="a DNS name as a URI"),
        pytest.param({"san_ip": "192.0.2.7"}, None, id="an IPv4 address"),
        pytest.param({"san_ip": "2001:0db8:0::7"}, None, id="an IPv6 address, written otherwise"),
        pytest.param({"san_ip": "192.0.2.8"}, "name", id="another address"),
        pytest.param({"san_email": "agent@example.com"}, None, id="an e-mail address"),
        pytest.param({"san_email": "Agent@example.com"}, "name", id="local parts have case"),
        pytest.param({}, "exactly one", id="no name at all"),
        pytest.param(
            {"san_dns": "agent.example.com", "san_ip": "192.0.2.7"},
            "exactly one",
            id="two names, both the certificate's",
        ),
    ],
)
def test_the_registered_name(names: dict[str, str], problem: str | None) -> None:
    found = problem_with_chained(HOLDER.parsed(), names, NOW)
    assert (found is None) if problem is None else (found and problem in found)


def test_a_certificate_without_alternative_names() -> None:
    assert problem_with_chained(PLAIN.parsed(), {"san_dns": "Assistant"}, NOW) == "the certificate has another name"
    assert problem_with_chained(PLAIN.parsed(), {"subject_dn": "CN=Assistant"}, NOW) is None


def test_a_chain_that_the_proxy_did_not_trust() -> None:
    untrusted = PLAIN.parsed(is_trusted=False)
    assert problem_with_chained(untrusted, {"subject_dn": "CN=Assistant"}, NOW) == (
        "the certificate's chain is not trusted"
    )


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)], ids=["expired", "not yet valid"])
def test_a_certificate_out_of_its_time(days: tuple[int, int]) -> None:
    holder = make_certificate("CN=Assistant", days=days)
    registered = {"keys": [holder.jwk()]}
    assert problem_with_chained(holder.parsed(), {"subject_dn": "CN=Assistant"}, NOW) == (
        "the certificate is not valid now"
    )
    assert problem_with_self_signed(holder.parsed(), registered, NOW) == "the certificate is not valid now"


def test_a_registered_certificate() -> None:
    registered = {"keys": [PLAIN.jwk(), HOLDER.jwk()]}
    assert problem_with(registered) is None
    assert problem_with_self_signed(HOLDER.parsed(is_trusted=False), registered, NOW) is None
    twin = make_certificate("CN=Assistant")
    assert problem_with_self_signed(twin.parsed(), registered, NOW) == "the certificate is not registered"
    for nothing in (None, {}, {"keys": []}, {"keys": [{"kty": "EC"}]}):
        assert problem_with_self_signed(HOLDER.parsed(), nothing, NOW)


def jwk(**changes: Any) -> dict[str, Any]:
    return {"keys": [{**PLAIN.jwk(), **changes}]}


@pytest.mark.parametrize(
    ("x5c", "problem"),
    [
        pytest.param([], "list of 1 to 5", id="none"),
        pytest.param("x", "list of 1 to 5", id="a text"),
        pytest.param([7], "list of 1 to 5", id="a number"),
        pytest.param(["AAAA"], "is malformed", id="no certificate"),
        pytest.param(["%%%"], "is malformed", id="no base64"),
        pytest.param([b64encode(HOLDER.der).decode()], "another key", id="another key's certificate"),
    ],
)
def test_certificates_in_registered_keys(x5c: Any, problem: str) -> None:
    found = problem_with(jwk(x5c=x5c))
    assert found and problem in found


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"subject_dn": "CN=Assistant"}, None),
        ({"san_ip": "2001:db8::1"}, None),
        ({"san_dns": "a.example.com"}, None),
        ({}, "exactly one"),
        ({"san_dns": "", "san_uri": ""}, "exactly one"),
        ({"san_dns": "a", "san_uri": "b"}, "exactly one"),
        ({"subject_dn": "Assistant"}, "is malformed"),
        ({"san_ip": "192.0.2"}, "is malformed"),
        ({"san_dns": "*.example.com"}, "wildcard"),
    ],
)
def test_names_that_may_be_registered(names: dict[str, str], problem: str | None) -> None:
    found = problem_with_names(names)
    assert (found is None) if problem is None else (found and problem in found)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="nothing"),
        pytest.param("::", id="no bytes"),
        pytest.param(HOLDER.header.strip(":"), id="base64 without colons"),
        pytest.param(HOLDER.header.replace(":", '"'), id="a string in place of bytes"),
        pytest.param(f"{HOLDER.header},{PLAIN.header}", id="two headers joined"),
        pytest.param(f"{HOLDER.header}, {PLAIN.header}", id="a list"),
        pytest.param(f"{HOLDER.header};a=b", id="with parameters"),
        pytest.param(":AAAA:", id="no DER"),
        pytest.param(f":{b64encode(HOLDER.der[:-10]).decode()}:", id="cut off"),
        pytest.param(f":{b64encode(HOLDER.der + b'x').decode()}:", id="with something behind"),
        pytest.param(":A:", id="no base64"),
        pytest.param("-----BEGIN CERTIFICATE-----", id="PEM"),
        pytest.param(":" + "A" * MAX_HEADER + ":", id="huge"),
        pytest.param(":é:", id="no ASCII"),
    ],
)
def test_headers_that_are_no_certificate(header: str) -> None:
    with pytest.raises(ValueError, match=r"Client-Cert|certificate|padding|characters"):
        parse_client_cert(header, is_trusted=True)


# The library tells of what it will refuse one day; it is read all the same.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.binary(max_size=200), st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_never_another_exception(junk: bytes, at: int, change: bytes) -> None:
    for der in (junk, HOLDER.der[:at] + change + HOLDER.der[at + len(change) :]):
        try:
            certificate = parse_client_cert(f":{b64encode(der).decode()}:", is_trusted=True)
        except ValueError:
            continue
        problem_with_chained(certificate, {"san_dns": "x"}, NOW)
        problem_with_chained(certificate, {"subject_dn": "CN=x"}, NOW)
