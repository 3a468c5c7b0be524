"""What /v1/leases refuses with."""

from typing import Any

from foundation.errors import ProtocolError, TemporarilyUnavailable


class NotAllowed(ProtocolError):
    """RFC 6750 3.1."""

    code = "insufficient_scope"
    status = 403
    default_description = "this token is not for leases: ask for the scope `leases`"


class InsufficientAuthorization(ProtocolError):
    """There is no grant for what is wanted; says machine-readably what to ask a person for."""

    code = "insufficient_authorization"
    status = 403
    default_description = "this needs a grant: ask for these authorization_details, then come back with the token"

    def __init__(self, how: dict[str, Any]) -> None:
        super().__init__()
        self.how = how

    def body(self) -> dict[str, Any]:
        return {**super().body(), **self.how}


class UnknownRole(ProtocolError):
    """No such role, or this agent may not ask for it."""

    code = "unknown_role"
    status = 404
    default_description = "there is no such role for this agent"


class UnknownLease(ProtocolError):
    """No such lease, or another agent's."""

    code = "not_found"
    status = 404
    default_description = "there is no such lease"


class UnknownHandle(ProtocolError):
    """Never given out, too late, or unwrapped before; not told apart."""

    code = "not_found"
    status = 404
    default_description = "there is nothing to unwrap with this handle"


class LeaseEnded(ProtocolError):
    code = "lease_ended"
    status = 409
    default_description = "this lease has ended"


class LeaseBusy(ProtocolError):
    """Another call about the same lease is under way."""

    code = "lease_busy"
    status = 409
    default_description = "another call about this lease is under way; repeat yours"


class NotRenewable(ProtocolError):
    code = "not_renewable"
    status = 409


class NotLending(ProtocolError):
    code = "not_lending"
    status = 503
    default_description = "nothing is lent from there now"
    default_retry_after = 60


class NoAnswer(TemporarilyUnavailable):
    """The system behind the role does not answer; the sweeper finds out when it does again."""

    default_description = "the system behind this role does not answer; nothing was spent"
    default_retry_after = 5


class SlowAnswer(TemporarilyUnavailable):
    """So many calls wait for systems that lend that the next ones would keep everybody waiting."""

    default_description = "the system behind this role is slow now; nothing was spent"


class QuotaExceeded(ProtocolError):
    code = "quota_exceeded"
    status = 429
    default_retry_after = 60


class BackendUnavailable(ProtocolError):
    """The system behind the role refused; nothing was spent."""

    code = "backend_unavailable"
    status = 502
    default_description = "the system behind this role could not do it; nothing was spent"
