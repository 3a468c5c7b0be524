"""Codes and refresh tokens that only one key's holder can use (RFC 9449 5 and 10, RFC 8705 7.1)."""

from typing import Any

import pytest
from django.test import Client

from clients.models import Agent
from oauth.models import AuthorizationCode, Grant, RefreshToken
from tests.support.certificates import Holder, make_certificate
from tests.support.consent import WebAgent, allow, claims_of, make_web_agent, query_of
from tests.support.keys import Prover, new_key
from tests.support.world import ResourceServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def public(bank: ResourceServer, signing: None) -> WebAgent:
    """A public client with a DPoP key."""
    agent = make_web_agent("Public agent", method="none")
    agent.prover = Prover(new_key("ES256"))
    return agent


@pytest.fixture
def confidential(bank: ResourceServer, signing: None) -> WebAgent:
    agent = make_web_agent()
    assert agent.caller
    agent.caller.prover = Prover(new_key("ES256"))
    return agent


def refused(response: Any, error: str = "invalid_grant") -> bool:
    assert response.status_code == 400
    assert response.json()["error"] == error
    return True


# --- refresh tokens


def test_a_public_clients_refresh_token_is_bound_to_its_key(public: WebAgent, browser_of_user: Client) -> None:
    body = public.tokens(browser_of_user)
    assert public.prover
    assert body["token_type"] == "DPoP"
    assert claims_of(body["access_token"])["cnf"] == {"jkt": public.prover.jkt}
    again = public.refresh(body["refresh_token"]).json()
    assert again["token_type"] == "DPoP"
    assert RefreshToken.objects.get(used_at=None).cnf == {"jkt": public.prover.jkt}, "so is its successor"
    assert public.refresh(again["refresh_token"]).status_code == 200


def test_a_stolen_refresh_token_is_no_use_and_stays_its_owners(public: WebAgent, browser_of_user: Client) -> None:
    token = public.tokens(browser_of_user)["refresh_token"]
    own, public.prover = public.prover, Prover(new_key("ES256"))
    assert refused(public.refresh(token)), "with another key"
    public.prover = None
    assert refused(public.refresh(token)), "without a proof"
    assert Grant.objects.get().revoked_at is None
    public.prover = own
    assert public.refresh(token).status_code == 200


def test_an_unbound_refresh_token_is_bound_once_a_proof_comes_with_it(
    public: WebAgent, browser_of_user: Client
) -> None:
    prover, public.prover = public.prover, None
    token = public.tokens(browser_of_user)["refresh_token"]
    assert RefreshToken.objects.get().cnf == {}
    public.prover = prover
    token = public.refresh(token).json()["refresh_token"]
    public.prover = None
    assert refused(public.refresh(token))


def test_an_agent_that_authenticates_may_change_its_key(confidential: WebAgent, browser_of_user: Client) -> None:
    """RFC 9449 5: its refresh tokens are bound to it by its authentication already."""
    body = confidential.tokens(browser_of_user)
    assert body["token_type"] == "DPoP"
    assert confidential.caller
    confidential.caller.prover = Prover(new_key("EdDSA"), "EdDSA")
    again = confidential.refresh(body["refresh_token"]).json()
    assert claims_of(again["access_token"])["cnf"] == {"jkt": confidential.caller.prover.jkt}


def test_a_bound_agent_does_not_refresh_without_a_proof(confidential: WebAgent, browser_of_user: Client) -> None:
    Agent.objects.update(dpop_bound_access_tokens=True)
    body = confidential.tokens(browser_of_user)
    assert confidential.caller
    confidential.caller.prover = None
    assert refused(confidential.refresh(body["refresh_token"]), "invalid_dpop_proof")


class TestByCertificate:
    @pytest.fixture
    def holder(self) -> Holder:
        return make_certificate()

    @pytest.fixture
    def bound(self, settings: Any, bank: ResourceServer, signing: None, holder: Holder) -> WebAgent:
        settings.MTLS_URL = "https://mtls.example.com"
        settings.TRUSTED_PROXIES = ["127.0.0.1"]
        agent = make_web_agent("Public agent", method="none", tls_client_certificate_bound_access_tokens=True)
        agent.headers = {"Client-Cert": holder.header}
        return agent

    def test_a_public_clients_refresh_token_is_bound_to_its_certificate(
        self, bound: WebAgent, browser_of_user: Client, holder: Holder
    ) -> None:
        body = bound.tokens(browser_of_user)
        assert claims_of(body["access_token"])["cnf"] == {"x5t#S256": holder.x5t}
        own, bound.headers = bound.headers, {"Client-Cert": make_certificate().header}
        assert refused(bound.refresh(body["refresh_token"]))
        bound.headers = {}
        assert refused(bound.refresh(body["refresh_token"]), "invalid_request")
        bound.headers = own
        assert bound.refresh(body["refresh_token"]).status_code == 200


# --- codes


def test_a_code_may_be_bound_to_a_key(public: WebAgent, browser_of_user: Client) -> None:
    assert public.prover
    code = query_of(allow(browser_of_user, public.url(dpop_jkt=public.prover.jkt)))["code"]
    own, public.prover = public.prover, Prover(new_key("ES256"))
    assert refused(public.exchange(code)), "with another key"
    public.prover = None
    assert refused(public.exchange(code)), "without a proof"
    assert AuthorizationCode.objects.get().used_at is None
    public.prover = own
    assert public.exchange(code).json()["token_type"] == "DPoP"


@pytest.mark.parametrize("jkt", ["x", "a" * 44, "a" * 42 + "=", "é" * 43])
def test_what_is_no_thumbprint(public: WebAgent, browser_of_user: Client, jkt: str) -> None:
    answer = query_of(browser_of_user.get(public.url(dpop_jkt=jkt))["Location"])
    assert answer["error"] == "invalid_request"
    assert "dpop_jkt" in answer["error_description"]


def test_the_binding_stays_where_a_consent_is_remembered(public: WebAgent, browser_of_user: Client) -> None:
    """Later requests within a consent get their code without a page."""
    assert public.prover
    public.tokens(browser_of_user)
    url = public.url(dpop_jkt=public.prover.jkt)
    location = browser_of_user.get(url)["Location"]
    code = query_of(location)["code"] if "code=" in location else query_of(allow(browser_of_user, url))["code"]
    public.prover = Prover(new_key("ES256"))
    assert refused(public.exchange(code))
