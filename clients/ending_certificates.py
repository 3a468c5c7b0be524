"""Agents whose registered certificate ends soon. Afterwards they can no longer authenticate."""

from datetime import datetime, timedelta
from typing import Any

from clients import keys
from clients.models import Agent
from foundation.certificates import parse_der

ENDS_SOON = timedelta(days=30)
MAX_READ = 1000  # of agents, so that a page which counts them stays fast


def find_agents(before: datetime) -> list[int]:
    """The keys of active agents that authenticate by a certificate of their own, none of which is valid at `before`."""
    method = Agent.AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH
    agents = Agent.objects.filter(token_endpoint_auth_method=method, status=Agent.Status.ACTIVE).order_by("pk")
    rows = agents.values_list("pk", "client_jwks", "published_keys__jwks")[:MAX_READ]
    return [pk for pk, registered, published in rows if _end_by(registered or published, before)]


def _end_by(jwks: Any, before: datetime) -> bool:
    ends = [parse_der(der).not_valid_after_utc for der in keys.registered_certificates(jwks)]
    return bool(ends) and max(ends) <= before
