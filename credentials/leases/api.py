"""/v1/leases: an agent requests, reads, renews and revokes its own leases.

Another agent's leases are unknown to it.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from clients.models import Agent
from credentials.backends.roles import MIN_LIFETIME_S, type_name
from credentials.backends.secrets import LEASES_SCOPE, audience
from credentials.errors import InsufficientAuthorization, NotAllowed, UnknownHandle, UnknownLease, UnknownRole
from credentials.leases import issuance, lifecycle, revocation
from credentials.leases.issuance import IssuedLease, WrappedLease
from credentials.leases.lifecycle import AlreadyUnwrapped, EndReason, LeaseRequest
from credentials.leases.states import FINAL_STATES, State
from credentials.models import MAX_LIFETIME_S, Lease, Role
from foundation.attempts import limited
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import parse_json, read_body
from foundation.idempotency import parse_idempotency_key
from foundation.plaintext import problem_with
from oauth.resource_servers.access import authenticate_call
from oauth.tokens.sender_constraint import adds_nonce
from oauth.tokens.token_verification import LiveToken
from operations.risk import Risk, may_run_unasked

LEASES_PER_PAGE = 100
DEFAULT_WRAP_S, MAX_WRAP_S = 60, 600  # seconds

LeaseShape = inline_serializer(
    "Lease",
    {
        "lease_id": serializers.UUIDField(),
        "role": serializers.CharField(),
        "state": serializers.ChoiceField([state.value for state in State]),
        "purpose": serializers.CharField(),
        "created_at": serializers.DateTimeField(),
        "issued_at": serializers.DateTimeField(allow_null=True),
        "expires_at": serializers.DateTimeField(),
        "max_expires_at": serializers.DateTimeField(help_text="No renewal goes beyond."),
        "bound_by": serializers.CharField(help_text="The limit that expires_at comes from."),
        "renewable": serializers.BooleanField(),
        "revocable": serializers.BooleanField(
            allow_null=True, help_text="False: it ends only by itself, within 15 minutes."
        ),
        "ends_with": serializers.ListField(help_text="What else ends it.", child=serializers.CharField()),
        "grant_id": serializers.UUIDField(),
        "operation_digest": serializers.CharField(),
        "ended_at": serializers.DateTimeField(allow_null=True),
        "end_reason": serializers.CharField(),
        "revoked_at": serializers.DateTimeField(allow_null=True, help_text="Confirmed by a read on the system."),
    },
)
IssuedLeaseShape = inline_serializer(
    "IssuedLease",
    {
        "lease": LeaseShape,
        "credential": inline_serializer(
            "Credential", {"username": serializers.CharField(), "password": serializers.CharField()}
        ),
        "connection": serializers.JSONField(help_text="Host, port and the like; by the kind of system."),
    },
)
LeaseRequestShape = inline_serializer(
    "LeaseRequest",
    {
        "role": serializers.CharField(),
        "lifetime": serializers.IntegerField(required=False, help_text="Seconds; the role's default otherwise."),
        "delivery": serializers.ChoiceField(["direct", "wrapped"], required=False),
        "wrap_lifetime": serializers.IntegerField(required=False, help_text="Seconds that a handle may be unwrapped."),
        "purpose": serializers.CharField(
            required=False, help_text="Only repeated in the answer that says what to ask."
        ),
    },
)
Refusal = inline_serializer(
    "LeaseRefusal", {"error": serializers.CharField(), "error_description": serializers.CharField()}
)
IDEMPOTENCY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="A repeat spends nothing.")


class TokenCall:
    """The calling agent, and what its token is for."""

    def __init__(self, request: HttpRequest) -> None:
        self.token: LiveToken = authenticate_call(request, audience=audience(), now=timezone.now())
        self.agent = Agent.objects.get(client_id=self.token.claims["client_id"])

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


class LeaseView(APIView):
    """Plain JSON in and out; errors as those of all protocol endpoints."""


class Leases(LeaseView):
    @extend_schema(
        operation_id="lease_request",
        request=LeaseRequestShape,
        parameters=[IDEMPOTENCY],
        responses={201: IssuedLeaseShape} | dict.fromkeys((403, 404, 409, 429, 502, 503), Refusal),
    )
    def post(self, request: Request) -> HttpResponse:
        """Buys a lease with a token whose grant is for `credential:<role>`: spends one use, makes the account."""
        body = _read(request)
        call = TokenCall(request._request)
        role = _find_role(call.agent, body)
        try:
            wanted = _lease_request(call, role, body, parse_idempotency_key(request._request))
        except InsufficientAuthorization as error:
            grant = call.token.grant
            lifecycle.refuse(str(call.agent.client_id), grant, role.name, error, timezone.now())
            raise
        answer = issuance.issue_lease(wanted, timezone.now())
        if isinstance(answer, ProtocolError):
            raise answer
        return _issued_response(answer)

    @extend_schema(
        operation_id="leases", responses=inline_serializer("Leases", {"leases": type(LeaseShape)(many=True)})
    )
    def get(self, request: Request) -> HttpResponse:
        """The agent's own leases that are not yet confirmed gone, newest first; `?ended=true`: the ended too."""
        call = TokenCall(request._request)
        if not call.has_scope:
            raise NotAllowed()
        leases = Lease.objects.select_related("role", "backend").filter(agent=call.agent)
        if request._request.GET.get("ended") != "true":
            leases = leases.exclude(state__in=FINAL_STATES)
        return json_response({"leases": [shape(lease) for lease in leases[:LEASES_PER_PAGE]]})


class OneLease(LeaseView):
    @extend_schema(operation_id="lease", responses={200: LeaseShape, 404: Refusal})
    def get(self, request: Request, lease_id: UUID) -> HttpResponse:
        return json_response(shape(TokenCall(request._request).find_lease(lease_id)))


class Renew(LeaseView):
    @extend_schema(
        operation_id="lease_renew",
        request=inline_serializer(
            "LeaseRenewal",
            {"lifetime": serializers.IntegerField(required=False, help_text="Seconds; as it was bought, otherwise.")},
        ),
        responses={200: LeaseShape, 404: Refusal, 409: Refusal, 502: Refusal, 503: Refusal},
    )
    def post(self, request: Request, lease_id: UUID) -> HttpResponse:
        """From now on, never beyond max_expires_at; the grant must be alive, and the agent still allowed to ask."""
        body = _read(request, optional=True)
        _only(body, {"lifetime"})
        lease = TokenCall(request._request).find_lease(lease_id)
        life = issuance.renew(lease, _seconds(body, "lifetime", MIN_LIFETIME_S, MAX_LIFETIME_S), timezone.now())
        if isinstance(life, ProtocolError):
            raise life
        return json_response(shape(lease))


class Revoke(LeaseView):
    @extend_schema(operation_id="lease_revoke", request=None, responses={200: LeaseShape, 404: Refusal})
    def post(self, request: Request, lease_id: UUID) -> HttpResponse:
        """Ends it; again does nothing. `state` says whether the account is confirmed gone already."""
        call = TokenCall(request._request)
        lease = call.find_lease(lease_id)
        lifecycle.end(lease, EndReason.AGENT, f"agent:{call.agent.client_id}", timezone.now())
        revocation.revoke_now(lease.id)
        lease.refresh_from_db()
        return json_response(shape(lease))


class Unwrap(LeaseView):
    @extend_schema(
        operation_id="lease_unwrap",
        request=inline_serializer("LeaseUnwrapping", {"handle": serializers.CharField()}),
        responses={201: IssuedLeaseShape, 404: Refusal, 409: Refusal, 429: Refusal, 502: Refusal, 503: Refusal},
    )
    def post(self, request: Request) -> HttpResponse:
        """Whoever holds the handle, once. The answer says whose it is; a second time ends the lease."""
        body = _read(request)
        _only(body, {"handle"})
        handle = body.get("handle")
        if not isinstance(handle, str) or not handle.isascii() or len(handle) > 100:
            raise InvalidRequest("handle is missing")
        now = timezone.now()
        with limited("lease handle", handle, request._request.META["REMOTE_ADDR"], now, wrong=UnknownHandle):
            answer = issuance.unwrap(handle, now)
            if answer is None or isinstance(answer, AlreadyUnwrapped):
                raise UnknownHandle()
            if isinstance(answer, ProtocolError):
                raise answer
        return _issued_response(answer)


def _read(request: Request, *, optional: bool = False) -> dict[str, Any]:
    if optional and not request._request.META.get("CONTENT_LENGTH"):
        return {}
    body = parse_json(read_body(request._request, "application/json"), "the body")
    if not isinstance(body, dict):
        raise InvalidRequest("the body is a JSON object")
    return body


def _only(body: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(body) - known):
        raise InvalidRequest(f"the body has an unknown member: {unknown[0][:50]}")


def _seconds(body: dict[str, Any], name: str, minimum: int, max_length: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not minimum <= value <= max_length:
        raise InvalidRequest(f"{name} is a whole number of seconds from {minimum} to {max_length}")
    return value


def _find_role(agent: Agent, body: dict[str, Any]) -> Role:
    """The role.

    Unknown and forbidden roles get the same answer, so that an agent does not learn which roles
    exist.
    """
    _only(body, {"role", "lifetime", "delivery", "wrap_lifetime", "purpose"})
    name = body.get("role")
    if not isinstance(name, str):
        raise InvalidRequest("role is missing")
    allowed = agent.operation_types.filter(is_active=True, resource__is_active=True)
    role = Role.objects.select_related("operation_type__current", "operation_type__resource", "backend")
    found = role.filter(name=name, operation_type__in=allowed).first()
    if found is None:
        raise UnknownRole()
    return found


def _lease_request(call: TokenCall, role: Role, body: dict[str, Any], key: str | None) -> LeaseRequest:
    """Validates the request.

    Raises InsufficientAuthorization if the token's grant is not for this role.
    """
    lifetime = _seconds(body, "lifetime", MIN_LIFETIME_S, MAX_LIFETIME_S)
    wrap = _seconds(body, "wrap_lifetime", 1, MAX_WRAP_S)
    delivery = body.get("delivery", "direct")
    if delivery not in ("direct", "wrapped") or (wrap and delivery == "direct"):
        raise InvalidRequest("delivery is direct or wrapped; wrap_lifetime is for wrapped")
    granted = call.token.grant.authorization_details if call.token.grant else []
    details = next((one for one in granted if one["type"] == type_name(role.name)), None)
    if call.token.grant is None or details is None:
        raise InsufficientAuthorization(_required_request(role, body, lifetime))
    return LeaseRequest(
        role=role,
        grant_id=call.token.grant.pk,
        purpose=str(details.get("purpose", ""))[:200],
        lifetime=lifetime,
        approved_lifetime=details.get("lifetime"),
        wrap_for=(wrap or DEFAULT_WRAP_S) if delivery == "wrapped" else None,
        idempotency_key=key,
    )


def _required_request(role: Role, body: dict[str, Any], lifetime: int | None) -> dict[str, Any]:
    """What the agent must send, and where: to the token endpoint if the operation runs without
    approval, otherwise to /bc-authorize.
    """
    details: dict[str, Any] = {"type": type_name(role.name)}
    purpose = body.get("purpose")
    if isinstance(purpose, str) and purpose and problem_with(purpose, max_length=200) is None:
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


def _issued_response(answer: IssuedLease | WrappedLease) -> HttpResponse:
    body: dict[str, Any] = {"lease": shape(answer.lease)}
    if isinstance(answer, WrappedLease):
        ends = answer.lease.wrap_expires_at
        body["wrapped"] = {
            "handle": answer.handle,
            "unwrap_endpoint": f"{settings.ISSUER_URL}/v1/leases/unwrap",
            "expires_at": ends.isoformat() if ends else None,
        }
    else:
        body["credential"] = {"username": answer.lease.account_name, "password": answer.password}
        body["connection"] = answer.connection
    return json_response(body, 200 if answer.is_repeat else 201)


def shape(lease: Lease) -> dict[str, Any]:
    def at(value: Any) -> str | None:
        return value.isoformat() if value else None

    return {
        "lease_id": str(lease.id),
        "role": lease.role.name,
        "state": str(lease.state),
        "purpose": lease.purpose,
        "created_at": at(lease.created_at),
        "issued_at": at(lease.issued_at),
        "expires_at": at(lease.expires_at),
        "max_expires_at": at(lease.max_expires_at),
        "bound_by": str(lease.bound_by),
        "renewable": lease.state == State.ACTIVE and lease.expires_at < lease.max_expires_at,
        "revocable": lease.backend.is_revocable,
        "ends_with": ["grant", "agent", "user"] if lease.user_id else ["grant", "agent"],
        "grant_id": str(lease.grant_id),
        "operation_digest": lease.operation_digest,
        "ended_at": at(lease.ended_at),
        "end_reason": lease.end_reason,
        "revoked_at": at(lease.revoked_at),
    }


def endpoint(name: str, view: type[LeaseView], *methods: str) -> Callable[..., HttpResponse]:
    """Wraps a DRF view, so that it is described at /v1/schema and answers like every protocol
    endpoint.
    """
    return adds_nonce(protocol_endpoint(name, *methods)(view.as_view()))
