"""Protocol errors: one class per code. `description` is for the client; `detail` only for log and audit.

docs/errors.md is generated from the classes: the docstring says what the error means, `advice` what to do.
"""

import re
from typing import ClassVar

# RFC 6749, section 5.2: what error_description may hold.
_NOT_ALLOWED = re.compile(r"[^\x20-\x21\x23-\x5B\x5D-\x7E]")
# What may not be in it and can be spelled otherwise: quotes (straight, typographic, angled), dashes, spaces, dots.
_SPELLED = str.maketrans(
    dict.fromkeys('"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a', "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("\t\n\r\u00a0", " ")
    | {"\u2026": "..."}
)


def spell_plainly(text: str) -> str:
    """As error_description can hold it; a character that has no other spelling becomes `?`."""
    return _NOT_ALLOWED.sub("?", text.translate(_SPELLED))


class ProtocolError(Exception):
    """An answer that a specification names. Raised only outside transactions; inside, it is returned."""

    code: ClassVar[str]
    status: ClassVar[int] = 400
    default_description: ClassVar[str] = ""
    advice: ClassVar[str]  # for the developer of a client, in docs/errors.md; never sent
    is_answer: ClassVar[bool] = False  # the normal course of things, not a refusal: no audit event
    # Seconds. Every answer that asks the client to come later (429, 503, slow_down) has Retry-After.
    default_retry_after: ClassVar[int | None] = None

    def __init__(self, description: str = "", *, detail: str = "", retry_after: int | None = None) -> None:
        self.description = spell_plainly(description or self.default_description)[:500]
        self.detail = detail
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.headers: dict[str, str] = {}  # that the answer carries beside
        super().__init__(self.code)

    def body(self) -> dict[str, str]:
        answer = {"error": self.code}
        if self.description:
            answer["error_description"] = self.description
        return answer


class InvalidRequest(ProtocolError):
    """The request is malformed: a parameter is missing, repeated or has a bad value (RFC 6749 5.2)."""

    code = "invalid_request"
    advice = "Read error_description, correct the request, and do not repeat it unchanged."


class BodyTooLarge(InvalidRequest):
    """The request body is larger than the server accepts (RFC 9110 15.5.14)."""

    status = 413
    default_description = "the body is larger than this server accepts"
    advice = "Send a smaller body."


class MethodNotAllowed(InvalidRequest):
    """The endpoint does not support the HTTP method (RFC 9110 15.5.6)."""

    status = 405
    default_description = "this endpoint does not support this method"
    advice = "Use a method that the Allow header lists."


class InvalidClient(ProtocolError):
    """Client authentication failed (RFC 6749 5.2).

    One text for every reason: a stranger does not learn which clients exist.
    """

    code = "invalid_client"
    status = 401
    default_description = "client authentication failed"
    advice = (
        "Check client_id, the registered authentication method and the key or secret. "
        "The server's log has the exact reason."
    )


class InvalidScope(ProtocolError):
    """A scope is unknown, not allowed for this agent, or not allowed in this request (RFC 6749 5.2)."""

    code = "invalid_scope"
    advice = "Request only scopes that an administrator has given to the agent, all of one resource."


class InvalidTarget(ProtocolError):
    """The agent may not ask for the resource, or the resource does not match the request (RFC 8707 2)."""

    code = "invalid_target"
    default_description = "this agent may not request this resource"
    advice = (
        "Send the registered identifier of the resource that owns the scopes and operation types, or leave "
        "resource out."
    )


class InvalidAuthorizationDetails(ProtocolError):
    """The authorization_details are malformed, of a type that the agent may not use, or do not match the type's schema
    (RFC 9396 5).
    """

    code = "invalid_authorization_details"
    advice = (
        "Compare the operation with its schema at /v1/operation-types, and correct the field that "
        "error_description names."
    )


class TemporarilyUnavailable(ProtocolError):
    """The server is overloaded or cannot reach its database (RFC 9110 15.6.4). The code is that of RFC 6749 4.1.2.1."""

    code = "temporarily_unavailable"
    status = 503
    default_description = "the server cannot answer now; try again"
    default_retry_after = 2
    advice = "Wait as long as Retry-After says, then repeat the request."
