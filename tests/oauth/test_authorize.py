"""GET and POST /authorize: what is honoured, what is refused and how, and what the consent page can change."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts import sessions
from accounts.models import User
from ciba.lifecycle import stop_agent
from clients import lifecycle as agents
from clients.models import AgentLink
from oauth.grants import lifecycle
from oauth.models import AuthorizationRequest, Grant
from operations.models import Resource, Scope
from tests.support.consent import CALLBACK, WebAgent, allow, answer, form_of, go_to, make_web_agent, query_of
from tests.support.world import FORM, ResourceServer, make_caller, sign_in

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def error_of(response: Any, web: WebAgent) -> str:
    """The error that the browser carries back; everything else about the answer is checked here."""
    assert response.status_code == 303, response.content[-800:]
    assert response["Location"].startswith(f"{CALLBACK}?")
    assert "no-store" in response["Cache-Control"] and response["Referrer-Policy"] == "no-referrer"
    reply = query_of(response["Location"])
    assert reply["iss"] == ISSUER, "RFC 9207 2: in error responses too"
    assert reply["state"] == web.state
    assert "code" not in reply
    return reply["error"]


def age_sign_in(browser: Client, seconds: float) -> None:
    """As if the user had signed in so long ago."""
    session = browser.session
    session[sessions.SIGNED_IN_AT] = timezone.now().timestamp() - seconds
    session.save()


REFUSED: list[tuple[str, dict[str, str | None], str]] = [
    ("no response_type", {"response_type": None}, "invalid_request"),
    ("the implicit grant", {"response_type": "token"}, "unsupported_response_type"),
    ("a hybrid flow", {"response_type": "code id_token"}, "unsupported_response_type"),
    ("response_mode=form_post", {"response_mode": "form_post"}, "invalid_request"),
    ("response_mode=fragment", {"response_mode": "fragment"}, "invalid_request"),
    ("no PKCE", {"code_challenge": None}, "invalid_request"),
    ("PKCE by plain", {"code_challenge_method": "plain"}, "invalid_request"),
    ("PKCE without a method, which means plain", {"code_challenge_method": None}, "invalid_request"),
    ("a challenge that S256 does not make", {"code_challenge": "short"}, "invalid_request"),
    ("a request object", {"request": "e30."}, "request_not_supported"),
    ("a request_uri", {"request_uri": "https://app.example.com/r"}, "request_uri_not_supported"),
    ("the registration parameter", {"registration": "{}"}, "registration_not_supported"),
    ("authorization_details", {"authorization_details": '[{"type":"payment"}]'}, "invalid_request"),
    ("an unknown prompt", {"prompt": "create"}, "invalid_request"),
    ("prompt=none with another", {"prompt": "none login"}, "invalid_request"),
    ("a negative max_age", {"max_age": "-1"}, "invalid_request"),
    ("a max_age that is no number", {"max_age": "soon"}, "invalid_request"),
    ("claims that are no JSON", {"claims": "{"}, "invalid_request"),
    ("claims that are no object", {"claims": "[]"}, "invalid_request"),
    ("a claim that is neither null nor an object", {"claims": '{"id_token":{"acr":1}}'}, "invalid_request"),
    ("an essential acr that nobody can give", {"claims": json.dumps({"id_token": {"acr": {"essential": True,
      "values": ["urn:example:retina"]}}})}, "unmet_authentication_requirements"),
    ("an id_token_hint that is not ours", {"id_token_hint": "a.b.c"}, "invalid_request"),
    ("an unknown scope", {"scope": "calendar.read nobody.knows"}, "invalid_scope"),
    ("only what cannot be granted here", {"scope": "accounts.close"}, "invalid_scope"),
    ("another resource", {"resource": "https://other.example.com/"}, "invalid_target"),
    ("a nonce of 256 characters", {"nonce": "n" * 256}, "invalid_request"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_to_the_agent(
    changed: dict[str, str | None], code: str, web: WebAgent, browser_of_user: Client
) -> None:
    assert error_of(browser_of_user.get(web.url(**changed)), web) == code
    assert not AuthorizationRequest.objects.exists()


NOT_SENT_ANYWHERE: list[tuple[str, dict[str, str | None]]] = [
    ("no client_id", {"client_id": None}),
    ("an unknown agent", {"client_id": "nobody"}),
    ("no redirect_uri", {"redirect_uri": None}),
    ("another host", {"redirect_uri": "https://evil.example.com/callback"}),
    ("a longer path", {"redirect_uri": f"{CALLBACK}/more"}),
    ("a query that was not registered", {"redirect_uri": f"{CALLBACK}?x=y"}),
    ("another port", {"redirect_uri": "https://app.example.com:8443/callback"}),
    ("http in place of https", {"redirect_uri": "http://app.example.com/callback"}),
    ("another case of the host", {"redirect_uri": "https://APP.example.com/callback"}),
    ("dot segments", {"redirect_uri": "https://app.example.com/x/../callback"}),
    ("a user name that looks like the host", {"redirect_uri": "https://app.example.com@evil.example.com/callback"}),
    ("a backslash", {"redirect_uri": "https://app.example.com\\@evil.example.com/callback"}),
    ("a fragment", {"redirect_uri": f"{CALLBACK}#x"}),
    ("a line break", {"redirect_uri": f"{CALLBACK}\r\nSet-Cookie: a=b"}),
    ("javascript:", {"redirect_uri": "javascript:alert(1)"}),
    ("data:", {"redirect_uri": "data:text/html,x"}),
    ("a prefix of the registered one", {"redirect_uri": "https://app.example.com"}),
]


@pytest.mark.parametrize(
    "changed", [case[1] for case in NOT_SENT_ANYWHERE], ids=[case[0] for case in NOT_SENT_ANYWHERE]
)
@pytest.mark.parametrize("more", [{}, {"prompt": "none"}, {"response_type": "x"}], ids=["plain", "silent", "wrong"])
def test_no_open_redirect(
    changed: dict[str, str | None], more: dict[str, str], web: WebAgent, browser_of_user: Client
) -> None:
    """RFC 6749 4.1.2.1: where agent or redirect URI are wrong, the user is told and the browser stays."""
    response = browser_of_user.get(web.url(**changed, **more))
    assert response.status_code == 400 and "Location" not in response
    assert b"This link does not work" in response.content
    assert "evil" not in response.content.decode()


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state"])
def test_what_is_sent_twice_is_sent_nowhere(name: str, web: WebAgent, browser_of_user: Client) -> None:
    for doubled in (f"{web.url()}&{name}=x", f"{web.url(**{name: 'x'})}&{urlencode({name: web.parameters()[name]})}"):
        assert browser_of_user.get(doubled).status_code == 400


def test_other_repeated_parameters_are_an_error(web: WebAgent, browser_of_user: Client) -> None:
    assert error_of(browser_of_user.get(f"{web.url()}&scope=openid"), web) == "invalid_request"


@pytest.mark.parametrize(
    "more",
    [
        "&foo=bar&display=wap&ui_locales=fr&claims_locales=de",
        "&display=hologram&ui_locales=xx-yy%20%20zz&claims_locales=%F0%9F%98%80&acr_values=x%20%20y",
        "&display=page&display=page&ui_locales=de&ui_locales=fr&claims_locales=de&claims_locales=",
        "&acr_values=urn:mace:incommon:iap:silver", "&acr_values=0&claims=%7B%22id_token%22:%7B%22acr%22:null%7D%7D",
        "&ui_locales=&display=&acr_values=%20",
    ],
)  # fmt: skip
def test_hints_and_wishes_never_break_a_request(web: WebAgent, browser_of_user: Client, more: str) -> None:
    """OpenID Connect Core 3.1.2.1: display, ui_locales, claims_locales, and acr_values, which is voluntary."""
    assert "/consents/" in browser_of_user.get(web.url() + more)["Location"]


def test_a_suspended_agent_and_one_without_the_grant_type(
    web: WebAgent, browser_of_user: Client, administrator: User
) -> None:
    web.agent.grant_types = ["client_credentials"]
    web.agent.save()
    assert error_of(browser_of_user.get(web.url()), web) == "unauthorized_client"
    agents.suspend(web.agent, administrator, timezone.now())
    assert browser_of_user.get(web.url()).status_code == 400


class TestLoopback:
    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
    def test_the_port_is_free(self, host: str, bank: ResourceServer, signing: None, browser_of_user: Client) -> None:
        web = make_web_agent("Native", method="none", redirect_uris=f"http://{host}:1234/cb?x=1 http://{host}/other")
        for port in ("", ":80", ":61000"):
            web.redirect_uri = f"http://{host}{port}/cb?x=1"
            response = answer(browser_of_user, go_to(browser_of_user, web.url()), "allow")
            sent_to = response.get("Location") or unescape(response.content.decode().split("0;url=")[1].split('"')[0])
            assert sent_to.startswith(f"http://{host}{port}/cb?x=1&code=")
            assert web.exchange(query_of(sent_to)["code"]).status_code == 200

    @pytest.mark.parametrize(
        "other",
        ["http://127.0.0.1:1/other", "http://127.0.0.1:1/cb?x=2", "http://localhost:1/cb", "http://127.0.0.2:1/cb",
         "https://127.0.0.1:1/cb", "http://127.0.0.1:99999999/cb", "http://127.0.0.1:1@evil.example.com/cb"],
    )  # fmt: skip
    def test_and_nothing_else(self, other: str, bank: ResourceServer, signing: None, browser_of_user: Client) -> None:
        web = make_web_agent("Native", method="none", redirect_uris="http://127.0.0.1/cb")
        assert browser_of_user.get(web.url(redirect_uri=other)).status_code == 400


class TestSigningIn:
    def test_a_stranger_signs_in_first_and_comes_back(self, web: WebAgent, user: User) -> None:
        browser = sign_in(user)
        browser.logout()
        response = browser.get(web.url(login_hint="person@example.com"))
        assert response.status_code == 302 and response["Location"].startswith("/login?")
        reply = query_of(response["Location"])
        assert b'value="person@example.com"' in browser.get(response["Location"]).content
        back = browser.post("/login", {"email": user.email, "password": "correct horse battery staple",
                                       "next": reply["next"]})  # fmt: skip
        assert back["Location"] == reply["next"]
        assert browser.get(back["Location"])["Location"].startswith("/consents/")

    def test_what_leads_back_cannot_be_changed(self, web: WebAgent, user: User) -> None:
        path = query_of(Client().get(web.url())["Location"])["next"]
        browser = sign_in(user)
        assert browser.get(path).status_code == 302
        tampered = path.replace("request=", "request=x", 1)
        response = browser.get(tampered)
        assert response.status_code == 400 and "Location" not in response

    def test_prompt_login_needs_a_sign_in_after_the_request(self, web: WebAgent, user: User) -> None:
        for prompt in ("login", "select_account"):
            browser = sign_in(user)
            response = browser.get(web.url(prompt=prompt))
            assert response["Location"].startswith("/login?")
            path = query_of(response["Location"])["next"]
            assert browser.get(path)["Location"].startswith("/login?"), "not signed in again: asked again"
            browser.post("/login", {"email": user.email, "password": "correct horse battery staple"})
            assert browser.get(path)["Location"].startswith("/consents/")

    def test_max_age(self, web: WebAgent, browser_of_user: Client) -> None:
        age_sign_in(browser_of_user, 120)
        assert browser_of_user.get(web.url(max_age="100"))["Location"].startswith("/login?")
        assert browser_of_user.get(web.url(max_age="0"))["Location"].startswith("/login?")
        assert browser_of_user.get(web.url(max_age="300"))["Location"].startswith("/consents/")
        assert error_of(browser_of_user.get(web.url(max_age="100", prompt="none")), web) == "login_required"

    def test_consenting_needs_a_recent_sign_in(self, web: WebAgent, browser_of_user: Client) -> None:
        age_sign_in(browser_of_user, 3600)
        assert browser_of_user.get(web.url())["Location"].startswith("/login?")

    def test_a_wanted_acr_needs_one_too(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        age_sign_in(browser_of_user, 3600)
        assert "code" in query_of(browser_of_user.get(web.url())["Location"]), "remembered"
        for wish in (
            {"acr_values": "phr session"},
            {"claims": json.dumps({"id_token": {"acr": {"essential": True, "value": "session"}}})},
        ):
            assert browser_of_user.get(web.url(**wish))["Location"].startswith("/login?")
        assert "code" in query_of(browser_of_user.get(web.url(acr_values="phr"))["Location"]), "a wish, not met"

    def test_the_acr_says_what_was(self, web: WebAgent, browser_of_user: Client) -> None:
        from tests.support.consent import claims_of

        assert claims_of(web.tokens(browser_of_user)["id_token"])["acr"] == "session"
        age_sign_in(browser_of_user, 3600)
        code = query_of(browser_of_user.get(web.url())["Location"])["code"]
        assert "acr" not in claims_of(web.exchange(code).json()["id_token"])


class TestWhoIsWanted:
    def hint(self, web: WebAgent, browser: Client) -> str:
        return str(web.tokens(browser)["id_token"])

    def test_the_same_user(self, web: WebAgent, browser_of_user: Client) -> None:
        hint = self.hint(web, browser_of_user)
        assert "code" in query_of(browser_of_user.get(web.url(id_token_hint=hint, prompt="none"))["Location"])

    def test_somebody_else_is_signed_in(self, web: WebAgent, browser_of_user: Client, stranger: User) -> None:
        hint = self.hint(web, browser_of_user)
        other = sign_in(stranger)
        assert error_of(other.get(web.url(id_token_hint=hint, prompt="none")), web) == "login_required"
        path = query_of(other.get(web.url(id_token_hint=hint))["Location"])["next"]
        other.post("/login", {"email": stranger.email, "password": "correct horse battery staple"})
        page = other.get(path)  # signed in anew, and still somebody else
        assert b"error=login_required" in page.content

    def test_a_sub_in_claims_counts_the_same(self, web: WebAgent, browser_of_user: Client, stranger: User) -> None:
        claims = json.dumps({"id_token": {"sub": {"value": str(stranger.id)}}})
        assert error_of(browser_of_user.get(web.url(claims=claims, prompt="none")), web) == "login_required"
        assert browser_of_user.get(web.url(claims=claims))["Location"].startswith("/login?")

    def test_another_agents_id_token_is_no_hint(self, web: WebAgent, browser_of_user: Client) -> None:
        hint = self.hint(make_web_agent("Other"), browser_of_user)
        assert error_of(browser_of_user.get(web.url(id_token_hint=hint)), web) == "invalid_request"


class TestMemory:
    def test_the_same_scopes_are_not_asked_again(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        first = Grant.objects.get()
        for scope in ("openid calendar.read", "calendar.read"):
            reply = query_of(browser_of_user.get(web.url(scope=scope))["Location"])
            assert web.exchange(reply["code"]).json()["scope"] == scope
        assert set(Grant.objects.values_list("expires_at")) == {(first.expires_at,)}, "memory is never prolonged"
        assert set(Grant.objects.values_list("consented_at")) == {(first.consented_at,)}

    def test_more_scopes_are(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        go_to(browser_of_user, web.url(scope="openid email calendar.read"))
        url = web.url(scope="openid email calendar.read", prompt="none")
        assert error_of(browser_of_user.get(url), web) == "consent_required"

    def test_prompt_consent_asks(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        go_to(browser_of_user, web.url(prompt="consent"))

    def test_silently(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        assert error_of(Client().get(web.url(prompt="none")), web) == "login_required"
        assert error_of(browser_of_user.get(web.url(prompt="none")), web) == "consent_required"
        web.tokens(browser_of_user)
        assert "code" in query_of(browser_of_user.get(web.url(prompt="none"))["Location"])

    def test_ending_the_grant_ends_the_consent(self, web: WebAgent, browser_of_user: Client) -> None:
        tokens = web.tokens(browser_of_user)
        web.post("/oauth/revoke", {"token": tokens["refresh_token"]})
        go_to(browser_of_user, web.url())

    def test_it_ends_by_itself(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        Grant.objects.update(expires_at=timezone.now())
        go_to(browser_of_user, web.url())

    def test_another_user_is_asked(self, web: WebAgent, browser_of_user: Client, stranger: User) -> None:
        web.tokens(browser_of_user)
        go_to(sign_in(stranger), web.url())

    def test_another_agent_is_asked(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        go_to(browser_of_user, make_web_agent("Other").url())

    def test_what_was_unticked_is_not_remembered(self, web: WebAgent, browser_of_user: Client) -> None:
        answer(browser_of_user, go_to(browser_of_user, web.url()), "allow", scope=[])
        go_to(browser_of_user, web.url())
        reply = query_of(browser_of_user.get(web.url(scope="openid"))["Location"])
        assert web.exchange(reply["code"]).json()["scope"] == "openid"

    def test_staying_is_not_remembered_where_it_was_unticked(self, web: WebAgent, browser_of_user: Client) -> None:
        answer(browser_of_user, go_to(browser_of_user, web.url()), "allow", offline_access="no")
        code = query_of(browser_of_user.get(web.url())["Location"])["code"]
        assert "refresh_token" not in web.exchange(code).json()
        go_to(browser_of_user, web.url(scope="openid calendar.read offline_access"))

    def test_never_for_a_public_client_on_the_users_machine(
        self, bank: ResourceServer, signing: None, browser_of_user: Client
    ) -> None:
        """RFC 8252 8.6: any program there can claim to be it."""
        native = make_web_agent("Native", method="none", redirect_uris="http://127.0.0.1/cb com.example.app:/cb")
        for uri in native.agent.redirect_uris.split():
            native.redirect_uri = uri
            native.tokens(browser_of_user)
            go_to(browser_of_user, native.url())
        hosted = make_web_agent("Hosted", method="none")
        hosted.tokens(browser_of_user)
        assert "code" in query_of(browser_of_user.get(hosted.url())["Location"])

    def test_an_earlier_scope_that_became_critical_is_not_granted(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user)
        Scope.objects.filter(name="calendar.read").update(risk="critical")
        reply = query_of(browser_of_user.get(web.url())["Location"])
        assert web.exchange(reply["code"]).json()["scope"] == "openid"


class TestTheAnswer:
    """Nothing on the page can widen what was asked; only this user, in this session, once, in time."""

    def test_more_scopes_than_asked_change_nothing(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url(scope="openid calendar.read accounts.close"))
        wider = ["calendar.read", "accounts.close", "email", "profile", "offline_access", "x"]
        sent_to = answer(
            browser_of_user, page, "allow", scope=wider, redirect_uri="https://evil.example.com/",
            client_id="x", state="y", code_challenge="z", resource="https://other.example.com/", response_type="token",
        )["Location"]  # fmt: skip
        reply = query_of(sent_to)
        assert sent_to.startswith(f"{CALLBACK}?") and reply["state"] == web.state
        assert web.exchange(reply["code"]).json()["scope"] == "openid calendar.read"
        assert Grant.objects.get().scopes == ["openid", "calendar.read"]

    def test_staying_cannot_be_added(self, bank: ResourceServer, signing: None, browser_of_user: Client) -> None:
        web = make_web_agent("Short", grant_types=["authorization_code"])
        page = go_to(browser_of_user, web.url())
        assert "offline_access" not in form_of(page)
        sent_to = answer(browser_of_user, page, "allow", offline_access="yes")["Location"]
        assert "refresh_token" not in web.exchange(query_of(sent_to)["code"]).json()

    def test_nothing_ticked_is_a_no(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url(scope="calendar.read"))
        assert error_of(answer(browser_of_user, page, "allow", scope=[]), web) == "access_denied"
        assert not Grant.objects.exists()

    def test_once(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        assert answer(browser_of_user, page, "allow").status_code == 303
        for choice in ("allow", "deny"):
            assert answer(browser_of_user, page, choice).status_code == 404
        assert Grant.objects.count() == 1

    def test_looking_changes_nothing(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        for _ in range(2):
            assert browser_of_user.get(page.request["PATH_INFO"]).status_code == 200
        assert not Grant.objects.exists()

    def test_in_time(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        AuthorizationRequest.objects.update(expires_at=timezone.now())
        assert answer(browser_of_user, page, "allow").status_code == 404

    def test_another_user_has_no_such_page(self, web: WebAgent, browser_of_user: Client, stranger: User) -> None:
        page = go_to(browser_of_user, web.url())
        other = sign_in(stranger)
        assert other.get(page.request["PATH_INFO"]).status_code == 404
        assert other.post(page.request["PATH_INFO"], {"answer": "allow"}).status_code == 404

    def test_nor_has_another_session_of_the_same_user(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        page = go_to(browser_of_user, web.url())
        other = sign_in(user)
        assert other.get(page.request["PATH_INFO"]).status_code == 404
        assert other.post(page.request["PATH_INFO"], {"answer": "allow"}).status_code == 404
        assert not Grant.objects.exists()

    def test_nobody_signs_in_first(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        browser_of_user.post("/logout")
        assert browser_of_user.post(page.request["PATH_INFO"], {"answer": "allow"}).status_code == 302
        assert not Grant.objects.exists()

    def test_not_from_another_site(self, web: WebAgent, user: User) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        session = strict.session
        session[sessions.SIGNED_IN_AT] = timezone.now().timestamp()
        session.save()
        page = go_to(strict, web.url())
        assert strict.post(page.request["PATH_INFO"], {**form_of(page), "answer": "allow"}).status_code == 403
        assert not Grant.objects.exists()

    def test_an_unclear_answer(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        assert browser_of_user.post(page.request["PATH_INFO"], {"answer": "perhaps"}).status_code == 400
        assert answer(browser_of_user, page, "allow").status_code == 303

    @pytest.mark.parametrize("handle", ["x", "A" * 43, "../" * 14, "%00" * 14])
    def test_a_guessed_handle(self, handle: str, browser_of_user: Client) -> None:
        assert browser_of_user.get(f"/consents/{handle}").status_code in {400, 404}

    def test_the_agent_was_suspended_meanwhile(
        self, web: WebAgent, browser_of_user: Client, administrator: User
    ) -> None:
        page = go_to(browser_of_user, web.url())
        agents.suspend(web.agent, administrator, timezone.now())
        assert answer(browser_of_user, page, "allow").status_code == 404

    def test_the_user_stopped_it_meanwhile(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        page = go_to(browser_of_user, web.url())
        stop_agent(web.agent, user, timezone.now())
        assert answer(browser_of_user, page, "allow").status_code == 404
        assert not Grant.objects.exists()

    def test_the_user_stopped_it_before(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        web.tokens(browser_of_user)
        stop_agent(web.agent, user, timezone.now())
        for prompt in (None, "none", "consent"):
            assert error_of(browser_of_user.get(web.url(prompt=prompt)), web) == "access_denied"
        agents.allow_again(web.agent, user, timezone.now())
        go_to(browser_of_user, web.url())

    def test_remembering_does_not_link_what_an_administrator_unlinked(
        self, web: WebAgent, browser_of_user: Client, user: User, administrator: User
    ) -> None:
        web.tokens(browser_of_user)
        agents.unlink(web.agent, user, administrator, timezone.now())
        browser_of_user.get(web.url())
        assert not AgentLink.objects.get(agent=web.agent, user=user).is_linked

    def test_going_on_loses_to_a_stop(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        web.tokens(browser_of_user)
        AgentLink.objects.update(stopped_at=timezone.now())
        proposal = lifecycle.Proposal(
            agent=web.agent, user=user, resource=Resource.objects.get(), scopes=["openid"], later_scopes=[],
            may_use_offline_access=True, redirect_uri=CALLBACK, client_state="", nonce="", code_challenge="",
            signed_in_at=timezone.now(), acr="",
        )  # fmt: skip
        assert lifecycle.reuse_consent(proposal, timezone.now()) is None


class TestByPost:
    """OpenID Connect Core 3.1.2.1: POST too. It comes without a Lax cookie, so it goes on by GET."""

    def test_a_form_of_the_agents_page(self, web: WebAgent, browser_of_user: Client) -> None:
        response = browser_of_user.post("/authorize", urlencode(web.parameters()), content_type=FORM)
        assert response.status_code == 303 and response["Location"].startswith("/authorize/resume?")
        assert browser_of_user.get(response["Location"])["Location"].startswith("/consents/")

    @pytest.mark.parametrize("body", ["\xff", "a=%ff", "x" * 20_000, "a=%00"])
    def test_what_cannot_be_read(self, body: str, browser_of_user: Client) -> None:
        response = browser_of_user.post("/authorize", body, content_type=FORM)
        assert response.status_code == 400 and "Location" not in response

    def test_other_content_types(self, browser_of_user: Client) -> None:
        assert browser_of_user.post("/authorize", "{}", content_type="application/json").status_code == 400


class TestWhatThePageSays:
    def test_who_where_and_what(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        page = go_to(browser_of_user, web.url(scope="openid email calendar.read accounts.close offline_access"))
        html = page.content.decode()
        for said in ("Web agent", "app.example.com", "An administrator", "Read your calendar", "See your e-mail",
                     "Close accounts", "you approve these each time", "Keep this access while you are away",
                     "Bank", "Pat Person", "has this access until "):  # fmt: skip
            assert said in html, said
        assert form_of(page)["scope"] == ["email", "calendar.read"], "a critical scope has no tick"

    def test_an_owner_is_named(self, web: WebAgent, browser_of_user: Client, administrator: User) -> None:
        web.agent.user = administrator
        web.agent.save()
        assert "Ada Administrator" in go_to(browser_of_user, web.url()).content.decode()

    def test_an_agent_that_registered_itself(self, web: WebAgent, browser_of_user: Client) -> None:
        web.agent.registration_source = "dcr"
        web.agent.save()
        assert "Nobody has checked its name" in go_to(browser_of_user, web.url()).content.decode()

    def test_a_program_on_this_device(self, bank: ResourceServer, signing: None, browser_of_user: Client) -> None:
        native = make_web_agent("Native", method="none", redirect_uris="http://127.0.0.1/cb com.example.app:/cb")
        assert "returns you to a program on this device" in go_to(browser_of_user, native.url()).content.decode()
        native.redirect_uri = "com.example.app:/cb"
        page = go_to(browser_of_user, native.url()).content.decode()
        assert "returns you to the app on this device that opens <strong>com.example.app:</strong> addresses" in page

    @pytest.mark.parametrize(
        ("uri", "source"),
        [(CALLBACK, "https://app.example.com"), ("http://127.0.0.1:4711/cb", "http://127.0.0.1:4711"),
         ("com.example.app:/cb", "com.example.app:")],
    )  # fmt: skip
    def test_the_form_may_be_answered_by_that_redirect_alone(
        self, uri: str, source: str, bank: ResourceServer, signing: None, browser_of_user: Client
    ) -> None:
        web = make_web_agent("Any", method="none", redirect_uris=uri)
        policy = go_to(browser_of_user, web.url())["Content-Security-Policy"]
        assert f"form-action 'self' {source};" in policy + ";"
        assert "script-src 'self';" in policy + ";" and "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in browser_of_user.get("/")["Content-Security-Policy"]

    def test_an_ipv6_address_has_no_name_in_a_policy(
        self, bank: ResourceServer, signing: None, browser_of_user: Client
    ) -> None:
        """Content-Security-Policy (CSP 3, 2.3.1) knows no such host: the page leads back instead of a redirect."""
        web = make_web_agent("Native", method="none", redirect_uris="http://[::1]:4711/cb")
        page = go_to(browser_of_user, web.url())
        assert "[::1]" not in page["Content-Security-Policy"]
        response = answer(browser_of_user, page, "allow")
        assert response.status_code == 200 and b'content="0;url=http://[::1]:4711/cb?code=' in response.content

    def test_it_is_neither_kept_nor_framed(self, web: WebAgent, browser_of_user: Client) -> None:
        page = go_to(browser_of_user, web.url())
        assert "no-store" in page["Cache-Control"] and page["X-Frame-Options"] == "DENY"


class TestHostileText:
    """Reflected and stored: whatever an agent supplies is text."""

    def is_harmless(self, response: Any) -> None:
        html = response.content.decode()
        assert "<script>alert" not in html and "<img src=x" not in html
        assert not re.search(r"(?:href|content)=\"[^\"]*(?:javascript|data):", html)

    def test_every_parameter_reflected(self, web: WebAgent, browser_of_user: Client) -> None:
        for name in web.parameters():
            for response in (
                browser_of_user.get(web.url(**{name: HOSTILE})),
                Client().get(web.url(**{name: HOSTILE, "prompt": "login"})),
            ):
                self.is_harmless(response)
                if "Location" in response:
                    assert "<" not in response["Location"] and "\n" not in response["Location"]
        self.is_harmless(browser_of_user.get(f"/login?{urlencode({'login_hint': HOSTILE, 'next': HOSTILE})}"))
        self.is_harmless(browser_of_user.get(f"/oidc/logout?{urlencode({'client_id': HOSTILE, 'state': HOSTILE})}"))

    def test_names_stored(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        web.agent.name = HOSTILE[:60]
        web.agent.save()
        Scope.objects.filter(name="calendar.read").update(description=HOSTILE)
        Resource.objects.update(name=HOSTILE[:100])
        page = go_to(browser_of_user, web.url())
        assert "&lt;script&gt;" in page.content.decode()
        self.is_harmless(page)
        answer(browser_of_user, page, "allow")
        for path in ("/activity", "/agents", f"/oidc/logout?client_id={web.agent.client_id}"):
            self.is_harmless(browser_of_user.get(path))
        web.agent.registration_source = "dcr"
        web.agent.save()
        self.is_harmless(browser_of_user.get(web.url(response_type="x")))

    @pytest.mark.parametrize("name", ["a‮b", "a​b", "\u0000", "é" + "\u0301" * 9])
    def test_names_that_mislead_are_not_registered(self, name: str) -> None:
        with pytest.raises(Exception, match="name"):
            make_caller(name)

    @pytest.mark.parametrize(
        "uri",
        ["javascript:alert(1)", "data:text/html,x", "https://a.example.com/\"onload=x", "https://a.example.com/<b>",
         "https://a.example.com; script-src *", "https://a.example.com'unsafe-inline'/", "http://a.example.com/",
         "vbscript:x", "https://", "//a.example.com/", "https://a.example.com/#x", "https://a b/", "https://ä.de/"],
    )  # fmt: skip
    def test_uris_that_mislead_are_not_registered(self, uri: str) -> None:
        with pytest.raises(Exception, match="redirect_uris"):
            make_caller("Web", grant_types=["authorization_code"], redirect_uris=uri)


class TestAnAgentThatRegisteredItself:
    """RFC 9700 4.11.2: it may have sent the user here only to be sent on with our name."""

    def test_its_errors_are_a_link_and_not_a_redirect(self, web: WebAgent, browser_of_user: Client) -> None:
        web.agent.registration_source = "dcr"
        web.agent.save()
        for changed in ({"response_type": "x"}, {"prompt": "none"}, {"scope": "nobody.knows"}):
            response = browser_of_user.get(web.url(**changed))
            assert response.status_code == 200 and "Location" not in response
            html = response.content.decode()
            assert "Go back to app.example.com" in html and "http-equiv" not in html
            assert "error=" in html and "iss=" in html

    def test_what_the_user_answered_is_a_redirect(self, web: WebAgent, browser_of_user: Client) -> None:
        web.agent.registration_source = "dcr"
        web.agent.save()
        assert allow(browser_of_user, web.url()).startswith(CALLBACK)


def test_after_a_form_the_page_goes_on_by_itself(web: WebAgent, browser_of_user: Client, user: User) -> None:
    """Chromium enforces the sign-in form's form-action along the redirects that answer it."""
    web.tokens(browser_of_user)
    path = query_of(Client().get(web.url())["Location"])["next"]
    response = browser_of_user.get(path)
    assert response.status_code == 200
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', response.content.decode())
    assert found and found[1].startswith(f"{CALLBACK}?code=")


def test_old_requests_are_swept(web: WebAgent, browser_of_user: Client) -> None:
    web.tokens(browser_of_user)
    now = timezone.now()
    lifecycle.sweep(now, 100)
    assert AuthorizationRequest.objects.count() == 1
    lifecycle.sweep(now + timedelta(days=2), 100)
    assert AuthorizationRequest.objects.count() == 0
