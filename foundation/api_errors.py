"""Errors that any endpoint under /v1 may answer with, whatever it does."""

from foundation.errors import InvalidRequest, ProtocolError


class NotSignedIn(ProtocolError):
    """The call has no signed-in session."""

    code = "not_signed_in"
    status = 401
    default_description = "sign in first"
    advice = "Sign the user in."


class SessionCallRefused(ProtocolError):
    """The session may not make this call, or its CSRF token is missing."""

    code = "not_allowed"
    status = 403
    advice = "Send the CSRF token."


class NothingFound(ProtocolError):
    """Nothing is at this address."""

    code = "not_found"
    status = 404
    default_description = "no endpoint has this address"
    advice = "Check the address."


class MethodRefused(ProtocolError):
    """The address does not support the method (RFC 9110 15.5.6)."""

    code = "method_not_allowed"
    status = 405
    advice = "Use a method that Allow lists."


class NotAcceptable(ProtocolError):
    """The answer has no form that Accept allows (RFC 9110 15.5.7)."""

    code = "not_acceptable"
    status = 406
    advice = "Accept `application/json`."


class UnsupportedType(InvalidRequest):
    """The body is of a type that the address does not read (RFC 9110 15.5.16)."""

    status = 415
    advice = "Send `application/json`, or no body."


class ServerFailed(ProtocolError):
    """The server failed (RFC 9110 15.6.1)."""

    code = "server_error"
    status = 500
    advice = "Report the reference of error_description to the administrator."
