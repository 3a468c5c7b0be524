"""`resource` in another spelling of the registered identifier (RFC 3986 6.2), wherever a resource is named."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from oauth.models import Grant
from oauth.tokens.issuance import sign
from oauth.tokens.signing_keys import signing_key
from tests.support.consent import WebAgent, allow, claims_of, query_of
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db
REGISTERED = "https://bank.example.com/"
SAME = ["https://bank.example.com", "HTTPS://BANK.EXAMPLE.COM/", "https://Bank.example.com:443"]
OTHER = ["https://bank.example.com/x", "http://bank.example.com/", "https://bank.example.com:444/",
         "https://bank.example.com.evil.example/", "https://bank.example.com/#", "bank.example.com"]  # fmt: skip
same = pytest.mark.parametrize("spelling", SAME)
other = pytest.mark.parametrize("spelling", OTHER)


def approve(browser: Client) -> None:
    (prompt,) = browser.get("/v1/prompts").json()["prompts"]
    browser.post(f"/v1/prompts/{prompt['id']}/approve")


class TestInTheBrowser:
    @same
    def test_from_the_request_to_the_refresh(self, spelling: str, web: WebAgent, browser_of_user: Client) -> None:
        code = query_of(allow(browser_of_user, web.url(resource=spelling)))["code"]
        tokens = web.exchange(code, resource=spelling).json()
        again = web.refresh(tokens["refresh_token"], resource=spelling).json()
        assert claims_of(tokens["access_token"])["aud"] == claims_of(again["access_token"])["aud"] == REGISTERED

    @other
    def test_another_resource(self, spelling: str, web: WebAgent, browser_of_user: Client) -> None:
        refused = browser_of_user.get(web.url(resource=spelling))
        assert query_of(refused["Location"])["error"] == "invalid_target"
        code = query_of(allow(browser_of_user, web.url()))["code"]
        assert web.exchange(code, resource=spelling).json()["error"] == "invalid_target"
        token = web.exchange(code).json()["refresh_token"]
        assert web.refresh(token, resource=spelling).json()["error"] == "invalid_target"


class TestWithoutABrowser:
    @same
    def test_client_credentials(self, spelling: str, agent: Caller, bank: ResourceServer) -> None:
        for sent in ({"scope": "calendar.read"}, {"authorization_details": [CALENDAR]}, {}):
            token = agent.client_credentials(**sent, resource=spelling).json()["access_token"]
            assert claims_of(token)["aud"] == REGISTERED
            assert bank.introspect(token).json()["active"]

    @other
    def test_another_resource(self, spelling: str, agent: Caller, user: User) -> None:
        for sent in ({"scope": "calendar.read"}, {"authorization_details": [CALENDAR]}, {}):
            assert agent.client_credentials(**sent, resource=spelling).json()["error"] == "invalid_target"
        assert agent.ask(user, scope="openid calendar.read", resource=spelling).json()["error"] == "invalid_target"

    @same
    @pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
    def test_bc_authorize(
        self, spelling: str, is_signed: bool, agent: Caller, user: User, bank: ResourceServer
    ) -> None:
        if is_signed:
            signed = agent.request_object(user, authorization_details=[PAYMENT], resource=spelling)
            sent = agent.post("/bc-authorize", request=signed)
        else:
            sent = agent.ask(user, authorization_details=[PAYMENT], resource=spelling)
        approve(sign_in(user))
        token = agent.poll(sent.json()["auth_req_id"]).json()["access_token"]
        assert claims_of(token)["aud"] == REGISTERED
        digest = bank.digest(PAYMENT, agent.agent.client_id, str(user.id))
        assert Grant.objects.get().operation_digest == digest, "over the registered spelling"
        assert bank.use(token, digest).status_code == 201


@same
def test_a_token_from_before_another_spelling_was_registered(
    spelling: str, agent: Caller, user: User, bank: ResourceServer
) -> None:
    """Audiences are compared alike: nothing that is alive ends because an administrator registers a slash."""
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    approve(sign_in(user))
    token = agent.poll(auth_req_id).json()["access_token"]
    digest = claims_of(token)["operation_digest"]
    bank.resource.identifier = spelling
    bank.resource.save()
    assert bank.introspect(token).json()["active"]
    assert bank.use(token, digest).status_code == 201


@pytest.mark.parametrize("audience", ["HTTP://LOCALHOST:8000/v1", "http://LocalHost:8000/v1"])
def test_our_own_endpoints_compare_alike(audience: str, agent: Caller, settings: Any) -> None:
    from operations.models import Resource, Scope

    own = Resource.objects.create(identifier=audience, name="Leases")
    agent.agent.scopes.add(Scope.objects.create(resource=own, name="leases", description="Use leases"))
    token = agent.client_credentials(scope="leases").json()["access_token"]
    assert Client().get("/v1/leases", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    claims = {**claims_of(token), "aud": "http://localhost:8001/v1"}
    elsewhere = sign(claims, signing_key("ES256", timezone.now()), "at+jwt")
    assert Client().get("/v1/leases", headers={"Authorization": f"Bearer {elsewhere}"}).status_code == 401
