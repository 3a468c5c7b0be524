"""What /v1/leases refuses with."""

from typing import Any

from foundation.errors import ProtocolError, TemporarilyUnavailable


class NotAllowed(ProtocolError):
    """The access token lacks the scope `leases` (RFC 6750 3.1)."""

    code = "insufficient_scope"
    status = 403
    default_description = "the access token needs the scope `leases`"
    advice = "Get an access token with the scope leases."


class InsufficientAuthorization(ProtocolError):
    """The access token has no grant for this role. The body says which authorization_details to request."""

    code = "insufficient_authorization"
    status = 403
    default_description = (
        "the access token has no grant for this role: request these authorization_details, then repeat the call"
    )
    advice = "Request the authorization_details of the body by CIBA, then repeat the call with the new access token."

    def __init__(self, how: dict[str, Any]) -> None:
        super().__init__()
        self.how = how

    def body(self) -> dict[str, Any]:
        return {**super().body(), **self.how}


class UnknownRole(ProtocolError):
    """The role does not exist, or the agent may not ask for it."""

    code = "unknown_role"
    status = 404
    default_description = "this role does not exist, or this agent may not request it"
    advice = "Check the name of the role. Ask an administrator to give the agent the role's operation type."


class UnknownLease(ProtocolError):
    """The lease does not exist, or belongs to another agent."""

    code = "not_found"
    status = 404
    default_description = "this agent has no lease with this id"
    advice = "Check the id of the lease."


class UnknownHandle(ProtocolError):
    """The wrapping handle is unknown, expired or already used. These cases get the same answer."""

    code = "not_found"
    status = 404
    default_description = "the handle is unknown, expired or already used"
    advice = (
        "Request a new lease. If you did not use the handle yourself, tell an administrator: "
        "somebody else may have the credential."
    )


class LeaseEnded(ProtocolError):
    """The lease has ended, or its Idempotency-Key belongs to an ended lease or to another role."""

    code = "lease_ended"
    status = 409
    default_description = "this lease has ended"
    advice = "Request a new lease with a new Idempotency-Key."


class LeaseBusy(ProtocolError):
    """Another call about the same lease is running."""

    code = "lease_busy"
    status = 409
    default_description = "another call for this lease is running; repeat the call"
    advice = "Repeat the call after a second, with the same Idempotency-Key."


class NotRenewable(ProtocolError):
    """The lease cannot be extended: it has its maximum lifetime, or the agent may no longer ask for the role."""

    code = "not_renewable"
    status = 409
    advice = "Use the lease until it expires, then request a new one."


class NotIssuing(ProtocolError):
    """The role or its backend issues no leases now."""

    code = "not_issuing"
    status = 503
    default_description = "the role or its backend issues no leases now"
    default_retry_after = 60
    advice = (
        "Wait as long as Retry-After says. If the error remains, ask an administrator to enable the role and its "
        "backend."
    )


class NoAnswer(TemporarilyUnavailable):
    """The backend does not answer. No use was spent."""

    default_description = "the backend of this role does not answer; no use was spent"
    default_retry_after = 5
    advice = "Wait as long as Retry-After says, then repeat the call with the same Idempotency-Key."


class SlowAnswer(TemporarilyUnavailable):
    """Too many calls are waiting for slow backends. No use was spent."""

    default_description = "the backend of this role is slow now; no use was spent"
    advice = "Wait as long as Retry-After says, then repeat the call with the same Idempotency-Key."


class QuotaExceeded(ProtocolError):
    """A limit on leases is reached: of the agent, the user, the role or the backend."""

    code = "quota_exceeded"
    status = 429
    default_retry_after = 60
    advice = "Revoke leases that you no longer need, or wait until some expire. error_description names the limit."


class BackendUnavailable(ProtocolError):
    """The backend refused to create or extend the account. No use was spent."""

    code = "backend_unavailable"
    status = 502
    default_description = "the backend of this role refused the call; no use was spent"
    advice = "Repeat the call later. If the error remains, ask an administrator to run the backend's preflight."
