"""The authorization-code flow end to end: consent, code, tokens, refresh (RFC 6749 4.1 and 6, RFC 9207)."""

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Event
from clients.models import AgentLink
from oauth.models import AuthorizationCode, Grant, RefreshToken
from tests.support.consent import WebAgent, allow, answer, claims_of, form_of, go_to, query_of
from tests.support.world import ResourceServer

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"


class TestFromConsentToTokens:
    def test_the_whole_way(self, web: WebAgent, browser_of_user: Client, user: User, bank: ResourceServer) -> None:
        sent_to = allow(browser_of_user, web.url())
        assert sent_to.startswith("https://app.example.com/callback?")
        response = query_of(sent_to)
        assert response.keys() == {"code", "state", "iss"}
        assert response["state"] == web.state and response["iss"] == ISSUER

        body = web.exchange(response["code"]).json()
        assert body.keys() == {
            "access_token", "token_type", "expires_in", "scope", "id_token", "refresh_token",
        }  # fmt: skip
        assert body["scope"] == "openid calendar.read"
        claims = claims_of(body["access_token"])
        assert claims["aud"] == bank.resource.identifier and claims["sub"] == str(user.id)
        assert claims["act"] == {"sub": web.agent.client_id}
        reply = claims_of(body["id_token"])
        assert reply["nonce"] == "the nonce" and reply["aud"] == web.agent.client_id and reply["acr"] == "session"
        assert bank.introspect(body["access_token"]).json()["active"]

        again = web.refresh(body["refresh_token"]).json()
        assert again["refresh_token"] != body["refresh_token"]
        assert again["scope"] == "openid calendar.read"
        assert "nonce" not in claims_of(again["id_token"])
        assert claims_of(again["id_token"])["auth_time"] == reply["auth_time"]
        assert web.refresh(again["refresh_token"]).status_code == 200

    def test_the_same_for_a_public_client(self, public: WebAgent, browser_of_user: Client) -> None:
        body = public.tokens(browser_of_user)
        assert public.refresh(body["refresh_token"]).status_code == 200

    def test_handles_are_stored_as_digests(self, web: WebAgent, browser_of_user: Client) -> None:
        code = query_of(allow(browser_of_user, web.url()))["code"]
        refresh_token = web.exchange(code).json()["refresh_token"]
        stored = str([list(model.objects.values()) for model in (AuthorizationCode, RefreshToken, Grant, Event)])
        assert code not in stored and refresh_token not in stored

    def test_the_user_is_linked_and_notified(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        web.tokens(browser_of_user)
        assert AgentLink.objects.get(agent=web.agent, user=user).is_linked
        page = browser_of_user.get("/activity").content.decode()
        assert "You gave an agent access" in page and "Read your calendar" in page

    def test_denied(self, web: WebAgent, browser_of_user: Client) -> None:
        response = answer(browser_of_user, go_to(browser_of_user, web.url()), "deny")
        assert query_of(response["Location"]) == {
            "error": "access_denied", "error_description": "the user denied the request", "state": web.state,
            "iss": ISSUER,
        }  # fmt: skip
        assert not Grant.objects.exists()
        assert Event.objects.filter(kind="grant.declined").count() == 1

    def test_what_is_unticked_is_not_granted(self, web: WebAgent, browser_of_user: Client) -> None:
        url = web.url(scope="openid profile email calendar.read offline_access")
        page = go_to(browser_of_user, url)
        assert form_of(page) == {"scope": ["profile", "email", "calendar.read"], "offline_access": "yes"}
        sent_to = answer(browser_of_user, page, "allow", scope=["email"], offline_access="no")["Location"]
        body = web.exchange(query_of(sent_to)["code"]).json()
        assert body["scope"] == "openid email" and "refresh_token" not in body
        assert claims_of(body["access_token"])["aud"] == f"{ISSUER}/userinfo"
