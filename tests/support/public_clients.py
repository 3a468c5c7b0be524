"""Clients of a running product over real HTTP: the demo's user, signed in, and the demo's agent."""

import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from tests.patience import PATIENCE
from tests.support.push_service import Browser

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "agent.py"


class SignedIn:
    """The demo's user in a browser of their own. `http` has the product's URL as its base."""

    def __init__(self, http: httpx.Client, password: str) -> None:
        self.http, self.password = http, password
        self.http.get("/login")
        response = self.post("/login", email="demo@example.com", password=password)
        assert response.status_code == 302, response.text

    def post(self, path: str, **form: Any) -> httpx.Response:
        return self.http.post(path, data=form, headers={"X-CSRFToken": self.http.cookies.get("csrf") or ""})

    def allow(self, url: str) -> str:
        """Answers an authorization request on its consent page; returns where the browser is sent."""
        sent = self.http.get(url)
        page = sent.headers.get("Location", "")
        assert sent.status_code == 302 and page.startswith("/consents/"), (sent.status_code, page, sent.text)
        response = self.post(page, answer="allow", **form_in(self.http.get(page).text))
        assert response.status_code == 303, response.text
        return str(response.headers["Location"])

    def approve(self, binding_message: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The one prompt with this message, as soon as it is there, is answered with yes."""
        give_up = time.monotonic() + patience
        while not (waiting := self._waiting(binding_message)):
            assert time.monotonic() < give_up, "no request came"
            time.sleep(0.1)
        (prompt,) = waiting
        response = self.post(f"/v1/prompts/{prompt['id']}/approve")
        assert response.status_code == 200, response.text
        return dict(prompt)

    def _waiting(self, binding_message: str) -> list[dict[str, Any]]:
        prompts = self.http.get("/v1/prompts").json()["prompts"]
        return [prompt for prompt in prompts if prompt["binding_message"] == binding_message]

    def enrol(self, browser: Browser) -> None:
        """Adds a device under this browser's subscription."""
        key = self.http.get("/devices").text.partition('data-public-key="')[2].partition('"')[0]
        subscription = json.dumps(browser.subscription())
        response = self.post("/devices", name="Phone", password=self.password, subscription=subscription, key=key)
        assert response.status_code == 302, response.text


def form_in(html: str) -> dict[str, Any]:
    """What the consent page's form would send as it stands: every tick, and no button."""
    ticked = re.findall(r'<input type="checkbox" name="(\w+)" value="([^"]+)" checked>', html)
    form: dict[str, Any] = {"scope": [value for name, value in ticked if name == "scope"]}
    if ("offline_access", "yes") in ticked:
        form["offline_access"] = "yes"
    return form


def register_public_client(server: str, name: str, redirect_uri: str) -> str:
    """As programs do that have no secret (RFC 7591); its client_id."""
    reply = {
        "client_name": name, "redirect_uris": [redirect_uri], "post_logout_redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    }  # fmt: skip
    response = httpx.post(f"{server}/oidc/register", json=reply, timeout=60)
    assert response.status_code == 201, response.text
    return str(response.json()["client_id"])


def example_agent(data_dir: Path, http: httpx.Client) -> Any:
    """The `Agent` of examples/agent.py, with the demo's key."""
    spec = importlib.util.spec_from_file_location("example_agent", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Agent(json.loads((data_dir / "demo" / "assistant.json").read_text()), http)
