"""An unmodified client library (Authlib), a real browser, our server on a real port: consent, tokens, refresh, the end.

What a library does by itself is the point: discovery, PKCE, private_key_jwt, checking `iss` and the ID token.
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from django.test import Client
from joserfc import jwt
from joserfc.jwk import KeySet
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from oauth import metadata
from tests.stories.test_accessibility import check as check_page
from tests.support.consent import WebAgent, make_web_agent, new_verifier, query_of
from tests.support.world import PASSWORD, ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True)]
NONCE = "n-0S6_WzA2Mj"


class Callback:
    """The client's own page, where the browser comes back to; remembers the address."""

    def __init__(self) -> None:
        arrived: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/callback"):  # and not /favicon.ico
                    arrived.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>Back at the agent</title>Back at the agent")

            def log_message(self, *args: Any) -> None:
                pass

        self.arrived = arrived
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/callback"


@pytest.fixture
def callback() -> Iterator[Callback]:
    callback = Callback()
    yield callback
    callback.server.shutdown()
    callback.server.server_close()


@pytest.fixture
def server(browser: Browser, live_server: LiveServer, settings: Any) -> str:
    """Our server under its own address as issuer."""
    settings.ISSUER_URL = live_server.url
    assert metadata.server_metadata([])["issuer"] == live_server.url
    return str(live_server.url)


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """A phone; an error of our pages in the console, a broken policy too, fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, base_url=server)
    page = context.new_page()
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and message.location["url"].startswith(server):  # not the client's own page
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def sign_in(page: Page, user: User) -> None:
    page.get_by_label("E-mail address").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def discover(server: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server}/.well-known/openid-configuration").json())


def client_of(web: WebAgent, known: dict[str, Any], **more: Any) -> OAuth2Client:
    key = None
    if web.caller is not None:
        key = web.caller.key
        more |= {"token_endpoint_auth_method": "private_key_jwt", "client_secret": key}
        more |= {"revocation_endpoint_auth_method": "private_key_jwt"}
    else:
        more |= {"token_endpoint_auth_method": "none"}
    client = OAuth2Client(
        web.agent.client_id, redirect_uri=web.redirect_uri, code_challenge_method="S256",
        scope="openid email calendar.read offline_access", token_endpoint=known["token_endpoint"], **more,
    )  # fmt: skip
    if key is not None:
        client.register_client_auth_method(PrivateKeyJWT(known["token_endpoint"], alg="ES256"))
    return client


def go_through(page: Page, client: OAuth2Client, known: dict[str, Any], user: User, callback: Callback) -> str:
    """Sends the browser off; returns the verifier once it is back at the agent."""
    verifier = new_verifier()
    url, _ = client.create_authorization_url(known["authorization_endpoint"], code_verifier=verifier, nonce=NONCE)
    page.goto(url)
    if "/login" in page.url:
        sign_in(page, user)
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Back at the agent")
    return verifier


@pytest.mark.parametrize("method", ["private_key_jwt", "none"])
def test_authlib_goes_the_whole_way(
    method: str, page: Page, server: str, callback: Callback, user: User, bank: ResourceServer, signing: None
) -> None:
    web = make_web_agent("Calendar helper", method=method, redirect_uris=callback.url)
    known = discover(server)
    client = client_of(web, known)
    verifier = go_through(page, client, known, user, callback)

    answer = callback.arrived[-1]
    assert query_of(answer)["iss"] == known["issuer"]
    token = client.fetch_token(authorization_response=f"http://127.0.0.1{answer}", code_verifier=verifier)
    assert token["scope"] == "openid email calendar.read offline_access"
    keys = KeySet.import_key_set(httpx.get(known["jwks_uri"]).json())
    claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
    assert claims["nonce"] == NONCE and claims["email"] == user.email

    fresh = client.refresh_token(known["token_endpoint"], refresh_token=token["refresh_token"])
    assert fresh["refresh_token"] != token["refresh_token"]
    if method == "private_key_jwt":
        reply = client.introspect_token(known["introspection_endpoint"], token=fresh["access_token"]).json()
        assert reply["active"] and reply["sub"] == str(user.id)
    identity = client.refresh_token(known["token_endpoint"], refresh_token=fresh["refresh_token"], scope="openid email")
    # The library sends the token as RFC 6750 says.
    assert client.get(known["userinfo_endpoint"]).json() == {"sub": str(user.id), "email": user.email}

    assert client.revoke_token(known["revocation_endpoint"], token=identity["refresh_token"]).status_code == 200
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(known["token_endpoint"], refresh_token=identity["refresh_token"])


def test_what_the_user_sees_and_can_leave_out(
    page: Page, server: str, callback: Callback, user: User, bank: ResourceServer, signing: None,
    output: Path,
) -> None:  # fmt: skip
    web = make_web_agent("Calendar helper", method="none", redirect_uris=callback.url)
    web.agent.registration_source = "dcr"
    web.agent.save()
    url = web.url(scope="openid email calendar.read accounts.close offline_access")
    page.goto(url)
    sign_in(page, user)
    expect(page.get_by_role("heading", level=1)).to_have_text("Calendar helper asks for access")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.screenshot(path=output / f"consent-phone-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "no sideways scrolling"
    page.set_viewport_size({"width": 1100, "height": 900})
    page.screenshot(path=output / "consent-desk-dark.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.screenshot(path=output / "consent-desk-light.png", full_page=True)
    expect(page.get_by_text("Nobody has checked its name")).to_be_visible()
    expect(page.get_by_text("Not included: you approve these each time")).to_be_visible()
    expect(page.get_by_label("Close accounts")).to_have_count(0)

    # By keyboard alone: every tick is reached, has a name, and Deny comes before Allow.
    names = []
    page.get_by_role("heading", level=1).click()
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()"))
    order = [
        "See your e-mail address",
        "Read your calendar",
        "Keep this access while you are away",
        "✕ Deny",
        "✓ Allow",
    ]
    found = [next(i for i, name in enumerate(names) if name.startswith(wanted)) for wanted in order]
    assert found == sorted(found), names
    page.get_by_label("See your e-mail address").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Allow").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title("Back at the agent")
    reply = query_of(callback.arrived[-1])
    assert web.exchange(reply["code"]).json()["scope"] == "openid calendar.read offline_access"


def test_signing_in_with_an_earlier_consent_leads_straight_back(
    page: Page, server: str, callback: Callback, user: User, bank: ResourceServer, signing: None
) -> None:
    """Chromium enforces form-action along the redirects that answer the sign-in form: the page goes on instead."""
    web = make_web_agent("Calendar helper", redirect_uris=callback.url)
    known = discover(server)
    client = client_of(web, known)
    go_through(page, client, known, user, callback)
    page.context.clear_cookies()
    page.goto(web.url(scope="openid", prompt="login"))
    sign_in(page, user)
    expect(page).to_have_title("Back at the agent")
    assert "code" in query_of(callback.arrived[-1])


def test_denying_tells_the_agent(
    page: Page, server: str, callback: Callback, user: User, bank: ResourceServer, signing: None
) -> None:
    web = make_web_agent("Calendar helper", redirect_uris=callback.url)
    page.goto(web.url())
    sign_in(page, user)
    page.get_by_role("button", name="Deny").click()
    expect(page).to_have_title("Back at the agent")
    assert query_of(callback.arrived[-1])["error"] == "access_denied"
    assert Client().get("/livez").status_code == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(
    scheme: Any, browser: Browser, server: str, callback: Callback, user: User, bank: ResourceServer, signing: None
) -> None:
    """The consent page and the pages around it (WCAG 2.2 A and AA)."""
    web = make_web_agent("Calendar helper", method="none", redirect_uris=f"{callback.url} http://[::1]/callback")
    web.agent.registration_source = "dcr"
    web.agent.save()
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, base_url=server, bypass_csp=True
    )
    page = context.new_page()
    page.goto(web.url(scope="openid email calendar.read accounts.close offline_access"))
    sign_in(page, user)
    page.get_by_role("button", name="Allow").wait_for()
    check_page(page)
    for path in (web.url(client_id="nobody"), web.url(scope="nobody.knows"), f"/consents/{'x' * 43}",
                 "/oidc/logout", "/oidc/logout?post_logout_redirect_uri=x"):  # fmt: skip
        page.goto(path)
        check_page(page)
    context.close()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the pictures go."""
    return tmp_path
