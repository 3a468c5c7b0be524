"""Revocation (RFC 7009), introspection by agents and signed (RFC 7662, 9701), userinfo, RP-initiated logout."""

import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jws
from joserfc.jwk import KeySet

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from oauth.grants.endpoints import REVOKERS
from oauth.models import Grant, RevokedToken
from tests.support.consent import WebAgent, claims_of, make_web_agent, query_of
from tests.support.world import FORM, PAYMENT, Caller, ResourceServer, post_form, sign_in

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"


@pytest.fixture
def tokens(web: WebAgent, browser_of_user: Client) -> dict[str, Any]:
    return web.tokens(browser_of_user)


def revoke(by: WebAgent, token: str, **more: str) -> Any:
    response = by.post("/oauth/revoke", {"token": token, **more})
    assert (response.status_code, response.content, response["Cache-Control"]) == (200, b"{}", "no-store")
    assert response["Content-Type"] == "application/json"
    return response


class TestRevocation:
    def test_of_a_refresh_token_ends_the_grant(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer
    ) -> None:
        revoke(web, tokens["refresh_token"])
        assert Grant.objects.get().revoked_at is not None
        assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        (event,) = Event.objects.filter(kind="grant.revoked")
        assert event.actor == f"agent:{web.agent.client_id}"

    def test_of_a_used_one_too(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        web.refresh(tokens["refresh_token"])
        revoke(web, tokens["refresh_token"])
        assert Grant.objects.get().revoked_at is not None

    def test_of_an_access_token_ends_that_token_alone(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer
    ) -> None:
        fresh = web.refresh(tokens["refresh_token"]).json()
        revoke(web, tokens["access_token"])
        revoke(web, tokens["access_token"])
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert bank.introspect(fresh["access_token"]).json()["active"]
        assert web.refresh(fresh["refresh_token"]).status_code == 200
        assert Event.objects.filter(kind="token.revoked").count() == 1
        assert RevokedToken.objects.get().expires_at.timestamp() == claims_of(tokens["access_token"])["exp"]

    def test_of_a_token_without_a_grant(self, agent: Caller, bank: ResourceServer) -> None:
        token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        assert bank.introspect(token).json()["active"]
        assert agent.post("/oauth/revoke", token=token).status_code == 200
        assert bank.introspect(token).json() == {"active": False}

    def test_it_spends_no_use_afterwards(self, agent: Caller, user: User, bank: ResourceServer) -> None:
        sent = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        browser = sign_in(user)
        (prompt,) = browser.get("/v1/prompts").json()["prompts"]
        browser.post(f"/v1/prompts/{prompt['id']}/approve")
        token = agent.poll(sent).json()["access_token"]
        digest = bank.digest(PAYMENT, agent.agent.client_id, str(user.id))
        agent.post("/oauth/revoke", token=token)
        response = bank.use(token, digest)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_token")
        assert Grant.objects.get().uses_left == 1

    def test_a_hint_is_only_a_hint(self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer) -> None:
        revoke(web, tokens["access_token"], token_type_hint="refresh_token")
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        revoke(web, tokens["refresh_token"], token_type_hint="nobody knows")
        assert Grant.objects.get().revoked_at is not None

    def test_a_stranger_changes_nothing_and_sees_no_difference(
        self, web: WebAgent, tokens: dict[str, Any], public: WebAgent, bank: ResourceServer
    ) -> None:
        for thief in (make_web_agent("Other"), public):
            for token in (tokens["access_token"], tokens["refresh_token"], "x" * 43, "a.b.c", tokens["id_token"]):
                revoke(thief, token)
        assert bank.introspect(tokens["access_token"]).json()["active"]
        assert web.refresh(tokens["refresh_token"]).status_code == 200

    def test_an_id_token_revokes_nothing(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        revoke(web, tokens["id_token"])
        assert not RevokedToken.objects.exists() and Grant.objects.get().revoked_at is None

    def test_a_public_client_by_its_name(self, public: WebAgent, browser_of_user: Client) -> None:
        tokens = public.tokens(browser_of_user)
        revoke(public, tokens["refresh_token"])
        assert Grant.objects.get().revoked_at is not None

    def test_who_and_how(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        assert post_form(Client(), "/oauth/revoke", {"token": tokens["refresh_token"]}).status_code == 401
        named = {"token": tokens["refresh_token"], "client_id": web.agent.client_id}
        assert post_form(Client(), "/oauth/revoke", named).status_code == 401, "not a public client"
        assert web.post("/oauth/revoke", {}).json()["error"] == "invalid_request"
        assert Client().get("/oauth/revoke").status_code == 405
        assert Grant.objects.get().revoked_at is None

    def test_upper_packages_add_their_kinds(self, web: WebAgent, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        monkeypatch.setitem(REVOKERS, "theirs", lambda agent, token, now: bool(seen.append(token)) or True)
        revoke(web, "one of theirs")
        assert seen == ["one of theirs"]

    def test_without_its_event_it_goes_on(
        self, web: WebAgent, tokens: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Revoking is never blocked: the event is set aside."""
        monkeypatch.setattr("audit.record.SCHEMA_VERSION", 2**20)  # no smallint: PostgreSQL refuses the row
        revoke(web, tokens["refresh_token"])
        assert Grant.objects.get().revoked_at is not None


class TestIntrospectionByAgents:
    def ask(self, by: WebAgent, token: str) -> Any:
        response = by.post("/oauth/introspect", {"token": token})
        assert response.status_code == 200, response.content
        return response.json()

    def test_of_its_own_tokens(self, web: WebAgent, tokens: dict[str, Any], user: User) -> None:
        reply = self.ask(web, tokens["access_token"])
        assert reply["active"] and reply["sub"] == str(user.id) and reply["scope"] == "openid calendar.read"
        reply = self.ask(web, tokens["refresh_token"])
        assert reply["active"] and reply["client_id"] == web.agent.client_id and reply["sub"] == str(user.id)
        assert reply.keys() == {"active", "iss", "client_id", "sub", "scope", "iat", "exp"}

    def test_of_others(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        other = make_web_agent("Other")
        for token in (tokens["access_token"], tokens["refresh_token"], tokens["id_token"], "x", ""):
            if token:
                assert self.ask(other, token) == {"active": False}
        assert self.ask(web, tokens["id_token"]) == {"active": False}

    def test_of_what_has_ended(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        fresh = web.refresh(tokens["refresh_token"]).json()
        assert self.ask(web, tokens["refresh_token"]) == {"active": False}, "used"
        revoke(web, fresh["refresh_token"])
        for token in (fresh["access_token"], fresh["refresh_token"]):
            assert self.ask(web, token) == {"active": False}

    def test_asking_uses_nothing_up(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        self.ask(web, tokens["refresh_token"])
        assert web.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_public_client_has_no_proof(self, public: WebAgent, browser_of_user: Client) -> None:
        token = public.tokens(browser_of_user)["access_token"]
        for more in ({}, {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}):
            response = public.post("/oauth/introspect", {"token": token, **more})
            assert (response.status_code, response.json()["error"]) == (401, "invalid_client")

    def test_never_by_get(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        assert Client().get(f"/oauth/introspect?token={tokens['access_token']}").status_code == 405


class TestSignedAnswers:
    """RFC 9701."""

    def signed(self, response: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        assert response["Content-Type"] == "application/token-introspection+jwt"
        assert response["Cache-Control"] == "no-store"
        keys = KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())
        token = jws.deserialize_compact(response.content.decode(), keys, algorithms=["ES256"])
        return dict(token.headers()), json.loads(token.payload)

    def test_for_a_resource_and_for_an_agent(self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer) -> None:
        accept = "application/token-introspection+jwt"
        form = {"token": tokens["access_token"]}
        answers = {
            bank.resource.identifier: post_form(
                Client(), "/oauth/introspect", form, Authorization=bank.authorization, Accept=accept
            ),
            web.agent.client_id: post_form(Client(), "/oauth/introspect", {**form, **self.proof(web)}, Accept=accept),
        }
        for reader, response in answers.items():
            header, claims = self.signed(response)
            assert header["typ"] == "token-introspection+jwt" and header["alg"] == "ES256"
            assert claims.keys() == {"iss", "aud", "iat", "token_introspection"}
            assert (claims["iss"], claims["aud"]) == (ISSUER, reader)
            assert claims["token_introspection"]["active"] is True

    def proof(self, web: WebAgent) -> dict[str, str]:
        assert web.caller is not None
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": web.caller.assertion(),
        }

    def test_inactive_too(self, bank: ResourceServer, signing: None) -> None:
        response = post_form(
            Client(), "/oauth/introspect", {"token": "x"}, Authorization=bank.authorization,
            Accept="application/token-introspection+jwt",
        )  # fmt: skip
        assert self.signed(response)[1]["token_introspection"] == {"active": False}

    def test_it_is_no_access_token(self, tokens: dict[str, Any], bank: ResourceServer) -> None:
        signed = post_form(
            Client(), "/oauth/introspect", {"token": tokens["access_token"]}, Authorization=bank.authorization,
            Accept="application/token-introspection+jwt",
        ).content.decode()  # fmt: skip
        assert bank.introspect(signed).json() == {"active": False}


class TestUserinfo:
    def call(self, token: str, method: str = "get", **more: Any) -> Any:
        return getattr(Client(), method)("/userinfo", headers={"Authorization": f"Bearer {token}"}, **more)

    @pytest.fixture
    def token(self, web: WebAgent, browser_of_user: Client) -> str:
        return str(web.tokens(browser_of_user, scope="openid profile email")["access_token"])

    def test_by_both_methods(self, token: str, user: User) -> None:
        for method in ("get", "post"):
            response = self.call(token, method)
            assert response.json() == {"sub": str(user.id), "name": "Pat Person", "email": "person@example.com"}
            assert response["Cache-Control"] == "no-store"

    def test_what_was_not_granted_is_not_revealed(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        token = web.tokens(browser_of_user, scope="openid")["access_token"]
        assert self.call(token).json() == {"sub": str(user.id)}

    def test_openid_is_needed(self, web: WebAgent, browser_of_user: Client) -> None:
        response = self.call(web.tokens(browser_of_user, scope="email")["access_token"])
        assert response.status_code == 403 and response.json()["error"] == "insufficient_scope"
        assert response["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="openid"'

    def test_only_in_the_header(self, token: str) -> None:
        assert Client().get(f"/userinfo?access_token={token}").status_code == 400
        response = Client().post("/userinfo", urlencode({"access_token": token}), content_type=FORM)
        assert response.status_code == 401 and "error" not in response["WWW-Authenticate"]
        assert Client().get("/userinfo").status_code == 401

    def test_it_ends_with_all_that_it_belongs_to(
        self, token: str, web: WebAgent, user: User, administrator: User
    ) -> None:
        revoke(web, token)
        assert self.call(token).status_code == 401
        RevokedToken.objects.all().delete()
        assert self.call(token).status_code == 200
        users.disable(user, administrator, timezone.now())
        assert self.call(token).status_code == 401

    def test_the_approvals_token_works_too(self, agent: Caller, user: User) -> None:
        sent = agent.ask(user).json()["auth_req_id"]
        browser = sign_in(user)
        (prompt,) = browser.get("/v1/prompts").json()["prompts"]
        browser.post(f"/v1/prompts/{prompt['id']}/approve")
        assert self.call(agent.poll(sent).json()["access_token"]).json()["sub"] == str(user.id)


BYE = "https://app.example.com/bye"


class TestLogout:
    @pytest.fixture
    def web(self, bank: ResourceServer, signing: None) -> WebAgent:
        return make_web_agent("Web agent", post_logout_redirect_uris=BYE)

    def is_signed_in(self, browser: Client) -> bool:
        return browser.get("/").status_code == 200

    def ask(self, browser: Client, **parameters: str) -> Any:
        return browser.get(f"/oidc/logout?{urlencode(parameters)}")

    def confirm(self, browser: Client, page: Any) -> Any:
        stored = page.content.decode().split('name="request" value="')[1].split('"')[0]
        return browser.post("/oidc/logout/confirm", {"request": stored})

    def test_with_the_users_id_token(self, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client) -> None:
        response = self.ask(
            browser_of_user, id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE, state="a b&c"
        )
        assert response.status_code == 303 and response["Location"].startswith(f"{BYE}?")
        assert query_of(response["Location"]) == {"state": "a b&c"}
        assert not self.is_signed_in(browser_of_user)
        assert Event.objects.filter(kind="user.signed_out").count() == 1

    def test_without_one_the_user_is_asked(self, web: WebAgent, browser_of_user: Client) -> None:
        page = self.ask(browser_of_user, client_id=web.agent.client_id, post_logout_redirect_uri=BYE)
        assert page.status_code == 200 and self.is_signed_in(browser_of_user)
        assert "form-action 'self' https://app.example.com" in page["Content-Security-Policy"]
        response = self.confirm(browser_of_user, page)
        assert response["Location"] == BYE and not self.is_signed_in(browser_of_user)

    def test_somebody_elses_id_token_asks_too(self, web: WebAgent, tokens: dict[str, Any], stranger: User) -> None:
        browser = sign_in(stranger)
        assert self.ask(browser, id_token_hint=tokens["id_token"]).status_code == 200
        assert self.is_signed_in(browser)

    def test_another_site_cannot_confirm(self, web: WebAgent, user: User) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        page = self.ask(strict, client_id=web.agent.client_id)
        assert self.confirm(strict, page).status_code == 403
        assert self.is_signed_in(strict)

    def test_what_is_confirmed_cannot_be_changed(self, browser_of_user: Client, web: WebAgent) -> None:
        for stored in ("", "x", "x:y:z"):
            assert browser_of_user.post("/oidc/logout/confirm", {"request": stored}).status_code == 400
        assert self.is_signed_in(browser_of_user)

    @pytest.mark.parametrize(
        "uri",
        ["https://evil.example.com/", f"{BYE}/", f"{BYE}?x=y", "https://app.example.com/callback", "javascript:x"],
    )
    def test_only_to_a_registered_address(
        self, uri: str, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client
    ) -> None:
        for more in ({"id_token_hint": tokens["id_token"]}, {"client_id": web.agent.client_id}, {}):
            response = self.ask(browser_of_user, post_logout_redirect_uri=uri, **more)
            assert response.status_code == 400 and "Location" not in response
        assert self.is_signed_in(browser_of_user)

    @pytest.mark.parametrize(
        ("uri", "registered", "is_taken"),
        [
            ("vscode://x.y/bye", "vscode://x.y/bye", True),
            ("cursor://x.y/bye", "cursor://x.y/bye", False),  # the setting has it no longer
            ("http://127.0.0.1:51004/bye", "http://127.0.0.1/bye", True),
            ("http://127.0.0.1:51004", "http://127.0.0.1:3000/", True),
            ("http://127.0.0.1:51004/other", "http://127.0.0.1/bye", False),
            ("http://localhost:51004/bye", "http://127.0.0.1/bye", False),
        ],
    )
    def test_addresses_of_a_native_app(self, uri: str, registered: str, is_taken: bool, settings: Any) -> None:
        settings.REGISTRATION_PRIVATE_USE_SCHEMES = ["vscode", "cursor"]
        editor = make_web_agent("Editor", method="none", post_logout_redirect_uris=registered)
        settings.REGISTRATION_PRIVATE_USE_SCHEMES = ["vscode"]
        response = self.ask(Client(), client_id=editor.agent.client_id, post_logout_redirect_uri=uri)
        assert response.status_code == (200 if is_taken else 400)

    def test_a_repeated_wish_for_a_language_breaks_nothing(self, web: WebAgent) -> None:
        assert Client().get("/oidc/logout?ui_locales=de&ui_locales=fr").status_code == 200

    def test_agent_and_id_token_must_agree(
        self, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client
    ) -> None:
        other = make_web_agent("Other", post_logout_redirect_uris=BYE)
        response = self.ask(browser_of_user, id_token_hint=tokens["id_token"], client_id=other.agent.client_id)
        assert response.status_code == 400 and self.is_signed_in(browser_of_user)

    def test_with_nobody_signed_in(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        response = self.ask(Client(), id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE)
        assert response["Location"] == BYE
        response = self.ask(Client(), client_id=web.agent.client_id, post_logout_redirect_uri=BYE)
        assert response.status_code == 200 and "http-equiv" not in response.content.decode(), "nobody vouched for it"
        assert self.ask(Client()).status_code == 200

    def test_by_post(self, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client) -> None:
        body = urlencode({"id_token_hint": tokens["id_token"]})
        response = browser_of_user.post("/oidc/logout", body, content_type=FORM)
        assert response.status_code == 303 and response["Location"].startswith("/oidc/logout?")
        assert browser_of_user.get(response["Location"]).status_code == 200
        assert not self.is_signed_in(browser_of_user)

    def test_tokens_go_on(self, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client) -> None:
        self.ask(browser_of_user, id_token_hint=tokens["id_token"])
        assert web.refresh(tokens["refresh_token"]).status_code == 200


def test_an_agent_with_a_uuid_for_its_name_is_not_mistaken(bank: ResourceServer, signing: None) -> None:
    """A Basic user name that is a UUID is a resource's, and nobody else's secret opens it."""
    header = "Basic " + b64encode(f"{bank.resource.id}:x".encode()).decode()
    assert post_form(Client(), "/oauth/introspect", {"token": "x"}, Authorization=header).status_code == 401
