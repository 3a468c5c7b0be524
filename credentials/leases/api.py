"""/v1/leases: an agent requests, reads, renews and revokes its own leases.

Another agent's leases are unknown to it.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView

from credentials.errors import (
    BackendUnavailable,
    InsufficientAuthorization,
    LeaseBusy,
    LeaseEnded,
    NoAnswer,
    NotAllowed,
    NotIssuing,
    NotRenewable,
    QuotaExceeded,
    SlowAnswer,
    UnknownHandle,
    UnknownLease,
    UnknownRole,
)
from credentials.leases import issuance, lifecycle, revocation
from credentials.leases.api_authentication import AccessToken, TokenCall
from credentials.leases.issuance import IssuedLease, WrappedLease
from credentials.leases.lifecycle import AlreadyUnwrapped, EndReason
from credentials.leases.requested_lease import find_role, read_lease_request
from credentials.leases.serializers import (
    ISSUED_OR_WRAPPED,
    InsufficientAuthorizationSerializer,
    IssuedLeaseSerializer,
    LeaseListSerializer,
    LeaseRenewalSerializer,
    LeaseRequestSerializer,
    LeaseSerializer,
    LeaseUnwrappingSerializer,
    WrappedLeaseSerializer,
)
from credentials.leases.states import FINAL_STATES
from credentials.models import Lease
from foundation import idempotency
from foundation.api_description import describe
from foundation.api_errors import NotAcceptable
from foundation.attempts import TooManyAttempts, limited
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import ProtocolError
from foundation.forms import parse_json, read_body
from foundation.serializers import RequestBody
from oauth.errors import BadProof, InvalidToken, NonceNeeded, NoToken, Unauthorized, UsedUp
from oauth.tokens.sender_constraint import adds_nonce

LEASES_PER_PAGE = 100

# One of each serves all requests (foundation/serializers.py).
_LEASE, _LEASES = LeaseSerializer(), LeaseListSerializer()
_ISSUED, _WRAPPED = IssuedLeaseSerializer(), WrappedLeaseSerializer()
_REQUEST, _RENEWAL, _UNWRAPPING = LeaseRequestSerializer(), LeaseRenewalSerializer(), LeaseUnwrappingSerializer()

_CALL_ERRORS = (NotAcceptable, NoToken, Unauthorized, BadProof, NonceNeeded)
_LEASE_ERRORS = (*_CALL_ERRORS, NotAllowed, UnknownLease)
_BACKEND_ERRORS = (LeaseEnded, LeaseBusy, BackendUnavailable, NotIssuing, NoAnswer, SlowAnswer)


class LeaseView(APIView):
    """For agents, with an access token. Errors are raised: `endpoint` answers them."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (AccessToken,)

    def token_call(self, request: Request) -> TokenCall:
        if not isinstance(request.auth, TokenCall):
            raise TypeError("the view does not authenticate by AccessToken")
        return request.auth


class Leases(LeaseView):
    @describe(
        "lease_request", {201: ISSUED_OR_WRAPPED, 200: ISSUED_OR_WRAPPED},
        *_CALL_ERRORS, InvalidToken, InsufficientAuthorization, UnknownRole, UsedUp, QuotaExceeded, *_BACKEND_ERRORS,
        request=LeaseRequestSerializer, parameters=(idempotency.DESCRIPTION,),
        error_bodies={403: InsufficientAuthorizationSerializer},
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """Requests a lease: spends one use of the token's grant, creates an account on the role's backend and answers
        with its credential.

        For agents, with an access token whose grant has the operation type `credential:<role>`.
        Without such a grant the answer is `insufficient_authorization`. Its body says what to
        request, and where.

        Answers 201. With wrapped delivery, the answer has a handle in place of the credential. With
        an Idempotency-Key that this grant was used with before, answers 200 with the same lease and
        a new password or handle, and spends no use.

        `unknown_role`: the role does not exist, or the agent may not ask for it. `used_up`: the
        grant has no use left. `quota_exceeded`: the agent, user, role or backend has too many
        leases. `backend_unavailable`, `not_issuing` and `temporarily_unavailable` spend no use.
        """
        body = _read(request, _REQUEST)
        call = self.token_call(request)
        role = find_role(call.agent, body["role"])
        try:
            wanted = read_lease_request(call, role, body, idempotency.parse_idempotency_key(request._request))
        except InsufficientAuthorization as error:
            grant = call.token.grant
            lifecycle.refuse(str(call.agent.client_id), grant, role.name, error, timezone.now())
            raise
        answer = issuance.issue_lease(wanted, timezone.now())
        if isinstance(answer, ProtocolError):
            raise answer
        return _issued_response(answer)

    @describe(
        "leases", {200: LeaseListSerializer}, *_CALL_ERRORS, NotAllowed,
        parameters=(
            OpenApiParameter("ended", str, enum=["true"], description="true: also leases that have ended."),
        ),
    )  # fmt: skip
    def get(self, request: Request) -> HttpResponse:
        """Lists the agent's own leases, the newest first, at most 100. Without `ended=true` only those whose account
        may still exist.

        For agents, with an access token that has the scope `leases`.
        """
        call = self.token_call(request)
        if not call.has_scope:
            raise NotAllowed()
        leases = Lease.objects.select_related("role", "backend").filter(agent=call.agent)
        if request._request.GET.get("ended") != "true":
            leases = leases.exclude(state__in=FINAL_STATES)
        return json_response(_LEASES.to_representation({"leases": leases[:LEASES_PER_PAGE]}))


class OneLease(LeaseView):
    @describe("lease", {200: LeaseSerializer}, *_LEASE_ERRORS)
    def get(self, request: Request, lease_id: UUID) -> HttpResponse:
        """Reads one lease, without its credential.

        For the agent that requested the lease, with an access token that has the scope `leases` or
        is of the lease's grant. Another agent's lease is `not_found`.
        """
        call = self.token_call(request)
        return json_response(_LEASE.to_representation(call.find_lease(lease_id)))


class Renew(LeaseView):
    @describe(
        "lease_renew", {200: LeaseSerializer}, *_LEASE_ERRORS, NotRenewable, *_BACKEND_ERRORS,
        request=LeaseRenewalSerializer,
    )  # fmt: skip
    def post(self, request: Request, lease_id: UUID) -> HttpResponse:
        """Extends a lease from now on. The body may be left out.

        For the agent that requested the lease, with an access token that has the scope `leases` or
        is of the lease's grant.

        Answers 200 with the lease and its new expires_at, which is never later than max_expires_at.

        `lease_ended`: the lease or its grant has ended. `not_renewable`: it already lasts as long
        as it may, or the agent may no longer ask for the role. After every other error the lease
        goes on as it was.
        """
        body = _read(request, _RENEWAL, optional=True)
        call = self.token_call(request)
        lease = call.find_lease(lease_id)
        life = issuance.renew(lease, body.get("lifetime"), timezone.now())
        if isinstance(life, ProtocolError):
            raise life
        return json_response(_LEASE.to_representation(lease))


class Revoke(LeaseView):
    @describe("lease_revoke", {200: LeaseSerializer}, *_LEASE_ERRORS, request=None)
    def post(self, request: Request, lease_id: UUID) -> HttpResponse:
        """Ends a lease and revokes its account. Repeating the call has no further effect. The body is not read.

        For the agent that requested the lease, with an access token that has the scope `leases` or
        is of the lease's grant.

        Answers 200 with the lease. `state` says whether the account is confirmed to be gone
        (`revoked`) or Countersign still tries to revoke it (`revoking`, `disabled`, `stuck`).
        """
        call = self.token_call(request)
        lease = call.find_lease(lease_id)
        lifecycle.end(lease, EndReason.AGENT, f"agent:{call.agent.client_id}", timezone.now())
        revocation.revoke_now(lease.id)
        lease.refresh_from_db()
        return json_response(_LEASE.to_representation(lease))


class Unwrap(LeaseView):
    authentication_classes = ()

    @describe(
        "lease_unwrap", {201: IssuedLeaseSerializer}, NotAcceptable, UnknownHandle, TooManyAttempts, *_BACKEND_ERRORS,
        request=LeaseUnwrappingSerializer,
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """Unwraps a lease: creates its account and answers with the credential.

        For whoever holds the handle, without a token. A handle works once. A second use ends the
        lease, because one of the two callers should not have had the handle.

        Answers 201 with the lease, which names the role and the grant.

        `not_found`: the handle is unknown, used or expired, or its lease has ended.
        `backend_unavailable`: the account could not be created and the handle is used up; request a
        new lease.
        """
        handle = _read(request, _UNWRAPPING)["handle"]
        now = timezone.now()
        with limited("lease handle", handle, request._request.META["REMOTE_ADDR"], now, wrong=UnknownHandle):
            answer = issuance.unwrap(handle, now)
            if answer is None or isinstance(answer, AlreadyUnwrapped):
                raise UnknownHandle()
            if isinstance(answer, ProtocolError):
                raise answer
        return _issued_response(answer)


def _read(request: Request, expected: RequestBody, *, optional: bool = False) -> dict[str, Any]:
    if optional and not request._request.META.get("CONTENT_LENGTH"):
        return expected.read({})
    return expected.read(parse_json(read_body(request._request, "application/json"), "the body"))


def _issued_response(answer: IssuedLease | WrappedLease) -> HttpResponse:
    serializer = _WRAPPED if isinstance(answer, WrappedLease) else _ISSUED
    return json_response(serializer.to_representation(answer), 200 if answer.is_repeat else 201)


def endpoint(name: str, view: type[LeaseView], *methods: str) -> Callable[..., HttpResponse]:
    """Wraps a DRF view, so that it is described at /v1/schema and answers like every protocol
    endpoint.
    """
    return adds_nonce(protocol_endpoint(name, *methods)(view.as_view()))
