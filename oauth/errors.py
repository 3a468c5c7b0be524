"""The errors of the endpoints here (RFC 6749 4.1.2.1, 5.2; OpenID Connect Core 3.1.2.6; RFC 9449); of uses, our own."""

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


class AccessDenied(ProtocolError):
    """RFC 6749 4.1.2.1: the person said no."""

    code = "access_denied"
    default_description = "the person said no"


class UnsupportedResponseType(ProtocolError):
    """RFC 6749 4.1.2.1."""

    code = "unsupported_response_type"


class RequestNotSupported(ProtocolError):
    """OpenID Connect Core 3.1.2.6."""

    code = "request_not_supported"
    default_description = "request objects are not offered here"


class RequestUriNotSupported(ProtocolError):
    """OpenID Connect Core 3.1.2.6."""

    code = "request_uri_not_supported"
    default_description = "request objects are not offered here"


class RegistrationNotSupported(ProtocolError):
    """OpenID Connect Core 3.1.2.6."""

    code = "registration_not_supported"
    default_description = "the registration parameter is not offered here"


class LoginRequired(ProtocolError):
    """OpenID Connect Core 3.1.2.6."""

    code = "login_required"
    default_description = "the person must sign in"


class ConsentRequired(ProtocolError):
    """OpenID Connect Core 3.1.2.6."""

    code = "consent_required"
    default_description = "the person must consent"


class UnmetAuthenticationRequirements(ProtocolError):
    """OpenID Connect Core Unmet Authentication Requirements 1.0."""

    code = "unmet_authentication_requirements"
    default_description = "this server cannot give the acr that is required"


class UnsupportedTokenType(ProtocolError):
    """RFC 7009 2.2.1."""

    code = "unsupported_token_type"


class InsufficientScope(ProtocolError):
    """RFC 6750 3.1."""

    code = "insufficient_scope"
    status = 403


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
