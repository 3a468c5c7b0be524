"""Clients of a running product over real HTTP: the demo's person, signed in, and the demo's agent."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import httpx

from tests.push_service import Browser

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "agent.py"


class SignedIn:
    """The demo's person in a browser of their own. `http` has the product's URL as its base."""

    def __init__(self, http: httpx.Client, password: str) -> None:
        self.http, self.password = http, password
        self.http.get("/login")
        response = self.post("/login", email="demo@example.com", password=password)
        assert response.status_code == 302, response.text

    def post(self, path: str, **form: str) -> httpx.Response:
        return self.http.post(path, data=form, headers={"X-CSRFToken": self.http.cookies.get("csrf") or ""})

    def enrol(self, browser: Browser) -> None:
        """Adds a device under this browser's subscription."""
        key = self.http.get("/devices").text.partition('data-public-key="')[2].partition('"')[0]
        subscription = json.dumps(browser.subscription())
        response = self.post("/devices", name="Phone", password=self.password, subscription=subscription, key=key)
        assert response.status_code == 302, response.text


def example_agent(data_dir: Path, http: httpx.Client) -> Any:
    """The `Agent` of examples/agent.py, with the demo's key."""
    spec = importlib.util.spec_from_file_location("example_agent", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Agent(json.loads((data_dir / "demo" / "assistant.json").read_text()), http)
