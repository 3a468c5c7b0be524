"""What a body of POST /v1/leases requests: the role, and whether the token's grant is for it."""

from typing import Any

from django.conf import settings

from clients.models import Agent
from credentials.backends.roles import type_name
from credentials.errors import InsufficientAuthorization, UnknownRole
from credentials.leases.api_authentication import TokenCall
from credentials.leases.lifecycle import LeaseRequest
from credentials.leases.serializers import DEFAULT_WRAP_S, WRAPPED
from credentials.models import Role
from foundation.plaintext import problem_with
from operations.risk import Risk, may_run_unasked


def find_role(agent: Agent, name: str) -> Role:
    """The role.

    Unknown and forbidden roles get the same answer, so that an agent does not learn which roles
    exist.
    """
    allowed = agent.operation_types.filter(is_active=True, resource__is_active=True)
    role = Role.objects.select_related("operation_type__current", "operation_type__resource", "backend")
    found = role.filter(name=name, operation_type__in=allowed).first()
    if found is None:
        raise UnknownRole()
    return found


def read_lease_request(call: TokenCall, role: Role, body: dict[str, Any], key: str | None) -> LeaseRequest:
    """Raises InsufficientAuthorization if the token's grant is not for this role."""
    granted = call.token.grant.authorization_details if call.token.grant else []
    details = next((one for one in granted if one["type"] == type_name(role.name)), None)
    if call.token.grant is None or details is None:
        raise InsufficientAuthorization(_required_request(role, body))
    return LeaseRequest(
        role=role,
        grant_id=call.token.grant.pk,
        purpose=str(details.get("purpose", ""))[:200],
        lifetime=body.get("lifetime"),
        approved_lifetime=details.get("lifetime"),
        wrap_for=(body.get("wrap_lifetime") or DEFAULT_WRAP_S) if body["delivery"] == WRAPPED else None,
        idempotency_key=key,
    )


def _required_request(role: Role, body: dict[str, Any]) -> dict[str, Any]:
    """What the agent must send, and where: to the token endpoint if the operation runs without
    approval, otherwise to /bc-authorize.
    """
    details: dict[str, Any] = {"type": type_name(role.name)}
    purpose, lifetime = body.get("purpose"), body.get("lifetime")
    if purpose and problem_with(purpose, max_length=200) is None:
        details["purpose"] = purpose
    if lifetime and lifetime <= role.max_lifetime:
        details["lifetime"] = lifetime
    current = role.operation_type.current
    unasked = current is not None and may_run_unasked(Risk(current.risk))
    where = "token_endpoint" if unasked else "backchannel_authentication_endpoint"
    path = "/oauth/token" if unasked else "/bc-authorize"
    return {
        "authorization_details": [details],
        "resource": role.operation_type.resource.identifier,
        where: f"{settings.ISSUER_URL}{path}",
        "operation_types": f"{settings.ISSUER_URL}/v1/operation-types",
    }
