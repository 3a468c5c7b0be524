"""Agents that registered themselves, in the code flow: what they may ask for, and when a user is asked again."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from clients.models import Agent
from oauth.models import Grant
from operations.models import Resource, Scope
from tests.clients.test_registration import REDIRECT, body, manage, register, sent_back
from tests.support.consent import WebAgent, allow, go_to, query_of
from tests.support.world import Caller, ResourceServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def reply(bank: ResourceServer, signing: None, settings: Any) -> dict[str, Any]:
    """What an agent was answered that registered itself, as a public client on the web."""
    settings.REGISTRATION = "open"
    settings.REGISTRATION_SCOPES = ["calendar.read"]
    answer = register(body(grant_types=["authorization_code", "refresh_token"], token_endpoint_auth_method="none"))
    return dict(answer.json())


@pytest.fixture
def registered(reply: dict[str, Any]) -> WebAgent:
    return WebAgent(Agent.objects.get(client_id=reply["client_id"]), redirect_uri=REDIRECT)


def test_whoever_asks_for_every_listed_scope_gets_through(registered: WebAgent, browser_of_user: Client) -> None:
    """As the MCP Python SDK does where it knows nothing better. What the agent may not have is left out."""
    listed = Client().get("/.well-known/openid-configuration").json()["scopes_supported"]
    assert listed == ["openid", "profile", "email", "offline_access"]
    granted = registered.tokens(browser_of_user, scope=" ".join(listed))["scope"].split()
    assert granted == ["openid", "offline_access"]
    registered.agent.identity_scopes = ["openid", "profile", "email"]
    registered.agent.save()
    assert registered.tokens(browser_of_user, scope=" ".join(listed))["scope"].split() == listed


def test_a_consent_keeps_the_registration(registered: WebAgent, browser_of_user: Client) -> None:
    registered.tokens(browser_of_user)
    registered.agent.refresh_from_db()
    assert registered.agent.first_used_at is not None


class TestAnotherIdentity:
    def silently(self, web: WebAgent, browser: Client) -> dict[str, str]:
        """The answer to the agent if the user must not be asked."""
        page = browser.get(web.url(prompt="none"), follow=False)
        text = page.get("Location") or page.content.decode()
        return (
            {"error": "consent_required"} if "consent_required" in text else {"code": "yes" if "code=" in text else ""}
        )

    def test_a_consent_is_remembered(self, registered: WebAgent, browser_of_user: Client) -> None:
        registered.tokens(browser_of_user)
        assert self.silently(registered, browser_of_user) == {"code": "yes"}

    @pytest.mark.parametrize(
        "changed", [{"redirect_uris": [REDIRECT, "https://thief.example/cb"]}, {"client_name": "Your bank"}]
    )
    def test_but_not_for_what_it_was_not_given_to(
        self, registered: WebAgent, reply: dict[str, Any], browser_of_user: Client, changed: dict[str, Any]
    ) -> None:
        """A thief of the registration access token gets no code without the user."""
        registered.tokens(browser_of_user)
        assert manage("PUT", reply, sent_back(reply, **changed)).status_code == 200
        assert self.silently(registered, browser_of_user) == {"error": "consent_required"}
        registered.tokens(browser_of_user)
        assert self.silently(registered, browser_of_user) == {"code": "yes"}

    def test_other_changes_ask_nobody(
        self, registered: WebAgent, reply: dict[str, Any], browser_of_user: Client
    ) -> None:
        registered.tokens(browser_of_user)
        manage("PUT", reply, sent_back(reply, contacts=["ops@example.com"]))
        assert self.silently(registered, browser_of_user) == {"code": "yes"}

    def test_unregistering_ends_what_it_holds(
        self, registered: WebAgent, reply: dict[str, Any], browser_of_user: Client, bank: ResourceServer
    ) -> None:
        tokens = registered.tokens(browser_of_user)
        assert manage("DELETE", reply).status_code == 204
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert registered.refresh(tokens["refresh_token"]).json()["error"] == "invalid_client"
        assert "It deleted its registration" in browser_of_user.get("/agents").content.decode()


class TestResources:
    """RFC 8707: an agent names the resources of its own scopes and types, and no other; on all three requests."""

    @pytest.fixture
    def other(self) -> Resource:
        other = Resource.objects.create(identifier="https://vault.example.com/", name="Vault")
        Scope.objects.create(resource=other, name="vault.read", description="Read the vault", risk="routine")
        return other

    def test_its_own(self, registered: WebAgent, browser_of_user: Client, bank: ResourceServer) -> None:
        mine = bank.resource.identifier
        code = query_of(allow(browser_of_user, registered.url(resource=mine)))["code"]
        tokens = registered.exchange(code, resource=mine).json()
        assert bank.introspect(tokens["access_token"]).json()["aud"] == mine
        again = registered.refresh(tokens["refresh_token"], resource=mine).json()
        assert bank.introspect(again["access_token"]).json()["aud"] == mine

    @pytest.mark.parametrize("scope", ["openid calendar.read", "openid"])
    def test_another_is_like_an_unknown_one(
        self, registered: WebAgent, browser_of_user: Client, other: Resource, scope: str
    ) -> None:
        answers = []
        for resource in (other.identifier, "https://nobody.example.com/"):
            page = browser_of_user.get(registered.url(scope=scope, resource=resource))
            answers.append((page.status_code, page.content.decode().count("invalid_target")))
        assert answers[0] == answers[1] and answers[0][1] >= 1
        tokens = registered.tokens(browser_of_user)
        assert (
            registered.refresh(tokens["refresh_token"], resource=other.identifier).json()["error"] == "invalid_target"
        )

    @pytest.mark.parametrize(
        ("scope", "error"), [("openid vault.read", "invalid_target"), ("vault.read", "invalid_scope")]
    )
    def test_its_scopes_neither(
        self, registered: WebAgent, browser_of_user: Client, other: Resource, scope: str, error: str
    ) -> None:
        page = browser_of_user.get(registered.url(scope=scope, resource=other.identifier))
        assert error in page.content.decode()

    def test_what_an_administrator_took_away_ends(self, registered: WebAgent, browser_of_user: Client) -> None:
        tokens = registered.tokens(browser_of_user, scope="calendar.read offline_access")
        registered.agent.scopes.clear()
        answer = registered.refresh(tokens["refresh_token"]).json()
        assert "calendar.read" not in answer.get("scope", "")


def test_a_page_shows_no_address_of_a_client_as_a_link(
    reply: dict[str, Any], registered: WebAgent, browser_of_user: Client
) -> None:
    said = {"client_uri": "https://evil.example/", "logo_uri": "https://evil.example/x.png"}
    manage("PUT", reply, sent_back(reply, **said, client_name="<img src=x onerror=alert(1)>"))
    page = go_to(browser_of_user, registered.url()).content.decode()
    assert "evil.example" not in page and "<img src=x" not in page
    assert not Grant.objects.exists()


class TestPrivateUseScheme:
    """An editor's redirect URI, with a scheme that has no dot."""

    URI = "cursor://anysphere.cursor-mcp/oauth/callback"

    @pytest.fixture
    def editor(self, agent: Caller, settings: Any) -> WebAgent:
        settings.REGISTRATION = "open"
        answer = register(body(redirect_uris=[self.URI], token_endpoint_auth_method="client_secret_basic")).json()
        assert (answer["application_type"], answer["token_endpoint_auth_method"]) == ("native", "none")
        return WebAgent(Agent.objects.get(client_id=answer["client_id"]), redirect_uri=self.URI)

    def test_its_codes_become_tokens(self, editor: WebAgent, browser_of_user: Client) -> None:
        assert editor.tokens(browser_of_user, scope="openid")["scope"] == "openid"

    def test_the_consent_page_names_the_scheme(self, editor: WebAgent, browser_of_user: Client) -> None:
        page = browser_of_user.get(editor.url(scope="openid"), follow=True)
        text = page.content.decode()
        assert "<strong>cursor:</strong>" in text and "Another app could open them too" in text
        assert "cursor://anysphere.cursor-mcp</dd>" in text
        assert "cursor://anysphere.cursor-mcp" in page["Content-Security-Policy"]

    def test_it_needs_pkce_and_the_exact_address(self, editor: WebAgent, browser_of_user: Client) -> None:
        refused = browser_of_user.get(editor.url(scope="openid", code_challenge=None, code_challenge_method=None))
        assert b"code_challenge" in refused.content and "Location" not in refused
        for other in (f"{self.URI}/x", self.URI.upper(), "cursor:/cb", "vscode://anysphere.cursor-mcp/oauth/callback"):
            assert browser_of_user.get(editor.url(redirect_uri=other)).status_code == 400

    def test_a_scheme_that_is_taken_off_the_list_stops_working(
        self, editor: WebAgent, browser_of_user: Client, settings: Any
    ) -> None:
        settings.REGISTRATION_PRIVATE_USE_SCHEMES = ["vscode"]
        assert browser_of_user.get(editor.url(scope="openid")).status_code == 400

    @pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
    def test_not_for_an_agent_that_authenticates(self, editor: WebAgent, method: str) -> None:
        """An administrator's too: such an agent may be exempt from PKCE."""
        editor.agent.full_clean()
        editor.agent.token_endpoint_auth_method = method
        with pytest.raises(ValidationError, match="neither the scheme https nor a private-use scheme"):
            editor.agent.full_clean()
