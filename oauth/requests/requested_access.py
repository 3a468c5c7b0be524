"""What a request asks for, checked against what this agent may ask for.

Shared by the token endpoint and the backchannel endpoint. An empty list allows nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet

from clients.models import Agent
from foundation.canonical import canonical_json
from foundation.compiled_queries import CompiledQuery, Parameter, is_any
from foundation.errors import (
    InvalidAuthorizationDetails,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    ProtocolError,
)
from foundation.forms import parse_json
from oauth.requests.audience import judge_audience
from operations import wording
from operations.identifiers import is_same_resource
from operations.models import IDENTITY_SCOPES, OFFLINE_ACCESS, OperationType, OperationTypeVersion, Resource, Scope
from operations.risk import Risk

MAX_SCOPES = 30
MAX_DETAILS = 10
_NOT_ALLOWED = "this agent may not request one of these scopes"


@dataclass(frozen=True)
class RequestedAccess:
    """Scopes and operations that this agent may ask for, all of one resource."""

    identity_scopes: list[str] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    authorization_details: list[dict[str, Any]] = field(default_factory=list)
    versions: list[OperationTypeVersion] = field(default_factory=list)  # one per authorization_details object, in order
    resource: Resource | None = None
    offline: bool = False  # offline_access: the agent goes on while the user is away

    @property
    def scope_names(self) -> list[str]:
        offline = [OFFLINE_ACCESS] if self.offline else []
        return [*self.identity_scopes, *(scope.name for scope in self.scopes), *offline]

    @property
    def runs_unasked(self) -> bool:
        return not self.authorization_details and all(scope.runs_unasked for scope in self.scopes)


def find_requested_access(
    agent: Agent, parameters: Mapping[str, str], *, may_use_offline_access: bool = False, has_default: bool = False
) -> RequestedAccess:
    """Reads `scope`, `authorization_details` and `resource`. Raises a ProtocolError of RFC 6749, 8707, 9396.

    `may_use_offline_access`: a refresh token is possible. Otherwise offline_access is ignored (OpenID Connect Core
    11).
    `has_default`: a request that names no scope of a resource and no authorization_details gets the default scope.
    """
    names = scope_names(parameters.get("scope", ""))
    offline = may_use_offline_access and OFFLINE_ACCESS in names
    names = [name for name in names if name != OFFLINE_ACCESS]
    ignores_unknown = "openid" in names and "openid" in agent.identity_scopes
    identity = _find_identity_scopes(agent, names, ignores_unknown=ignores_unknown)
    names = [name for name in names if name not in IDENTITY_SCOPES]
    if has_default and _stands_for_default(names, identity, parameters):
        scopes = _find_default(agent, parameters.get("resource"))
    else:
        scopes = _find_scopes(agent, names, ignores_unknown=ignores_unknown)
    details = _parse_details(parameters.get("authorization_details"))
    versions = _find_versions(agent, details)
    resources = [scope.resource for scope in scopes]
    resources += [version.operation_type.resource for version in versions]
    identifier = judge_audience([resource.identifier for resource in resources], parameters.get("resource"))
    if isinstance(identifier, InvalidTarget) and not resources:
        raise _nothing_of(parameters["resource"], agent, names)
    if isinstance(identifier, ProtocolError):
        raise identifier
    return RequestedAccess(identity, scopes, details, versions, resources[0] if resources else None, offline)


def living_scopes() -> ArraySubquery:
    """Of a query whose rows have a `grant`: the scopes of its resource that its agent could ask for today, and
    that may run unasked. What an administrator took back since is not issued again."""
    scopes = Scope.objects.filter(
        agents=OuterRef("grant__agent_id"),
        resource_id=OuterRef("grant__resource_id"),
        risk=Risk.ROUTINE,
        is_active=True,
    )
    return ArraySubquery(scopes.values("name"))


def scope_names(scope: str) -> list[str]:
    """RFC 6749 3.3, and surplus spaces: MCP clients send ` offline_access` where an MCP server names no scope."""
    names = list(dict.fromkeys(filter(None, scope.split(" "))))
    if len(names) > MAX_SCOPES:
        raise InvalidScope(f"scope must have at most {MAX_SCOPES} scopes")
    return names


def _stands_for_default(names: list[str], identity: list[str], parameters: Mapping[str, str]) -> bool:
    """`names`: without the scopes of OpenID Connect. With those, a request that names no resource is a mere sign-in.

    The MCP Python SDK asks for `openid offline_access` and a resource where the MCP server names no scope.
    """
    return not names and "authorization_details" not in parameters and (not identity or "resource" in parameters)


def _find_default(agent: Agent, unverified_resource: str | None) -> list[Scope]:
    """RFC 6749 3.3: everything routine that the agent may ask for of the resource that the request names, or of the
    only one that there is. Who the user is, and offline_access, are never in it."""
    found = _ALL_SCOPES(agent=agent.pk)
    if unverified_resource is not None:
        found = [scope for scope in found if is_same_resource(scope.resource.identifier, unverified_resource)]
        if not found:
            raise InvalidTarget("this agent has no scope of this resource")
    scopes = [scope for scope in found if scope.runs_unasked]
    if not scopes:
        raise InvalidScope("scope is missing, and this agent has no routine scope as a default")
    if len({scope.resource_id for scope in scopes}) > 1:
        raise InvalidScope("scope is missing, and this agent's scopes belong to several resources: send resource")
    return scopes


def _find_identity_scopes(agent: Agent, names: list[str], *, ignores_unknown: bool) -> list[str]:
    """Those of OpenID Connect among `names`."""
    requested = [name for name in names if name in IDENTITY_SCOPES]
    allowed = [name for name in requested if name in agent.identity_scopes]
    if allowed != requested and not ignores_unknown:
        raise InvalidScope(_NOT_ALLOWED)
    return allowed


def _nothing_of(unverified_resource: str, agent: Agent, names: list[str]) -> ProtocolError:
    """The error of a request that names a resource, but nothing of it that this agent may ask for.

    A mistyped scope is ignored beside `openid`. It is the mistake, and not the resource, if the agent
    may ask for something else of that resource.
    """
    if not names:
        return InvalidTarget()
    allowed = [scope.resource.identifier for scope in _ALL_SCOPES(agent=agent.pk)]
    allowed += _active_types(agent.pk).values_list("resource__identifier", flat=True)
    if any(is_same_resource(identifier, unverified_resource) for identifier in allowed):
        return InvalidScope(f"this agent may not ask for {', '.join(names)}")
    return InvalidTarget()


def _find_scopes(agent: Agent, names: list[str], *, ignores_unknown: bool) -> list[Scope]:
    """Unknown and not allowed are one answer: an agent does not learn what else there is.

    OpenID Connect Core 3.1.2.1: beside `openid` they are ignored. The answer's `scope` says what is left.
    """
    if not names:
        return []
    scopes = {scope.name: scope for scope in _NAMED_SCOPES(agent=agent.pk, names=names)}
    if len(scopes) != len(names) and not ignores_unknown:
        raise InvalidScope(_NOT_ALLOWED)
    return [scopes[name] for name in names if name in scopes]


def _active_scopes() -> QuerySet[Scope]:
    return Scope.objects.filter(agents=Parameter("agent"), is_active=True, resource__is_active=True).select_related(
        "resource"
    )


def _active_types(agent_id: int | Parameter) -> QuerySet[OperationType]:
    return OperationType.objects.filter(agents=agent_id, is_active=True, resource__is_active=True)


_ALL_SCOPES = CompiledQuery(lambda: _active_scopes().order_by("name"))
_NAMED_SCOPES = CompiledQuery(lambda: _active_scopes().filter(is_any("name", "names")))
_NAMED_TYPES = CompiledQuery(
    lambda: (
        _active_types(Parameter("agent"))
        .filter(is_any("name", "names"), current__isnull=False)
        .select_related("current", "resource")
    )
)


def _parse_details(text: str | None) -> list[dict[str, Any]]:
    """RFC 9396 2: a JSON array of objects with a `type`."""
    if text is None:
        return []
    try:
        details = parse_json(text, "authorization_details")
        canonical_json(details)
    except InvalidRequest as error:
        raise InvalidAuthorizationDetails(error.description) from error
    except ValueError as error:
        raise InvalidAuthorizationDetails(
            "authorization_details has a number outside the safe range of JSON"
        ) from error
    if not isinstance(details, list) or not 1 <= len(details) <= MAX_DETAILS:
        raise InvalidAuthorizationDetails(f"authorization_details must be an array of 1 to {MAX_DETAILS} objects")
    if not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in details):
        raise InvalidAuthorizationDetails("each element of authorization_details must be an object with a type")
    return details


def _find_versions(agent: Agent, details: list[dict[str, Any]]) -> list[OperationTypeVersion]:
    if not details:
        return []
    names = {one["type"] for one in details}
    known = {one.name: one for one in _NAMED_TYPES(agent=agent.pk, names=sorted(names))}
    versions = []
    for one in details:
        version = known[one["type"]].current if one["type"] in known else None
        if version is None:
            raise InvalidAuthorizationDetails("this agent may not request this operation type")
        version.operation_type = known[one["type"]]
        _check_one(one, version)
        versions.append(version)
    return versions


def _check_one(one: dict[str, Any], version: OperationTypeVersion) -> None:
    from operations import schemas  # imported late: only a process that serves requests checks them

    value = {name: item for name, item in one.items() if name != "type"}
    kind = version.operation_type.name
    if problem := schemas.first_mismatch(version.schema, value):
        raise InvalidAuthorizationDetails(f"{kind}: {problem}")
    if problem := wording.unshowable(value):
        raise InvalidAuthorizationDetails(f"{kind}: {problem}")
