"""The refusals of the examples that builders copy: each names its error, in the body and, where RFC 6750 3.1 has it
so, in WWW-Authenticate."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from examples import demo_api
from examples.mcp_server import Guarded

MISSING = [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": "DPoP"}]
WRONG = [{"Authorization": "Bearer x"}, {"Authorization": "Bearer .."}, {"Authorization": "DPoP x.y"}]


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    settings = {"issuer": "http://localhost:1", "resource": "http://x/", "resource_id": "x", "secret": "x"}
    with httpx.Client() as http:
        demo_api.Handler.countersign = demo_api.Countersign(settings, http)
        with ThreadingHTTPServer(("127.0.0.1", 0), demo_api.Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("headers", MISSING)
@pytest.mark.parametrize(("method", "path"), [("GET", "/calendar"), ("POST", "/payments")])
def test_the_demo_api_without_a_token(api: str, method: str, path: str, headers: dict[str, str]) -> None:
    answer = httpx.request(method, f"{api}{path}", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "invalid_token", "error_description": "An access token is needed."}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="demo", DPoP algs="ES256"'


@pytest.mark.parametrize("headers", WRONG)
def test_the_demo_api_with_what_is_no_token(api: str, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{api}/calendar", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"].count('error="invalid_token"') == 2, "in both schemes"


def test_the_demo_api_where_there_is_nothing(api: str) -> None:
    answer = httpx.get(f"{api}/nothing")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("authorization", [None, "Basic eDp5"])
def test_the_mcp_server_without_a_token(authorization: str | None) -> None:
    guarded = Guarded(resource="https://notes.example.com/mcp", issuer="http://localhost:1", credential=("x", "y"))
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    # In a thread of its own: a browser of other tests has left an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        scope = {"type": "http", "path": "/mcp", "headers": headers}
        thread.submit(lambda: asyncio.run(guarded(scope, receive, send))).result()
    start, body = sent
    challenge = dict(start["headers"])[b"www-authenticate"].decode()
    assert start["status"] == 401 and json.loads(body["body"]) == {"error": "invalid_token"}
    assert ("error=" in challenge) == (authorization is not None) and 'scope="notes.read"' in challenge
