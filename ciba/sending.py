"""Calling an agent back (CIBA Core 9, 10.2, 10.3): the outbox's handler.

What is sent is settled in one transaction, sent, and recorded in another. A push makes its tokens in the first and
keeps them sealed: whatever breaks in between, the next attempt sends the same ones.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ciba import delivery, lifecycle, payloads
from ciba.grant import issue
from ciba.models import BackchannelRequest
from ciba.states import State
from clients.models import CIBA, Agent
from foundation.outbound import Answer, OutboundFailed, OutboundRefused, Trust, fetch, retry_after
from foundation.outbox import Done, GiveUp, Outcome, Retry
from oauth import token_endpoint
from oauth.binding import UNBOUND

TIMEOUT = 10.0  # seconds, for everything
# Of one process's threads so many at once wait for one agent: a slow one does not keep the others' calls back.
AT_ONCE = 2
_on_the_way: Counter[str] = Counter()
_lock = threading.Lock()


@dataclass(frozen=True)
class Message:
    endpoint: str
    token: str
    body: bytes


def deliver(payload: dict[str, Any], now: datetime) -> Outcome:
    """`payload`: request, its id."""
    request_id = UUID(payload["request"])
    message = _settle_message(request_id, now)
    if message is None:
        return Done()
    with _place(message.endpoint) as has_place:
        outcome = _send(message, now) if has_place else Retry("other calls to this agent are on their way", after=1)
    if not isinstance(outcome, Retry):
        lifecycle.finish_delivery(request_id, arrived=isinstance(outcome, Done), now=timezone.now())
    return outcome


@transaction.atomic(durable=True)
def _settle_message(request_id: UUID, now: datetime) -> Message | None:
    request = (
        BackchannelRequest.objects.select_for_update(of=("self",))
        .select_related("agent", "user", "resource", "grant")
        .get(pk=request_id)
    )
    kept = delivery.open_kept(request)
    if kept is None:
        return None
    if not request.agent.is_active or not request.notification_endpoint:
        lifecycle.drop_delivery(request, now)
        return None
    if request.delivery_mode == Agent.DeliveryMode.PING:
        body: bytes | None = json.dumps(payloads.ping(kept.auth_req_id)).encode()
    else:
        body = _body_to_push(request, kept, now)
    if body is None:
        return None
    return Message(request.notification_endpoint, kept.notification_token, body)


def _body_to_push(request: BackchannelRequest, kept: delivery.Kept, now: datetime) -> bytes | None:
    """Tokens where it was approved and everybody still is alive, else the error; None where there is neither."""
    if request.state == State.DELIVERING and lifecycle.may_go_on(request):
        return kept.answer
    if request.state == State.APPROVED and lifecycle.start_delivery(request, now):
        response = token_endpoint.issue(issue(request, kept.auth_req_id, now), UNBOUND, CIBA, now)
        return delivery.keep_answer(request, payloads.pushed_tokens(kept.auth_req_id, response))
    if request.state in (State.APPROVED, State.DELIVERING):
        lifecycle.end_dead(request, now)
    error = payloads.error_to_push(State(request.state))
    return json.dumps(payloads.pushed_error(kept.auth_req_id, error)).encode() if error else None


@contextmanager
def _place(endpoint: str) -> Iterator[bool]:
    with _lock:
        taken = _on_the_way[endpoint] < AT_ONCE
        _on_the_way[endpoint] += taken
    try:
        yield taken
    finally:
        with _lock:
            _on_the_way[endpoint] -= taken
            if not _on_the_way[endpoint]:
                del _on_the_way[endpoint]


def _send(message: Message, now: datetime) -> Outcome:
    headers = {"Authorization": f"Bearer {message.token}", "Content-Type": "application/json"}
    try:
        answer = fetch(
            "POST", message.endpoint, trust=Trust.SUPPLIED, headers=headers, body=message.body,
            timeout=TIMEOUT, max_bytes=None,
        )  # fmt: skip
    except OutboundRefused as error:
        return GiveUp(str(error))
    except OutboundFailed as error:
        return Retry(str(error))
    return judge(answer, now)


def judge(answer: Answer, now: datetime) -> Outcome:
    """CIBA Core 10.2: 204, or 200 with a body that is ignored; never a redirect."""
    if 200 <= answer.status < 300:
        return Done()
    problem = f"the agent answered {answer.status}"
    if answer.status == 429 or answer.status >= 500:
        return Retry(problem, after=retry_after(answer, now))
    return GiveUp(problem)
