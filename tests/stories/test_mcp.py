"""The MCP Python SDK's client, unmodified, against a real MCP server that trusts us; the user in a real browser.

What the SDK does by itself is the point: it finds us from a 401, registers itself or is known by its metadata document,
asks for consent with PKCE and `resource`, calls tools, asks for more after a 403, and refreshes.
"""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.utils import timezone
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from playwright.sync_api import Page, expect

from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from clients import lifecycle
from clients.models import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, REFRESH_TOKEN, Agent
from examples.mcp_server import READ, WRITE, Guarded
from operations.lifecycle import issue_resource_secret
from operations.models import Resource, Scope
from runtime.processes import free_port
from tests.node import NodeProgram
from tests.node import running as running_in_node
from tests.patience import PATIENCE
from tests.stories.test_accessibility import check
from tests.stories.test_consent import Callback, callback, page, server, sign_in  # noqa: F401 - fixtures
from tests.support.tls_server import TlsServer
from tests.support.world import make_caller

pytestmark = [pytest.mark.django_db(transaction=True)]


@dataclass
class Notebook:
    """The MCP server of examples/, on a port of its own."""

    url: str
    resource: Resource
    server: uvicorn.Server


@pytest.fixture
def first_scopes() -> tuple[str, ...]:
    """What a client without a token asks for: the harmless scope alone."""
    return (READ,)


@pytest.fixture
def notebook(server: str, signing: None, first_scopes: tuple[str, ...]) -> Iterator[Notebook]:  # noqa: F811
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    resource = Resource.objects.create(identifier=url, name="Notebook")
    Scope.objects.create(resource=resource, name=READ, description="Read your notes", risk="routine")
    Scope.objects.create(resource=resource, name=WRITE, description="Write notes", risk="routine")
    secret = issue_resource_secret(resource, About(SYSTEM), timezone.now())
    app = Guarded(resource=url, issuer=server, credential=(str(resource.id), secret), first_scopes=first_scopes)
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield Notebook(url, resource, running)
    running.should_exit = True
    thread.join(timeout=PATIENCE)


@dataclass
class Storage:
    """Where the SDK keeps what it was told."""

    tokens: Any = None
    client: Any = None
    tokens_seen: list[Any] = field(default_factory=list)

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens
        self.tokens_seen.append(tokens)

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


class Running:
    """The SDK's client in a thread with a loop of its own; the browser stays in the test's thread."""

    def __init__(self, url: str, auth: Any, act: Callable[[Client], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None

        async def run() -> None:
            async with (
                httpx2.AsyncClient(auth=auth, timeout=PATIENCE) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                self.result = await act(client)

        def main() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:  # noqa: BLE001 - told to the test
                self.error = error

        self.thread = threading.Thread(target=main)
        self.thread.start()

    def finish(self) -> Any:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


class ConsentingUser:
    """Goes where the SDK sends the browser, and allows it."""

    def __init__(self, page: Page, user: User, callback: Callback) -> None:  # noqa: F811
        self.page, self.user, self.callback = page, user, callback
        self.sent: queue.Queue[str] = queue.Queue()
        self.back: queue.Queue[str] = queue.Queue()
        self.pages: list[str] = []

    async def send_to(self, url: str) -> None:
        self.sent.put(url)

    async def wait_for_answer(self) -> AuthorizationCodeResult:
        arrived = await asyncio.to_thread(self.back.get, timeout=PATIENCE)
        answer = {name: values[0] for name, values in parse_qs(urlsplit(arrived).query).items()}
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    def allows(self, running: Running) -> str:
        """The address that the SDK built, after the user has allowed it."""
        give_up = time.monotonic() + PATIENCE
        while self.sent.empty():
            assert running.thread.is_alive() and time.monotonic() < give_up, running.error
            time.sleep(0.05)
        url = self.sent.get()
        self.back.put(self.allows_at(url))
        return url

    def allows_at(self, url: str) -> str:
        """Where the browser was sent."""
        before = len(self.callback.arrived)
        self.page.goto(url)
        if "/login" in self.page.url:
            sign_in(self.page, self.user)
        self.pages.append(self.page.get_by_role("main").inner_text())
        self.page.get_by_role("button", name="Allow").click()
        expect(self.page).to_have_title("Back at the agent")
        return self.callback.arrived[before]


@pytest.fixture
def somebody(page: Page, user: User, callback: Callback) -> ConsentingUser:  # noqa: F811
    return ConsentingUser(page, user, callback)


@pytest.fixture
def opened(settings: Any) -> Any:
    settings.REGISTRATION = "open"
    settings.REGISTRATION_SCOPES = [READ, WRITE]
    return settings


def provider(notebook: Notebook, somebody: ConsentingUser, storage: Storage, **more: Any) -> OAuthClientProvider:
    metadata = OAuthClientMetadata.model_validate(
        {"client_name": "A tool client", "redirect_uris": [somebody.callback.url]}
    )
    return OAuthClientProvider(
        notebook.url, metadata, storage, somebody.send_to, somebody.wait_for_answer, **more
    )  # fmt: skip


async def read(client: Client) -> str:
    return str((await client.call_tool("read_notes", {})).content[0].text)  # type: ignore[union-attr]


async def write(client: Client) -> str:
    return str((await client.call_tool("write_note", {"text": "Call mum"})).content[0].text)  # type: ignore[union-attr]


def ask_as(notebook: Notebook, token: str) -> int:
    return httpx.post(notebook.url, json={"method": "ping"}, headers={"Authorization": f"Bearer {token}"}).status_code


def end_newest_grant(page: Page) -> None:  # noqa: F811
    """On the user's pages, which anybody can use."""
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(bypass_csp=True, storage_state=page.context.storage_state())  # axe brings a script
    page = context.new_page()
    page.goto(f"{settings.ISSUER_URL}/agents")
    check(page)
    page.get_by_role("link", name="Read your notes, Write notes at Notebook").first.click()
    check(page)
    page.get_by_role("button", name="End it now").click()
    expect(page.locator(".badge", has_text="Ended")).to_be_visible()
    check(page)
    context.close()


def grant_types_used() -> list[str]:
    facts = [
        json.loads(body)["facts"] for body in Event.objects.filter(kind="token.issued").values_list("body", flat=True)
    ]
    return sorted(fact["grant_type"] for fact in facts)


def test_it_registers_itself_and_goes_the_whole_way(
    notebook: Notebook, somebody: ConsentingUser, opened: Any, user: User
) -> None:
    opened.ACCESS_TOKEN_LIFETIME = 12
    storage = Storage()
    auth = provider(notebook, somebody, storage)

    first = Running(notebook.url, auth, read)
    sent = parse_qs(urlsplit(somebody.allows(first)).query)
    assert first.finish() == "Buy milk"
    assert sent["resource"] == [notebook.url] and sent["code_challenge_method"] == ["S256"]
    assert READ in sent["scope"][0].split() and WRITE not in sent["scope"][0].split()
    agent = Agent.objects.get()
    assert (agent.registration_source, agent.client_id) == ("dcr", storage.client.client_id)
    assert agent.token_endpoint_auth_method == "none" and agent.application_type == "native"
    assert "Nobody has checked its name" in somebody.pages[0] and "Read your notes" in somebody.pages[0]

    # A tool that needs more: 403, and the user is asked for all of it.
    second = Running(notebook.url, auth, write)
    wider = parse_qs(urlsplit(somebody.allows(second)).query)
    assert second.finish() == "2 notes"
    assert {READ, WRITE} <= set(wider["scope"][0].split())

    # The token runs out; nobody is asked.
    time.sleep(13)
    third = Running(notebook.url, auth, read)
    assert third.finish() == "Buy milk\nCall mum"
    assert somebody.sent.empty()
    assert "refresh_token" in grant_types_used()
    assert Agent.objects.count() == 1

    # The user ends what they granted last: what the agent holds of it is worth nothing, at once.
    held = storage.tokens.access_token
    assert ask_as(notebook, held) != 401
    end_newest_grant(somebody.page)
    assert ask_as(notebook, held) == 401


def test_it_is_known_by_its_metadata_document(
    notebook: Notebook, somebody: ConsentingUser, opened: Any, tls_server: TlsServer, user: User
) -> None:
    opened.REGISTRATION, opened.METADATA_DOCUMENT_HOSTS = "closed", ["127.0.0.1"]
    opened.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{tls_server.port}"]
    url = f"https://127.0.0.1:{tls_server.port}/client.json"
    document = {
        "client_id": url, "client_name": "A published client", "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none", "application_type": "native",
    }  # fmt: skip
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    tls_server.says(head.encode() + body)

    auth = provider(notebook, somebody, Storage(), client_metadata_url=url)
    running = Running(notebook.url, auth, read)
    sent = parse_qs(urlsplit(somebody.allows(running)).query)
    assert running.finish() == "Buy milk"
    assert sent["client_id"] == [url]
    assert "Verified host" in somebody.pages[0] and "A published client" in somebody.pages[0]
    wider = Running(notebook.url, auth, write)
    somebody.allows(wider)
    assert wider.finish() == "2 notes"
    agent = Agent.objects.get()
    assert (agent.client_id, agent.registration_source) == (url, "cimd") and agent.first_used_at is not None
    assert len(tls_server.requests) == 1  # fetched once, and kept


def test_its_client_credentials(notebook: Notebook, server: str) -> None:  # noqa: F811
    agent = Agent.objects.create(
        name="Robot", grant_types=[CLIENT_CREDENTIALS], token_endpoint_auth_method="client_secret_basic"
    )  # fmt: skip
    agent.scopes.set(Scope.objects.all())
    owner = User.objects.create(email="owner@example.com")
    secret = lifecycle.issue_secret(agent, owner, timezone.now())
    auth = ClientCredentialsOAuthProvider(
        notebook.url, Storage(), agent.client_id, secret, scope=f"{READ} {WRITE}", issuer=server
    )  # fmt: skip
    assert Running(notebook.url, auth, write).finish() == "2 notes"
    assert set(grant_types_used()) == {CLIENT_CREDENTIALS}


def test_its_signed_assertions(notebook: Notebook, server: str) -> None:  # noqa: F811
    caller = make_caller("Robot with a key", grant_types=[CLIENT_CREDENTIALS])
    caller.agent.scopes.set(Scope.objects.all())
    pem = caller.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signed = SignedJWTParameters(
        issuer=caller.agent.client_id, subject=caller.agent.client_id, signing_key=pem, signing_algorithm="ES256"
    )
    auth = PrivateKeyJWTOAuthProvider(
        notebook.url, Storage(), caller.agent.client_id, signed.create_assertion_provider(), scope=READ, issuer=server
    )
    assert Running(notebook.url, auth, read).finish() == "Buy milk"


class TypescriptSdk:
    """The MCP TypeScript SDK's client, running; the user is in a browser of their own."""

    def __init__(
        self, program: NodeProgram, notebook: Notebook, somebody: ConsentingUser, grant_types: list[str]
    ) -> None:
        self.program, self.somebody = program, somebody
        program.send({"url": notebook.url, "redirect_uri": somebody.callback.url, "grant_types": grant_types})

    def call(self, tool: str, **parameters: str) -> None:
        self.program.send({"tool": tool, "parameters": parameters})

    def requested_scopes(self) -> set[str]:
        """The browser goes where the SDK sends it, and the user allows it."""
        url = self.program.receive()["authorize"]
        self.program.send({"arrived": f"http://localhost{self.somebody.allows_at(url)}"})
        return set(parse_qs(urlsplit(url).query)["scope"][0].split())

    def lose_access_token(self, called: dict[str, Any]) -> None:
        """Its access token ends, and nothing else of the grant. No test waits for a time to run out."""
        token, client_id = called["tokens"]["access_token"], called["client_id"]
        form = {"token": token, "token_type_hint": "access_token", "client_id": client_id}
        assert httpx.post(f"{settings.ISSUER_URL}/oauth/revoke", data=form).status_code == 200


@pytest.fixture
def typescript_sdk(
    notebook: Notebook,
    somebody: ConsentingUser,
    opened: Any,
    user: User,
    node_clients: Path,
    request: pytest.FixtureRequest,
) -> Iterator[TypescriptSdk]:
    with running_in_node(node_clients, "mcp_sdk.mjs") as program:
        yield TypescriptSdk(program, notebook, somebody, request.param)
    assert Agent.objects.get().registration_source == "dcr"


@pytest.mark.parametrize("typescript_sdk", [[AUTHORIZATION_CODE]], indirect=True, ids=["no refresh token"])
def test_the_typescript_sdk_registers_itself_and_asks_for_more(typescript_sdk: TypescriptSdk) -> None:
    """Without a refresh token it sends the browser again, each time that its access token has ended."""
    sdk = typescript_sdk
    assert sdk.requested_scopes() == {READ}
    sdk.call("read_notes")
    first = sdk.program.receive()
    assert first["text"] == "Buy milk" and "refresh_token" not in first["tokens"]

    sdk.call("write_note", text="Call mum")
    assert sdk.requested_scopes() == {READ, WRITE}
    written = sdk.program.receive()
    assert written["text"] == "2 notes"

    sdk.lose_access_token(written)
    sdk.call("read_notes")
    assert sdk.requested_scopes() == {READ}
    assert sdk.program.receive()["text"] == "Buy milk\nCall mum"


@pytest.mark.parametrize("typescript_sdk", [[AUTHORIZATION_CODE, REFRESH_TOKEN]], indirect=True, ids=["refreshes"])
@pytest.mark.parametrize("first_scopes", [(READ,), (READ, WRITE)], ids=["harmless scope first", "all at once"])
def test_the_typescript_sdk_refreshes_and_then_never_asks_for_more(
    typescript_sdk: TypescriptSdk, first_scopes: tuple[str, ...]
) -> None:
    """So an MCP server names every scope that its tools need at once (docs/guides/mcp.md)."""
    sdk = typescript_sdk
    assert sdk.requested_scopes() == set(first_scopes)
    sdk.call("read_notes")
    first = sdk.program.receive()
    assert first["text"] == "Buy milk"

    sdk.lose_access_token(first)
    sdk.call("read_notes")  # and nobody is asked
    second = sdk.program.receive()
    assert second["text"] == "Buy milk"
    assert second["tokens"]["refresh_token"] != first["tokens"]["refresh_token"]

    sdk.call("write_note", text="Call mum")
    written = sdk.program.receive()
    if WRITE in first_scopes:
        assert written["text"] == "2 notes"
    else:
        assert "Server returned 403 after trying upscoping" in written["error"]


@pytest.mark.parametrize("first_scopes", [()], ids=["no scopes"])
def test_a_server_that_names_no_scope(
    notebook: Notebook, somebody: ConsentingUser, opened: Any, user: User, first_scopes: tuple[str, ...]
) -> None:
    """As FastMCP does by default. The SDK then asks for ` offline_access`, which stands for every routine scope."""
    storage = Storage()
    running = Running(notebook.url, provider(notebook, somebody, storage), write)
    sent = parse_qs(urlsplit(somebody.allows(running)).query)
    assert running.finish() == "2 notes"
    assert sent["scope"] == [" offline_access"]
    assert set(storage.tokens.scope.split()) == {READ, WRITE, "offline_access"}
    assert storage.tokens.refresh_token
