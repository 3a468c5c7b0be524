"""CIBA Core 1.0, sections 11 and 13."""

from foundation.errors import ProtocolError, TemporarilyUnavailable
from foundation.poll_throttle import SLOW_DOWN_S
from oauth.errors import AccessDenied
from oauth.token_endpoint.long_poll import AnswerPending


class AuthorizationPending(AnswerPending):
    """The user has not answered yet (CIBA Core 11)."""

    code = "authorization_pending"
    is_answer = True
    default_description = "the user has not answered yet"
    advice = "Poll again after interval seconds, or use a long poll."


class SlowDown(ProtocolError):
    """The agent polled too early (CIBA Core 11)."""

    code = "slow_down"
    is_answer = True
    default_retry_after = SLOW_DOWN_S
    advice = "Add 5 seconds to the interval for all further polls of this request. Retry-After has the new interval."


class ExpiredToken(ProtocolError):
    """The request expired before the user answered or the agent fetched the token (CIBA Core 11)."""

    code = "expired_token"
    default_description = "the request expired; send a new one"
    advice = "Send a new backchannel request, if the operation is still wanted."


class RefusedAtOnce(AccessDenied):
    """A rule refuses the request before any user is asked, with 403 as CIBA Core 13 says."""

    status = 403
    advice = "Read error_description: too many requests may be pending, or the required assurance may be unavailable."


class ExpiredLoginHintToken(ProtocolError):
    """The login_hint_token has expired (CIBA Core 13)."""

    code = "expired_login_hint_token"
    default_description = "the login_hint_token has expired"
    advice = "Get a new login_hint_token from its issuer."


class PollsTooMuch(TemporarilyUnavailable):
    """The agent keeps polling too early in spite of slow_down (CIBA Core 11)."""

    is_answer = True
    default_description = "the agent keeps polling too early: wait as long as Retry-After says"
    advice = "Stop polling for as long as Retry-After says, then poll with the longer interval."


class MissingUserCode(ProtocolError):
    """The user has set a user code, and the request has none (CIBA Core 13)."""

    code = "missing_user_code"
    default_description = "this user can be asked only with their user_code"
    advice = "Ask the user for their code and send it as user_code."


class InvalidUserCode(ProtocolError):
    """The user_code is wrong, or too many wrong ones were sent (CIBA Core 13)."""

    code = "invalid_user_code"
    default_description = "the user_code is wrong"
    advice = "Ask the user for the code again. After five wrong codes, wait 15 minutes."


class UnknownUserId(ProtocolError):
    """The hint names no user whom this agent may ask (CIBA Core 13). An unknown user gets the same answer."""

    code = "unknown_user_id"
    default_description = "the hint names no user whom this agent may ask"
    advice = "Check the hint. Otherwise ask an administrator to link the agent to the user."


class InvalidBindingMessage(ProtocolError):
    """The binding_message is too long, or has a link or characters that are not allowed (CIBA Core 13)."""

    code = "invalid_binding_message"
    advice = "Send a short plain text without links."


class TransactionFailed(ProtocolError):
    """The request ended without an answer (CIBA Core 12). Only push callbacks carry it."""

    code = "transaction_failed"
    default_description = "the request ended without an answer; send a new one"
    advice = "Send a new backchannel request, if the operation is still wanted."


class UnknownPrompt(ProtocolError):
    """The prompt does not exist, or is another user's."""

    code = "not_found"
    status = 404
    default_description = "you have no prompt with this id"
    advice = "Check the id of the prompt."


class SignInAgain(ProtocolError):
    """The sign-in is too old to approve."""

    code = "sign_in_again"
    status = 401
    default_description = "sign in again before you approve"
    advice = "Let the user sign in again, then repeat the call."


class NotPending(ProtocolError):
    """The prompt was answered, has expired or was cancelled."""

    code = "not_pending"
    status = 409
    advice = "Fetch the prompt to see its state."
