"""A small MCP server that trusts Countersign: a notebook with one tool to read and one to write.

It needs the `mcp` package (2.3 or newer). It protects its tools in three steps:
1. It publishes who issues its tokens (RFC 9728).
2. It answers 401 without a token, and introspects each token at Countersign (RFC 7662), so that a revoked token is
   refused at once.
3. If a scope is missing, it names the scopes that the tool needs in a 403, so that the client asks the user for them.
It never passes the token on.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from mcp.server import MCPServer

# The scope that each tool needs.
READ, WRITE = "notes.read", "notes.write"
TOOL_SCOPES = {"read_notes": READ, "write_note": WRITE}
MAX_BODY = 64 * 1024

Message = MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]


def make_notebook() -> MCPServer:
    notebook, notes = MCPServer("Notebook"), ["Buy milk"]  # lint: allow an example note

    @notebook.tool()
    def read_notes() -> str:
        """All notes, one a line."""
        return "\n".join(notes)

    @notebook.tool()
    def write_note(text: str) -> str:
        """Adds a note."""
        notes.append(text)
        return f"{len(notes)} notes"

    return notebook


class Guarded:
    """The notebook as an ASGI application, behind tokens.

    `resource` is its own address, as registered with Countersign. `credential` is the resource's credential for
    introspection. A client without a token asks for all of `first_scopes`. If there are none, Countersign gives it
    every routine scope.
    """

    def __init__(
        self, *, resource: str, issuer: str, credential: tuple[str, str], first_scopes: tuple[str, ...] = (READ,)
    ) -> None:
        self.resource, self.issuer, self.credential = resource, issuer, credential
        self.first_scopes = first_scopes
        parts = urlsplit(resource)
        self.path = parts.path
        self.about_path = f"/.well-known/oauth-protected-resource{parts.path}"
        self.about_url = f"{parts.scheme}://{parts.netloc}{self.about_path}"
        self.app = make_notebook().streamable_http_app(streamable_http_path=self.path, stateless_http=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] in (self.about_path, "/.well-known/oauth-protected-resource"):
            await answer(send, 200, self.about())
        elif scope["path"] == self.path:
            await self._guard(scope, receive, send)
        else:
            await answer(send, 404, {"error": "not_found"})

    def about(self) -> dict[str, Any]:
        return {
            "resource": self.resource,
            "authorization_servers": [self.issuer],
            "scopes_supported": list(self.first_scopes),
            "bearer_methods_supported": ["header"],
        }

    async def _guard(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            await answer(send, 413, {"error": "too_large"})
            return
        needed = needed_scope(body)
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        reply = await self._introspect(header.removeprefix("Bearer ")) if header.startswith("Bearer ") else None
        if reply is None or not reply.get("active") or reply.get("aud") != self.resource:
            await self._challenge(send, 401, "invalid_token", " ".join(self.first_scopes), is_tried=bool(header))
        elif needed not in reply.get("scope", "").split():
            # All scopes that the client needs, including those it has, because it asks for exactly this list.
            wanted = " ".join(sorted({READ, needed}))
            await self._challenge(send, 403, "insufficient_scope", wanted)
        else:
            await self.app(scope, replay(body, receive), send)

    async def _introspect(self, token: str) -> dict[str, Any]:
        async with httpx.AsyncClient(auth=self.credential, timeout=10) as client:
            answered = await client.post(f"{self.issuer}/oauth/introspect", data={"token": token})
            answered.raise_for_status()
            return dict(answered.json())

    async def _challenge(self, send: Send, status: int, error: str, scopes: str, *, is_tried: bool = True) -> None:
        """RFC 6750 3, RFC 9728 5.1. Without a token the header has no `error` (RFC 6750 3.1)."""
        error_parameter = f'error="{error}", ' if is_tried else ""
        scope_parameter = f'scope="{scopes}", ' if scopes else ""
        challenge = f'Bearer {error_parameter}{scope_parameter}resource_metadata="{self.about_url}"'
        await answer(send, status, {"error": error}, [(b"www-authenticate", challenge.encode())])


def needed_scope(body: bytes) -> str:
    """The scope for the call in the body. The notebook itself refuses an unreadable body."""
    try:
        call = json.loads(body or b"{}")
    except ValueError:
        return WRITE
    if not isinstance(call, dict) or call.get("method") != "tools/call":
        return READ if isinstance(call, dict) else WRITE
    parameters = call.get("params")
    name = parameters.get("name") if isinstance(parameters, dict) else None
    return TOOL_SCOPES.get(name, WRITE) if isinstance(name, str) else WRITE


async def read_body(receive: Receive) -> bytes | None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            return None
    return body


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body again, for the notebook's application."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def answer(
    send: Send, status: int, body: dict[str, Any], headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    content = json.dumps(body).encode()
    response_headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": response_headers})
    await send({"type": "http.response.body", "body": content})
