"""CIBA Core 1.0, sections 11 and 13."""

from foundation.errors import ProtocolError, TemporarilyUnavailable
from foundation.pacing import SLOW_DOWN
from oauth.errors import AccessDenied
from oauth.holding import NotYet


class AuthorizationPending(NotYet):
    """CIBA Core 11."""

    code = "authorization_pending"
    is_answer = True
    default_description = "the person has not answered yet"


class SlowDown(ProtocolError):
    """CIBA Core 11: wait at least 5 seconds more, from now on."""

    code = "slow_down"
    is_answer = True
    default_retry_after = SLOW_DOWN


class ExpiredToken(ProtocolError):
    """CIBA Core 11."""

    code = "expired_token"
    default_description = "the request ran out of time; ask again"


class RefusedAtOnce(AccessDenied):
    """CIBA Core 13: at the backchannel endpoint access_denied is 403."""

    status = 403


class ExpiredLoginHintToken(ProtocolError):
    """CIBA Core 13."""

    code = "expired_login_hint_token"
    default_description = "the login_hint_token has expired"


class PollsTooMuch(TemporarilyUnavailable):
    """CIBA Core 11: who goes on polling too fast gets 503 with Retry-After."""

    is_answer = True
    default_description = "polled too often, again and again: wait as long as Retry-After says"


class MissingUserCode(ProtocolError):
    """CIBA Core 13."""

    code = "missing_user_code"
    default_description = "this person is asked only with their user_code"


class InvalidUserCode(ProtocolError):
    """CIBA Core 13. Also after too many wrong ones."""

    code = "invalid_user_code"
    default_description = "that is not the person's user_code"


class UnknownUserId(ProtocolError):
    """CIBA Core 13. One answer for unknown people and for those that this agent may not ask."""

    code = "unknown_user_id"
    default_description = "this agent may not ask such a person"


class InvalidBindingMessage(ProtocolError):
    """CIBA Core 13."""

    code = "invalid_binding_message"


class TransactionFailed(ProtocolError):
    """CIBA Core 12: pushed only."""

    code = "transaction_failed"
    default_description = "the request ended without an answer; ask again"
