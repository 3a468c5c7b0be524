"""Profiles as a table of sentences (FAPI-CIBA ID1 5.2.2, FAPI 2.0 5.3.2.1)."""

import hashlib
from dataclasses import replace

import pytest

from clients.profiles import (
    DEMANDS,
    DEMANDS_VERSION,
    Constraint,
    Profile,
    RegisteredTraits,
    RequestTraits,
    problem_with,
    problem_with_request,
)

CIBA, ID1, FAPI2 = Profile.CIBA, Profile.FAPI_CIBA_ID1, Profile.FAPI2_CIBA
PLAIN = RegisteredTraits("private_key_jwt", (), "poll", "", "ES256")
BY_DPOP = replace(PLAIN, constraints=(Constraint.DPOP,))
BY_TLS = replace(PLAIN, constraints=(Constraint.MUTUAL_TLS,))


@pytest.mark.parametrize(
    ("profile", "registered", "problem"),
    [
        pytest.param(CIBA, PLAIN, None, id="ciba: an agent like any other"),
        pytest.param(CIBA, replace(PLAIN, auth_method="client_secret_basic"), None, id="ciba: a static secret"),
        pytest.param(CIBA, replace(PLAIN, delivery_mode="push"), None, id="ciba: push"),
        pytest.param(CIBA, replace(BY_DPOP, delivery_mode="push"), "push", id="ciba: push of DPoP-bound tokens"),
        pytest.param(CIBA, replace(BY_TLS, delivery_mode="push"), "push", id="ciba: push of certificate-bound tokens"),
        pytest.param(
            CIBA, replace(PLAIN, constraints=(Constraint.DPOP, Constraint.MUTUAL_TLS)), "one of them",
            id="ciba: both constraints at once",
        ),
        pytest.param(ID1, BY_TLS, None, id="ID1: poll, key, certificate-bound"),
        pytest.param(ID1, replace(BY_TLS, delivery_mode="ping"), None, id="ID1: ping"),
        pytest.param(ID1, replace(BY_TLS, auth_method="tls_client_auth"), None, id="ID1: by certificate"),
        pytest.param(ID1, replace(BY_TLS, auth_method="self_signed_tls_client_auth"), None, id="ID1: self-signed"),
        pytest.param(ID1, replace(BY_TLS, auth_method="client_secret_post"), "authentication", id="ID1: static secret"),
        pytest.param(ID1, replace(BY_TLS, auth_method="none"), "authentication", id="ID1: a public client"),
        pytest.param(ID1, PLAIN, "mutual TLS", id="ID1: bearer tokens"),
        pytest.param(ID1, BY_DPOP, "mutual TLS", id="ID1: DPoP came later"),
        pytest.param(ID1, replace(BY_TLS, delivery_mode="push"), "push", id="ID1: push"),
        pytest.param(ID1, replace(BY_TLS, request_signing_algorithm="PS256"), None, id="ID1: signs PS256"),
        pytest.param(ID1, replace(BY_TLS, request_signing_algorithm="EdDSA"), "signatures", id="ID1: signs EdDSA"),
        pytest.param(ID1, replace(BY_TLS, id_token_algorithm="RS256"), "ID tokens", id="ID1: an ID token by RS256"),
        pytest.param(CIBA, replace(PLAIN, id_token_algorithm="RS256"), None, id="ciba: an ID token by RS256"),
        pytest.param(FAPI2, replace(BY_DPOP, id_token_algorithm="RS256"), "ID tokens", id="FAPI 2: RS256"),
        pytest.param(CIBA, replace(PLAIN, id_token_algorithm="PS256"), None, id="ciba: an ID token by PS256"),
        pytest.param(ID1, replace(BY_TLS, id_token_algorithm="PS256"), None, id="ID1: an ID token by PS256"),
        pytest.param(FAPI2, replace(BY_DPOP, id_token_algorithm="PS256"), None, id="FAPI 2: an ID token by PS256"),
        pytest.param(CIBA, replace(PLAIN, request_signing_algorithm="RS256"), None, id="ciba: signs RS256"),
        pytest.param(ID1, replace(BY_TLS, request_signing_algorithm="RS256"), "signatures", id="ID1: signs RS256"),
        pytest.param(FAPI2, replace(BY_DPOP, request_signing_algorithm="RS256"), "signatures", id="FAPI 2: sign RS256"),
        pytest.param(FAPI2, BY_DPOP, None, id="FAPI 2: DPoP"),
        pytest.param(FAPI2, BY_TLS, None, id="FAPI 2: certificate-bound"),
        pytest.param(FAPI2, PLAIN, "DPoP or mutual TLS", id="FAPI 2: bearer tokens"),
        pytest.param(FAPI2, replace(BY_DPOP, auth_method="client_secret_basic"), "authentication", id="FAPI 2: secret"),
        pytest.param(FAPI2, replace(BY_DPOP, delivery_mode="push"), "push", id="FAPI 2: push"),
        pytest.param(FAPI2, replace(BY_DPOP, request_signing_algorithm="EdDSA"), None, id="FAPI 2: signs EdDSA"),
        pytest.param(CIBA, replace(PLAIN, key_algorithms=("RS256",)), None, id="ciba: a key for RS256"),
        pytest.param(FAPI2, replace(BY_DPOP, key_algorithms=("RS256",)), "a key for", id="FAPI 2: RS256 alone"),
        pytest.param(FAPI2, replace(BY_DPOP, key_algorithms=("RS256", "PS256")), None, id="FAPI 2: an RSA key"),
    ],
)  # fmt: skip
def test_what_may_be_registered(profile: Profile, registered: RegisteredTraits, problem: str | None) -> None:
    found = problem_with(registered, profile)
    assert (found is None) if problem is None else (found and problem in found)


def test_changed_demands_have_another_version() -> None:
    """Otherwise no registration would be checked again. Raise DEMANDS_VERSION, then pin both here."""
    digest = hashlib.sha256(repr(sorted(DEMANDS.items())).encode()).hexdigest()[:16]
    assert (DEMANDS_VERSION, digest) == (1, "5a4f29cf2ba82a06")


NOTHING = RequestTraits(is_signed=False, has_details=False, has_binding_message=False)
SIGNED = replace(NOTHING, is_signed=True)
DETAILS = replace(NOTHING, has_details=True)
MESSAGE = replace(NOTHING, has_binding_message=True)


@pytest.mark.parametrize(
    ("profile", "traits", "problem"),
    [
        pytest.param(CIBA, NOTHING, None, id="ciba: nothing but a hint"),
        pytest.param(ID1, NOTHING, "must sign", id="ID1: unsigned"),
        pytest.param(ID1, DETAILS, "must sign", id="ID1: details do not stand in for a signature"),
        pytest.param(ID1, SIGNED, "or a binding_message", id="ID1: signed, and about nothing"),
        pytest.param(ID1, replace(SIGNED, has_details=True), None, id="ID1: signed details"),
        pytest.param(ID1, replace(SIGNED, has_binding_message=True), None, id="ID1: a signed message"),
        pytest.param(FAPI2, NOTHING, "must sign", id="FAPI 2: neither signed nor details"),
        pytest.param(FAPI2, MESSAGE, "must sign", id="FAPI 2: an unsigned message"),
        pytest.param(FAPI2, DETAILS, None, id="FAPI 2: details"),
        pytest.param(FAPI2, SIGNED, "or a binding_message", id="FAPI 2: signed, and about nothing"),
        pytest.param(FAPI2, replace(SIGNED, has_binding_message=True), None, id="FAPI 2: a signed message"),
    ],
)
def test_what_may_be_asked(profile: Profile, traits: RequestTraits, problem: str | None) -> None:
    found = problem_with_request(traits, profile)
    assert (found is None) if problem is None else (found and problem in found)
