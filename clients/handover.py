"""What the builder of an agent gets: what is still missing, an environment file, a program, and a curl line."""

import shlex
from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.template.loader import render_to_string

from accounts.models import User
from clients import keys
from clients.models import CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN, Agent
from clients.redirects import is_loopback
from operations.models import OFFLINE_ACCESS

# How an agent proves who it is, for the texts and programs.
NONE, SECRET, KEY, CERTIFICATE = "public", "secret", "key", "certificate"


def missing_parts(agent: Agent) -> list[str]:
    """What the agent still lacks before it can work, a sentence each."""
    lacks_secret = (
        agent.token_endpoint_auth_method in Agent.SECRET_METHODS and not agent.secrets.filter(revoked_at=None).exists()
    )
    asks = agent.allows_grant_type(CIBA)
    lacks_users = asks and not agent.user_id and not agent.groups.exists() and not _linked(agent).exists()
    lacks_rights = not agent.scopes.exists() and not agent.operation_types.exists()
    sentences = {
        "It has no secret: issue one.": lacks_secret,
        "It may ask for nothing: choose scopes or operations.": lacks_rights,
        "It may ask nobody: choose users, a group or an owner.": lacks_users,
        "Each CIBA request needs the scope openid, which this agent may not ask for.": asks
        and "openid" not in agent.identity_scopes,
    }
    return [sentence for sentence, is_lacking in sentences.items() if is_lacking]


def _linked(agent: Agent) -> Any:
    return agent.links.filter(is_linked=True, stopped_at=None)


def handover(agent: Agent, secret: str | None) -> dict[str, Any]:
    """What the builder of the agent needs, for the template: an environment file, a program, and a curl line."""
    credential = _credential(agent)
    environment = _environment(agent, credential, secret)
    has_curl = credential == SECRET and "COUNTERSIGN_ROUTINE_SCOPE" in environment
    return {
        "issuer": settings.ISSUER_URL,
        "agent": agent,
        "credential": credential,
        "secret": secret,
        "missing": missing_parts(agent),
        "environment": "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items()),
        "program": _program(agent, credential),
        "curl": _curl(environment) if has_curl else None,
    }


def _credential(agent: Agent) -> str:
    if agent.is_public:
        return NONE
    if agent.token_endpoint_auth_method in Agent.SECRET_METHODS:
        return SECRET
    return CERTIFICATE if agent.uses_mutual_tls else KEY


def _program(agent: Agent, credential: str) -> str | None:
    """A program that works as it is; None if there is none for such an agent."""
    can_sign = credential == SECRET or (credential == KEY and _signs_by_es256(agent))
    if credential == NONE and is_loopback(_redirect_uri(agent)):
        name = "code.py.txt"
    elif can_sign and agent.allows_grant_type(CIBA):
        name = "agent.py.txt"
    else:
        return None
    return render_to_string(f"admin/clients/agent/programs/{name}", {"credential": credential})


def _signs_by_es256(agent: Agent) -> bool:
    return "ES256" in keys.signing_algorithms(agent.client_jwks or {"keys": []})


def _redirect_uri(agent: Agent) -> str:
    return next(iter(agent.redirect_uris.split()), "")


def _environment(agent: Agent, credential: str, secret: str | None) -> dict[str, str]:
    """Names and values. The scopes are those of one resource, because a token is for one (RFC 8707)."""
    scopes = list(agent.scopes.filter(is_active=True).select_related("resource").order_by("resource_id", "name"))
    together = [scope for scope in scopes if scope.resource_id == scopes[0].resource_id]
    routine = " ".join(scope.name for scope in together if scope.runs_unasked)
    environment = {"COUNTERSIGN_ISSUER": settings.ISSUER_URL, "COUNTERSIGN_CLIENT_ID": str(agent.client_id)}
    if credential == NONE:
        offline = OFFLINE_ACCESS if agent.allows_grant_type(REFRESH_TOKEN) else ""
        return environment | {
            "COUNTERSIGN_REDIRECT_URI": _redirect_uri(agent),
            "COUNTERSIGN_SCOPE": " ".join(filter(None, ["openid", routine, offline])),
        }
    if credential == KEY:
        environment["COUNTERSIGN_KEY_FILE"] = "agent-key.json"
    elif credential == SECRET:
        environment["COUNTERSIGN_CLIENT_SECRET"] = secret or ""
    environment["COUNTERSIGN_SCOPE"] = " ".join(scope.name for scope in together)
    if routine and agent.allows_grant_type(CLIENT_CREDENTIALS):
        environment["COUNTERSIGN_ROUTINE_SCOPE"] = routine
    return environment | {"COUNTERSIGN_USER": _example_user(agent)}


def _curl(environment: Mapping[str, str]) -> str:
    who = f"{environment['COUNTERSIGN_CLIENT_ID']}:{environment['COUNTERSIGN_CLIENT_SECRET'] or 'SECRET'}"
    scope = environment["COUNTERSIGN_ROUTINE_SCOPE"]
    line = ["curl", "-u", who, "-d", "grant_type=client_credentials", "--data-urlencode", f"scope={scope}"]
    return shlex.join([*line, f"{settings.ISSUER_URL}/oauth/token"]) + "\n"


def _example_user(agent: Agent) -> str:
    if agent.user_id:
        return str(cast(User, agent.user).email)
    link = _linked(agent).select_related("user").first()
    return str(link.user.email) if link else ""
