"""Errors of the token endpoint (RFC 6749 5.2), of sender constraint (RFC 9449), of protected calls and of uses."""

from foundation.errors import ProtocolError


class InvalidGrant(ProtocolError):
    """RFC 6749 5.2."""

    code = "invalid_grant"


class UnauthorizedClient(ProtocolError):
    """RFC 6749 5.2."""

    code = "unauthorized_client"
    default_description = "this agent may not use this grant type"


class UnsupportedGrantType(ProtocolError):
    """RFC 6749 5.2."""

    code = "unsupported_grant_type"


class InvalidDpopProof(ProtocolError):
    """RFC 9449 5."""

    code = "invalid_dpop_proof"


class UseDpopNonce(ProtocolError):
    """RFC 9449 8: the next proof carries the nonce of this answer."""

    code = "use_dpop_nonce"
    is_answer = True
    default_description = "put the nonce of the DPoP-Nonce header into the proof"


class InvalidToken(ProtocolError):
    """RFC 6750 3.1's code, for a token in a body: unknown, expired, revoked, or another resource's."""

    code = "invalid_token"
    default_description = "the token does not work here"


class OperationMismatch(ProtocolError):
    """The call is not the operation that was approved."""

    code = "operation_mismatch"
    status = 403
    default_description = "this is not the operation that was granted"


class UsedUp(ProtocolError):
    """Every use that the approval bought is spent."""

    code = "used_up"
    status = 409
    default_description = "every use of this grant is spent"
