"""Sends callbacks to agents (CIBA Core 9, 10.2, 10.3): the outbox's handler.

One transaction decides the message, then it is sent, and another transaction records the result.
For a push, the first transaction mints the tokens and stores them sealed, so that a retry after any
failure sends the same tokens.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ciba import lifecycle
from ciba.callbacks import state as callbacks
from ciba.callbacks.messages import encode_callback, error_to_push
from ciba.models import BackchannelRequest, is_alive, lock_request
from ciba.states import State
from ciba.token_grant import issue
from clients.models import CIBA, Agent
from foundation.outbound import (
    Lane,
    OutboundAnswer,
    OutboundBusy,
    OutboundFailed,
    OutboundRefused,
    Trust,
    fetch,
    retry_after,
)
from foundation.outbox import Abandon, Completed, Outcome, Retry
from oauth.token_endpoint import endpoints as token_endpoint
from oauth.tokens.key_binding import UNBOUND

CALLBACK_TIMEOUT_S = 10.0  # seconds for the whole call
# A slow agent does not delay callbacks to others.
LANE = Lane("callbacks", Trust.SUPPLIED, per_host=2)


@dataclass(frozen=True)
class Message:
    endpoint: str
    token: str
    body: bytes


def deliver(payload: dict[str, Any], now: datetime) -> Outcome:
    """Sends one callback. `payload` has `request`, the request's id."""
    request_id = UUID(payload["request"])
    message = _settle_message(request_id, now)
    if message is None:
        return Completed()
    outcome = _send(message, now)
    if not isinstance(outcome, Retry):
        lifecycle.finish_callback(request_id, arrived=isinstance(outcome, Completed), now=timezone.now())
    return outcome


@transaction.atomic(durable=True)
def _settle_message(request_id: UUID, now: datetime) -> Message | None:
    request = lock_request(request_id)
    data = callbacks.open_callback_data(request)
    if data is None:
        return None
    if not request.agent.is_active or not request.notification_endpoint:
        lifecycle.drop_callback(request, now)
        return None
    if request.delivery_mode == Agent.DeliveryMode.PING:
        body: bytes | None = encode_callback(data.auth_req_id, {})
    else:
        body = _body_to_push(request, data, now)
    if body is None:
        return None
    return Message(request.notification_endpoint, data.notification_token, body)


def _body_to_push(request: BackchannelRequest, data: callbacks.CallbackData, now: datetime) -> bytes | None:
    """The pushed tokens if the request was approved and everything is still active, otherwise the
    error; None if there is nothing to push.

    An agent whose registration has a problem gets no tokens, as at the token endpoint.
    """
    may_ask = not request.agent.current_problem
    if request.state == State.DELIVERING and may_ask and is_alive(request):
        return data.answer
    if request.state == State.APPROVED and may_ask and lifecycle.start_push(request, now):
        response = token_endpoint.issue(issue(request, data.auth_req_id, now), UNBOUND, CIBA, now)
        return callbacks.seal_token_response(request, encode_callback(data.auth_req_id, response))
    if request.state in (State.APPROVED, State.DELIVERING):
        lifecycle.end_dead(request, now)
    error = error_to_push(State(request.state))
    return encode_callback(data.auth_req_id, error.body()) if error else None


def _send(message: Message, now: datetime) -> Outcome:
    headers = {"Authorization": f"Bearer {message.token}", "Content-Type": "application/json"}
    try:
        answer = fetch(
            "POST", message.endpoint, lane=LANE, headers=headers,
            body=message.body, timeout=CALLBACK_TIMEOUT_S, max_bytes=None,
        )  # fmt: skip
    except OutboundRefused as error:
        return Abandon(str(error))
    except OutboundBusy as error:
        return Retry(str(error), after=1)
    except OutboundFailed as error:
        return Retry(str(error))
    return judge(answer, now)


def judge(answer: OutboundAnswer, now: datetime) -> Outcome:
    """Judges the agent's response (CIBA Core 10.2): 204, or 200 with a body that is ignored.

    A redirect is a failure.
    """
    if 200 <= answer.status < 300:
        return Completed()
    problem = f"the agent answered {answer.status}"
    if answer.status == 429 or answer.status >= 500:
        return Retry(problem, after=retry_after(answer, now))
    return Abandon(problem)
