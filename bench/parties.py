"""Who takes part in `make bench`: agents, users with a session each, a resource. Both servers know the same ones."""

import secrets
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from load import Connection, get, post
from product import JWT_BEARER, Agent, sign_in

CALLBACK = "https://app.example.com/callback"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CSRF = secrets.token_hex(16)


class Side(Protocol):
    """One of the two servers, and how it makes what a round needs beforehand."""

    port: int
    server: int  # the first of its processes
    parties: "Parties"

    def codes(self, count: int, scope: str) -> list[str]: ...
    def refresh_tokens(self, count: int, scope: str) -> list[str]: ...
    def open_requests(self, count: int, scope: str) -> list[str]:
        """Their auth_req_ids."""

    async def approve(self, connection: Connection, auth_req_id: str, number: int, /) -> None:
        """As the user with this number."""


@dataclass(frozen=True)
class Parties:
    host: str
    agent: Any  # authenticates by a secret
    secret: str
    key_agent: Agent  # authenticates by private_key_jwt
    resource: Any
    resource_secret: str
    scope: str  # a routine one of the resource
    users: list[Any]
    sessions: list[str]

    @property
    def issuer(self) -> str:
        return f"http://{self.host}"

    @property
    def client_id(self) -> str:
        return str(self.agent.client_id)

    def get(self, path: str, **headers: str) -> bytes:
        return get(path, self.host, **headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> bytes:
        """As the agent with the secret."""
        return post(path, self.host, form, Authorization=basic(self.client_id, self.secret), **headers)

    def post_assertion(self, path: str, form: dict[str, str]) -> bytes:
        """As the agent with the key."""
        assertion = self.key_agent.assertion()
        return post(path, self.host, form | {"client_assertion_type": JWT_BEARER, "client_assertion": assertion})

    @property
    def resource_credential(self) -> str:
        return basic(str(self.resource.id), self.resource_secret)

    def approval(self, prompt_id: str, number: int) -> bytes:
        """As the page of the user with this number sends it."""
        cookies = f"session={self.sessions[number % len(self.sessions)]}; csrf={CSRF}"
        headers = {"Cookie": cookies, "X-CSRFToken": CSRF}
        return post(f"/v1/prompts/{prompt_id}/approve", self.host, {}, **headers)

    def for_peer(self) -> dict[str, Any]:
        """The same agents and the same resource, as oidc-provider takes them."""
        common: dict[str, Any] = {"redirect_uris": [], "response_types": []}
        grant_types = ["authorization_code", "refresh_token", "client_credentials", "urn:openid:params:grant-type:ciba"]
        scope = f"openid offline_access {self.scope}"
        return {
            "resource": {"identifier": self.resource.identifier, "scope": self.scope},
            "clients": [
                {
                    "client_id": self.client_id, "client_secret": self.secret, "scope": scope,
                    "grant_types": grant_types, "redirect_uris": [CALLBACK], "response_types": ["code"],
                    "backchannel_token_delivery_mode": "poll",
                },
                common | {
                    "client_id": str(self.key_agent.row.client_id), "scope": scope,
                    "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt",
                    "token_endpoint_auth_signing_alg": "ES256", "jwks": self.key_agent.row.client_jwks,
                },
                common | {
                    "client_id": str(self.resource.id), "client_secret": self.resource_secret, "grant_types": [],
                },
            ],
        }  # fmt: skip


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def make_parties(host: str, count: int) -> Parties:
    """With so many users, all of whom the agent may ask."""
    from django.utils import timezone

    from accounts.models import User
    from audit.record import SYSTEM, About
    from operations.lifecycle import issue_resource_secret
    from operations.models import Scope

    users = User.objects.bulk_create(User(email=f"bench{number}@example.com") for number in range(count))
    agent, secret = make_agent(users)
    key_agent = Agent("Bench with a key")
    resource = Scope.objects.get(name=key_agent.scope).resource
    resource_secret = issue_resource_secret(resource, About(SYSTEM), timezone.now())
    sessions = [sign_in(user) for user in users]
    return Parties(host, agent, secret, key_agent, resource, resource_secret, key_agent.scope, users, sessions)


def make_agent(users: list[Any], **fields: Any) -> tuple[Any, str]:
    """An agent that may do everything and ask these users, and its secret."""
    from django.db import transaction
    from django.utils import timezone

    from clients.models import Agent as Row
    from clients.models import AgentLink, AgentSecret
    from operations.models import OperationType, Scope

    agent = Row(
        name="Bench", token_endpoint_auth_method=Row.AuthMethod.CLIENT_SECRET_BASIC, redirect_uris=CALLBACK,
        grant_types=Row.GrantType.values, **fields,
    )  # fmt: skip
    agent.save()
    agent.scopes.set(Scope.objects.all())
    agent.operation_types.set(OperationType.objects.all())
    AgentLink.objects.bulk_create(AgentLink(agent=agent, user=user, is_linked=True) for user in users)
    with transaction.atomic():
        return agent, AgentSecret.issue(agent, timezone.now())
