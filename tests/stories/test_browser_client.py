"""A client that lives in a web page of another origin: everything that it asks our server, it asks with fetch().

The browser decides what such a page may send and read (Fetch Standard 3.3): here a real one does.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.stories.conftest import Product
from tests.stories.test_consent import Callback, callback, server, sign_in
from tests.stories.test_first_five_minutes import sign_in as sign_in_to_demo
from tests.support.consent import make_web_agent
from tests.support.public_clients import register_public_client
from tests.support.world import ResourceServer

__all__ = ["callback", "server"]
pytestmark = [pytest.mark.django_db(transaction=True)]

# DPoP with a key that no script can read out, and the nonce from the header of the first refusal.
CLIENT = """
const b64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const part = (value) => b64url(new TextEncoder().encode(JSON.stringify(value)));
const sha256 = async (text) => b64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
let nonce;
const keys = crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);

async function proof(htm, htu, token) {
  const { publicKey, privateKey } = await keys;
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
  const claims = { htm, htu, jti: crypto.randomUUID(), iat: Math.floor(Date.now() / 1000), nonce };
  if (token) claims.ath = await sha256(token);
  const signed = `${part({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } })}.${part(claims)}`;
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  const signature = await crypto.subtle.sign(algorithm, privateKey, new TextEncoder().encode(signed));
  return `${signed}.${b64url(signature)}`;
}

async function ask(method, url, { form, token } = {}) {
  const answers = [];
  for (let tries = 0; tries < 2; tries += 1) {
    const headers = { DPoP: await proof(method, url, token) };
    if (token) headers.Authorization = `DPoP ${token}`;
    const response = await fetch(url, { method, headers, body: form && new URLSearchParams(form) });
    nonce = response.headers.get("DPoP-Nonce") ?? nonce;
    answers.push(response.status);
    const text = await response.text();
    if (!text.includes("use_dpop_nonce")) return { answers, body: text ? JSON.parse(text) : null };
  }
  throw new Error(`no nonce could be read: ${answers}`);
}
"""
DISCOVER = """async (server) => {
  const known = await (await fetch(`${server}/.well-known/oauth-authorization-server`)).json();
  const { keys } = await (await fetch(known.jwks_uri)).json();
  return [known, keys.length];
}"""
FINISH_FLOW = f"""async ([known, clientId, redirectUri, verifier]) => {{
  {CLIENT}
  const form = {{
    grant_type: "authorization_code", client_id: clientId, redirect_uri: redirectUri, code_verifier: verifier,
    code: new URLSearchParams(location.search).get("code"),
  }};
  const issued = await ask("POST", known.token_endpoint, {{ form }});
  const token = issued.body.access_token;
  const person = await ask("GET", known.userinfo_endpoint, {{ token }});
  const revoked = await ask("POST", known.revocation_endpoint, {{ form: {{ token, client_id: clientId }} }});
  return [issued, person, revoked];
}}"""


def test_it_goes_the_whole_way(
    browser: Browser, live_server: LiveServer, server: str, callback: Callback, user: User, bank: ResourceServer,
    signing: None,
) -> None:  # fmt: skip
    web = make_web_agent(method="none", redirect_uris=callback.url)
    context = browser.new_context()
    page = context.new_page()
    page.goto(callback.url)
    known, keys = page.evaluate(DISCOVER, server)
    assert known["issuer"] == server and keys >= 1

    page.goto(server + web.url(scope="openid email"))
    sign_in(page, user)
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_title("Back at the agent")
    arguments: list[Any] = [known, web.agent.client_id, callback.url, web.verifier]
    issued, reply, revoked = page.evaluate(FINISH_FLOW, arguments)
    assert issued["answers"] == [400, 200], "the page could read the nonce"
    assert issued["body"]["token_type"] == "DPoP"
    assert reply["body"]["email"] == user.email
    assert revoked["answers"] == [200]
    context.close()


OIDC_CLIENT = """(settings) => {
  window.manager = new oidc.UserManager({ ...settings, loadUserInfo: true });
}"""


def test_oidc_client_ts_goes_the_whole_way(
    browser: Browser, product: Product, callback: Callback, node_clients: Path
) -> None:
    """Unmodified, against the real product: it signs in, reads UserInfo, refreshes, revokes and signs out."""
    settings = {
        "authority": product.url, "client_id": register_public_client(product.url, "oidc-client-ts", callback.url),
        "redirect_uri": callback.url, "post_logout_redirect_uri": callback.url,
        "scope": "openid calendar.read offline_access",
    }  # fmt: skip
    library = node_clients / "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"
    context = browser.new_context(base_url=product.url)
    page = context.new_page()

    def back_at_the_agent() -> None:
        expect(page).to_have_title("Back at the agent", timeout=60_000)
        page.add_script_tag(path=library)
        page.evaluate(OIDC_CLIENT, settings)

    sign_in_to_demo(page, product)
    page.goto(callback.url)
    back_at_the_agent()
    page.evaluate("() => { manager.signinRedirect() }")  # it leaves the page, so it never returns
    page.get_by_role("button", name="Allow").click()
    back_at_the_agent()
    user = page.evaluate("() => manager.signinRedirectCallback()")
    assert user["profile"]["sub"] and set(user["scope"].split()) == set(settings["scope"].split())

    refreshed = page.evaluate("() => manager.signinSilent()")
    assert refreshed["access_token"] != user["access_token"]
    page.evaluate("() => manager.revokeTokens(['access_token', 'refresh_token'])")
    page.evaluate("(user) => manager.storeUser(new oidc.User(user))", refreshed)
    refused = page.evaluate("() => manager.signinSilent().then(() => 'signed in', (error) => error.error)")
    assert refused == "invalid_grant"

    page.evaluate("() => { manager.signoutRedirect() }")
    back_at_the_agent()
    page.goto("/")
    assert "/login" in page.url
    context.close()
