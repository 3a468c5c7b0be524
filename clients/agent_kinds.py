"""The kinds of agents that an administrator registers, and what each needs.

A kind only chooses the first values of a registration. Nothing stores it.
"""

from dataclasses import dataclass

from clients.models import AUTHORIZATION_CODE, CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN

LOOPBACK_URI = "http://127.0.0.1/callback"  # the port is free (RFC 8252 7.3)


@dataclass(frozen=True)
class AgentKind:
    """`redirect_uris`: the first value of the field; None if no browser returns to the agent."""

    name: str
    title: str
    sentence: str
    grant_types: tuple[str, ...]
    has_owner: bool = False
    redirect_uris: str | None = None
    application_type: str = "web"

    @property
    def is_public(self) -> bool:
        """Whether the agent cannot keep a key, so that it has none (RFC 6749 2.1)."""
        return self.redirect_uris is not None

    @property
    def asks_users(self) -> bool:
        return CIBA in self.grant_types


KINDS = {
    kind.name: kind
    for kind in (
        AgentKind(
            "server",
            "A service on a server",
            "It does routine work by itself, and asks users for an approval before anything dangerous.",
            (CIBA, CLIENT_CREDENTIALS),
        ),
        AgentKind(
            "script",
            "A script of one user",
            "It runs on that user's machine or in their name, and asks only them.",
            (CIBA, CLIENT_CREDENTIALS),
            has_owner=True,
        ),
        AgentKind(
            "desktop",
            "A desktop or command-line tool",
            "Its user signs in and consents in the browser. The tool has no secret.",
            (AUTHORIZATION_CODE, REFRESH_TOKEN),
            redirect_uris=LOOPBACK_URI,
            application_type="native",
        ),
        AgentKind(
            "mcp",
            "An MCP client",
            "Its user consents in the browser before it calls an MCP server. Many MCP clients register by "
            "themselves: register one here if yours does not.",
            (AUTHORIZATION_CODE, REFRESH_TOKEN),
            redirect_uris=LOOPBACK_URI,
            application_type="native",
        ),
    )
}
