"""The access token of an agent that calls /v1/leases, and its description at /v1/schema."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from clients.lookup import find_stored_agent
from clients.models import Agent
from credentials.backends.secrets import LEASES_SCOPE, audience
from credentials.errors import NotAllowed, UnknownLease
from credentials.models import Lease
from oauth.errors import Unauthorized
from oauth.resource_servers.access import authenticate_call
from oauth.tokens.token_verification import LiveToken


class TokenCall:
    """The calling agent, and what its token is for."""

    def __init__(self, token: LiveToken) -> None:
        self.token = token
        agent = find_stored_agent(token.claims["client_id"])
        if agent is None:  # deleted since its token was verified
            raise Unauthorized()
        self.agent = agent

    def find_lease(self, lease_id: UUID) -> Lease:
        """The agent's own lease.

        Raises UnknownLease, and NotAllowed if the token is for something else.
        """
        leases = Lease.objects.select_related("agent", "role", "backend", "grant")
        lease = leases.filter(pk=lease_id, agent=self.agent).first()
        if lease is None:
            raise UnknownLease()
        if not self.has_scope and (self.token.grant is None or self.token.grant.pk != lease.grant_id):
            raise NotAllowed()
        return lease

    @property
    def has_scope(self) -> bool:
        return LEASES_SCOPE in str(self.token.claims.get("scope", "")).split()


class AccessToken(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Agent, TokenCall]:
        """Raises Unauthorized."""
        now = timezone.now()  # lint: allow a request begins here
        call = TokenCall(authenticate_call(request._request, audience=audience(), now=now))
        return call.agent, call


# drf-spectacular finds it by its base class.
class AccessTokenDescription(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = AccessToken
    name = "access_token"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An agent's access token for this server. A token that is bound to a DPoP key is sent with "
            "the scheme DPoP and a proof in the header DPoP (RFC 9449).",
        }
