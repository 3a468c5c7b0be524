"""The errors of registration (RFC 7591 3.2.2, RFC 6750 3.1)."""

from foundation.errors import ProtocolError, TemporarilyUnavailable


class InvalidRedirectUri(ProtocolError):
    """A redirect URI in the client metadata is not allowed (RFC 7591 3.2.2)."""

    code = "invalid_redirect_uri"
    advice = "Use https, a loopback address or an allowed private-use scheme. error_description names the problem."


class InvalidClientMetadata(ProtocolError):
    """A member of the client metadata is missing or not allowed (RFC 7591 3.2.2)."""

    code = "invalid_client_metadata"
    advice = "Correct the member that error_description names."


class RegistrationClosed(ProtocolError):
    """The server does not let agents register themselves."""

    code = "access_denied"
    status = 403
    default_description = "agents cannot register themselves at this server: ask an administrator"
    advice = "Ask an administrator to register the agent."


class InvalidRegistrationToken(ProtocolError):
    """The registration access token or initial access token does not work (RFC 6750 3.1, RFC 7592 2). An unknown agent
    gets the same answer.
    """

    code = "invalid_token"
    status = 401
    default_description = "the token is not valid"
    advice = "Send the newest registration access token, or ask an administrator for a new initial access token."

    def __init__(self) -> None:
        super().__init__()
        self.headers["WWW-Authenticate"] = 'Bearer realm="countersign", error="invalid_token"'


class AgentSuspended(ProtocolError):
    """An administrator has suspended the agent. It cannot read or change its registration meanwhile."""

    code = "access_denied"
    status = 403
    default_description = "this agent is suspended"
    advice = "Ask an administrator to resume the agent."


class DocumentUnavailable(TemporarilyUnavailable):
    """The server cannot fetch the client's metadata document, and has no earlier copy.

    One text for every reason: a stranger does not learn which names and addresses exist in the server's network.
    """

    default_description = (
        "the client's metadata document could not be fetched: its host is unreachable or sends an invalid response"
    )
    advice = (
        "Make sure that the document's host answers over the public internet, and repeat the request after Retry-After."
    )


class TooManyRegistrations(ProtocolError):
    """Too many registrations came from this network, or altogether (RFC 6585 4)."""

    code = "temporarily_unavailable"
    status = 429
    default_description = "too many registrations; try again later"
    default_retry_after = 900
    advice = "Wait as long as Retry-After says. Register an agent once and keep its credentials."
