"""The bodies of callbacks to an agent (CIBA Core 10.2, 10.3.1, 12). Pure."""

import json
from collections.abc import Mapping
from typing import Any, assert_never

from ciba.errors import ExpiredToken, TransactionFailed
from ciba.states import State
from foundation.errors import ProtocolError
from oauth.errors import AccessDenied


def encode_callback(auth_req_id: str, pushed: Mapping[str, Any]) -> bytes:
    """The body of a callback: which request it answers, and what is pushed.

    That is the token response (CIBA Core 10.3.1) or the error (CIBA Core 12). It is empty in a ping
    (CIBA Core 10.2), whose agent gets its tokens at the token endpoint.
    """
    return json.dumps({"auth_req_id": auth_req_id, **pushed}).encode()


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
