"""Agents of the authorization-code flow, and a browser that goes through it: for tests of several packages."""

import hashlib
import secrets
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from django.db.models import F
from django.test import Client
from joserfc import jwt
from joserfc.jwk import KeySet

from clients.models import AUTHORIZATION_CODE, REFRESH_TOKEN, Agent
from oauth.models import RefreshToken
from tests.support.keys import Prover
from tests.support.public_clients import form_in
from tests.support.world import Caller, make_caller, post_form, proved

CALLBACK = "https://app.example.com/callback"


def new_verifier() -> str:
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def query_of(url: str) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), f"a parameter is repeated: {url}"
    return dict(pairs)


@dataclass
class WebAgent:
    """An agent that a user consents to in the browser, and its state of one flow."""

    agent: Agent
    caller: Caller | None = None  # None: a public client
    secret: str = ""
    redirect_uri: str = CALLBACK
    verifier: str = field(default_factory=new_verifier)
    state: str = "the state / of it"
    prover: Prover | None = None  # a public client's proofs
    headers: dict[str, str] = field(default_factory=dict)

    def parameters(self, **more: str | None) -> dict[str, str]:
        """An authorization request; a parameter given as None is left out."""
        given: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.agent.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid calendar.read",
            "state": self.state,
            "nonce": "the nonce",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **more,
        }
        return {name: value for name, value in given.items() if value is not None}

    def url(self, **more: str | None) -> str:
        return f"/authorize?{urlencode(self.parameters(**more), quote_via=quote)}"

    def post(self, path: str, form: dict[str, str]) -> Any:
        """As this agent authenticates."""
        if self.caller is not None:
            return self.caller.post(path, **form)
        if self.secret:
            basic = b64encode(f"{self.agent.client_id}:{self.secret}".encode()).decode()
            return post_form(Client(), path, form, Authorization=f"Basic {basic}")
        public = {"client_id": self.agent.client_id, **form}
        return proved(self.prover, lambda **headers: post_form(Client(), path, public, **self.headers, **headers))

    def exchange(self, code: str, **more: str | None) -> Any:
        form = {
            "grant_type": AUTHORIZATION_CODE,
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **more,
        }
        return self.post("/oauth/token", {name: value for name, value in form.items() if value is not None})

    def refresh(self, token: str, **more: str) -> Any:
        return self.post("/oauth/token", {"grant_type": REFRESH_TOKEN, "refresh_token": token, **more})

    def tokens(self, browser: Client, **more: str | None) -> dict[str, Any]:
        """The whole flow, with everything allowed."""
        answer = query_of(allow(browser, self.url(**more)))
        response = self.exchange(answer["code"])
        assert response.status_code == 200, response.content
        return dict(response.json())


def go_to(browser: Client, url: str) -> Any:
    """The consent page that an authorization request leads to."""
    response = browser.get(url)
    assert response.status_code == 302 and response["Location"].startswith("/consents/"), (
        response.status_code,
        response.get("Location"),
        response.content[-1500:],
    )
    page = browser.get(response["Location"])
    assert page.status_code == 200
    return page


def form_of(page: Any) -> dict[str, Any]:
    return form_in(page.content.decode())


def answer(browser: Client, page: Any, choice: str, **changed: Any) -> Any:
    return browser.post(page.request["PATH_INFO"], {**form_of(page), "answer": choice, **changed})


def allow(browser: Client, url: str, **changed: Any) -> str:
    """Where the browser is sent after Allow."""
    response = answer(browser, go_to(browser, url), "allow", **changed)
    assert response.status_code == 303, response.content
    return str(response["Location"])


def make_web_agent(name: str = "Web agent", *, method: str = "private_key_jwt", **fields: Any) -> WebAgent:
    fields.setdefault("grant_types", [AUTHORIZATION_CODE, REFRESH_TOKEN])
    fields.setdefault("redirect_uris", CALLBACK)
    fields.setdefault("identity_scopes", ["openid", "profile", "email"])
    caller = make_caller(name, token_endpoint_auth_method=method, **fields)
    caller.agent.scopes.set(_all_scopes())
    redirect_uri = fields["redirect_uris"].split()[0]
    return WebAgent(caller.agent, caller if method == "private_key_jwt" else None, redirect_uri=redirect_uri)


def _all_scopes() -> Any:
    from operations.models import Scope

    return Scope.objects.all()


def claims_of(token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())
    return dict(jwt.decode(token, keys, algorithms=["ES256", "RS256"]).claims)


def pass_time(seconds: float) -> None:
    """What happened to refresh tokens until now happened this much earlier."""
    earlier = timedelta(seconds=seconds)
    RefreshToken.objects.update(
        used_at=F("used_at") - earlier, created_at=F("created_at") - earlier, given_at=F("given_at") - earlier
    )
