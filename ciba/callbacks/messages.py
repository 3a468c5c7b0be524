"""The bodies of callbacks to an agent (CIBA Core 10.2, 10.3.1, 12). Pure."""

from typing import Any, assert_never

from ciba.errors import ExpiredToken, TransactionFailed
from ciba.states import State
from foundation.errors import ProtocolError
from oauth.errors import AccessDenied


def ping(auth_req_id: str) -> dict[str, Any]:
    """The body of a ping (CIBA Core 10.2).

    It holds the auth_req_id only; the agent gets its tokens at the token endpoint.
    """
    return {"auth_req_id": auth_req_id}


def pushed_tokens(auth_req_id: str, response: dict[str, Any]) -> dict[str, Any]:
    """The body of a token push (CIBA Core 10.3.1): the token response, and the request that it
    answers.
    """
    return {"auth_req_id": auth_req_id, **response}


def pushed_error(auth_req_id: str, error: ProtocolError) -> dict[str, Any]:
    """The body of an error push (CIBA Core 12)."""
    return {"auth_req_id": auth_req_id, **error.body()}


def error_to_push(state: State) -> ProtocolError | None:
    """The error that a push agent gets for a request that ended without tokens; None if nothing is
    pushed in this state.
    """
    match state:
        case State.DENIED:
            return AccessDenied()
        case State.EXPIRED:
            return ExpiredToken()
        case State.CANCELLED | State.REVOKED | State.FAILED:
            return TransactionFailed()
        case State.PENDING | State.APPROVED | State.DELIVERING | State.REDEEMED:
            return None
        case _:
            assert_never(state)
