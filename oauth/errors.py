"""The errors of the endpoints here (RFC 6749 4.1.2.1, 5.2; OpenID Connect Core 3.1.2.6; RFC 9449); of uses, our own."""

from foundation.errors import ProtocolError


class InvalidGrant(ProtocolError):
    """The code, refresh token or auth_req_id does not work (RFC 6749 5.2).

    It is unknown, used, expired, revoked, another agent's or bound to another key.
    """

    code = "invalid_grant"
    advice = "Do not repeat the request. Start a new authorization."


class UnauthorizedClient(ProtocolError):
    """The agent is not registered for this grant type or delivery mode, or its registration does not meet its
    profile (RFC 6749 5.2).
    """

    code = "unauthorized_client"
    default_description = "this agent may not use this grant type"
    advice = (
        "Ask an administrator to add the grant type to the agent, or use one that the agent has. If error_description "
        "names the agent's profile, an administrator must correct the registration."
    )


class UnsupportedGrantType(ProtocolError):
    """The server does not offer this grant type (RFC 6749 5.2)."""

    code = "unsupported_grant_type"
    advice = "Use a grant type that grant_types_supported in the server's metadata lists."


class InvalidDpopProof(ProtocolError):
    """The DPoP proof is missing, malformed, expired, used before, or for another request or key (RFC 9449 5)."""

    code = "invalid_dpop_proof"
    advice = "Make a new proof for each request, with the exact method and URL, a fresh jti and the current time."


class UseDpopNonce(ProtocolError):
    """The DPoP proof has no nonce or an old one (RFC 9449 8)."""

    code = "use_dpop_nonce"
    is_answer = True
    default_description = "the proof needs the nonce of the DPoP-Nonce header"
    advice = (
        "Repeat the request with a new proof that carries the nonce of the DPoP-Nonce header. Keep the newest nonce."
    )


class AccessDenied(ProtocolError):
    """The user denied the request, or has stopped the agent (RFC 6749 4.1.2.1)."""

    code = "access_denied"
    default_description = "the user denied the request"
    advice = "Do not ask again by yourself. Tell the user that the operation did not run."


class UnsupportedResponseType(ProtocolError):
    """The response_type is not `code` (RFC 6749 4.1.2.1)."""

    code = "unsupported_response_type"
    advice = "Send response_type=code."


class RequestNotSupported(ProtocolError):
    """The authorization endpoint does not accept the request parameter (OpenID Connect Core 3.1.2.6)."""

    code = "request_not_supported"
    default_description = "this endpoint does not accept request objects"
    advice = "Send the parameters in the query or the form, without request."


class RequestUriNotSupported(ProtocolError):
    """The authorization endpoint does not accept the request_uri parameter (OpenID Connect Core 3.1.2.6)."""

    code = "request_uri_not_supported"
    default_description = "this endpoint does not accept request objects"
    advice = "Send the parameters in the query or the form, without request_uri."


class RegistrationNotSupported(ProtocolError):
    """The authorization endpoint does not accept the registration parameter (OpenID Connect Core 3.1.2.6)."""

    code = "registration_not_supported"
    default_description = "this endpoint does not accept the registration parameter"
    advice = "Register the agent first, and leave the parameter out."


class LoginRequired(ProtocolError):
    """The request has prompt=none, and the user is not signed in recently enough (OpenID Connect Core 3.1.2.6)."""

    code = "login_required"
    default_description = "the user must sign in"
    advice = "Repeat the request without prompt=none, so that the user can sign in."


class ConsentRequired(ProtocolError):
    """The request has prompt=none, and the user has not consented to it (OpenID Connect Core 3.1.2.6)."""

    code = "consent_required"
    default_description = "the user must consent"
    advice = "Repeat the request without prompt=none, so that the user can consent."


class UnmetAuthenticationRequirements(ProtocolError):
    """The server cannot provide an acr that the request requires (OpenID Connect Core Unmet Authentication
    Requirements 1.0).
    """

    code = "unmet_authentication_requirements"
    default_description = "this server cannot provide the required acr"
    advice = "Request an acr that acr_values_supported in the server's metadata lists, or do not mark acr as essential."


class InsufficientScope(ProtocolError):
    """The access token lacks a scope that the endpoint requires (RFC 6750 3.1)."""

    code = "insufficient_scope"
    status = 403
    advice = "Get an access token with the scope that the WWW-Authenticate header names."


class Unauthorized(ProtocolError):
    """The access token does not work here (RFC 6750 3, RFC 9449 7.1).

    It is unknown, expired, revoked, for another audience or bound to another key.
    """

    status = 401
    code = "invalid_token"
    default_description = "the access token is not valid"
    advice = "Get a new access token, and send it with the scheme that token_type named."


class NoToken(Unauthorized):
    """The request has no access token. The WWW-Authenticate header then names no error code (RFC 6750 3.1)."""

    default_description = "the Authorization header has no access token"
    advice = "Send an access token in the Authorization header."


class BadProof(InvalidDpopProof):
    """The DPoP proof is missing, or does not match the request or the access token (RFC 9449 7.1)."""

    status = 401
    advice = (
        "Make a new proof for each request, with the exact method and URL, and with ath, the hash of the access token."
    )


class NonceNeeded(UseDpopNonce):
    """The DPoP proof has no nonce or an old one (RFC 9449 9)."""

    status = 401
    advice = "Repeat the request with a new proof that carries the nonce of the DPoP-Nonce header."


class InvalidToken(ProtocolError):
    """The token in the body is unknown, expired, revoked, or for another resource. The code is that of RFC 6750 3.1."""

    code = "invalid_token"
    default_description = "the token is not valid for this resource"
    advice = "Do not run the operation. Answer the agent with 401, so that it gets a new token."


class OperationMismatch(ProtocolError):
    """The call is not the operation that was approved: its operation_digest differs from the grant's."""

    code = "operation_mismatch"
    status = 403
    default_description = "the operation differs from the granted operation"
    advice = (
        "Do not run the operation. The agent must call with exactly the approved values, or ask for a new approval."
    )


class UsedUp(ProtocolError):
    """No use of the grant is left."""

    code = "used_up"
    status = 409
    default_description = "the grant has no uses left"
    advice = "Do not run the operation. The agent must ask for a new approval."
