"""The errors of registration (RFC 7591 3.2.2, RFC 6750 3.1)."""

from foundation.errors import ProtocolError, TemporarilyUnavailable


class InvalidRedirectUri(ProtocolError):
    """RFC 7591 3.2.2."""

    code = "invalid_redirect_uri"


class InvalidClientMetadata(ProtocolError):
    """RFC 7591 3.2.2."""

    code = "invalid_client_metadata"


class RegistrationClosed(ProtocolError):
    """Nobody registers here; an administrator does."""

    code = "access_denied"
    status = 403
    default_description = "agents do not register themselves here: ask an administrator"


class InvalidRegistrationToken(ProtocolError):
    """RFC 6750 3.1, RFC 7592 2: one answer, whether the token or the agent is unknown."""

    code = "invalid_token"
    status = 401
    default_description = "the token does not work here"

    def __init__(self) -> None:
        super().__init__()
        self.headers["WWW-Authenticate"] = 'Bearer realm="countersign", error="invalid_token"'


class AgentSuspended(ProtocolError):
    """An administrator has suspended the agent; it cannot change itself meanwhile."""

    code = "access_denied"
    status = 403
    default_description = "this agent is suspended"


class DocumentUnavailable(TemporarilyUnavailable):
    """Nothing is known of this client but the address of its metadata document, which cannot be fetched just now.

    One text for every reason: nobody learns here which names and addresses there are in our network.
    """

    default_description = (
        "the client's metadata document could not be fetched: its host is unreachable, or does not answer as it should"
    )


class TooManyRegistrations(ProtocolError):
    """RFC 6585 4."""

    code = "temporarily_unavailable"
    status = 429
    default_description = "too many registrations lately; try again later"
    default_retry_after = 900
