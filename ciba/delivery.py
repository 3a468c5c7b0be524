"""What is owed to an agent that is called back (ping, push), and what must be kept to pay it.

The auth_req_id, the agent's token and the pushed tokens are sealed in the request's row, and erased as soon as there
is nothing more to send. The work itself is in the outbox and holds the request's id alone.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from ciba.models import BackchannelRequest
from ciba.states import State
from clients.models import Agent
from foundation import outbox
from foundation.keyring import open_sealed, seal

KIND = "delivery"
# So long after the end an agent is still told that it was the end.
NOTICE_LIFE = timedelta(minutes=5)
_SEALED = ("sealed_auth_req_id", "sealed_notification_token", "sealed_answer")
_ERASED: dict[str, Any] = {**dict.fromkeys(_SEALED), "deliver_until": None}


@dataclass(frozen=True)
class Kept:
    """What a call to the agent needs."""

    auth_req_id: str
    notification_token: str
    answer: bytes | None  # the pushed tokens, once they were made


def _place(column: str, request_id: UUID) -> str:
    return f"ciba_backchannelrequest:{column}:{request_id}"


def keep(agent: Agent, request_id: UUID, auth_req_id: str, token: str, until: datetime) -> dict[str, Any]:
    """The columns of a new request of this agent."""
    mode = agent.backchannel_token_delivery_mode
    if mode == Agent.DeliveryMode.POLL:
        return {"delivery_mode": mode}
    return {
        "delivery_mode": mode,
        "notification_endpoint": agent.backchannel_client_notification_endpoint,
        "sealed_auth_req_id": seal(auth_req_id.encode(), place=_place("sealed_auth_req_id", request_id)),
        "sealed_notification_token": seal(token.encode(), place=_place("sealed_notification_token", request_id)),
        "deliver_until": until + NOTICE_LIFE,
    }


def open_kept(request: BackchannelRequest) -> Kept | None:
    """None where there is nothing (more) to send."""
    opened = {name: _open(request, name) for name in _SEALED}
    auth_req_id, token, answer = opened.values()
    if auth_req_id is None or token is None:
        return None
    return Kept(auth_req_id.decode(), token.decode(), answer)


def _open(request: BackchannelRequest, column: str) -> bytes | None:
    sealed = getattr(request, column)
    return None if sealed is None else open_sealed(bytes(sealed), place=_place(column, request.id))


def keep_answer(request: BackchannelRequest, body: dict[str, Any]) -> bytes:
    """The body of a push, sealed, so that one that is sent again is the same."""
    answer = json.dumps(body).encode()
    sealed = seal(answer, place=_place("sealed_answer", request.id))
    BackchannelRequest.objects.filter(pk=request.pk).update(sealed_answer=sealed)
    return answer


def _about(request_id: UUID) -> str:
    return f"request:{request_id}"


def owe(request: BackchannelRequest, now: datetime) -> None:
    """The request has come to an answer or an end. Takes part in the transaction in which it did."""
    if request.sealed_auth_req_id is None:
        return
    outbox.withdraw(_about(request.id), now)
    is_notice = request.state != State.APPROVED  # what was approved is sent in time or not at all
    until = max(request.expires_at, now + NOTICE_LIFE) if is_notice else request.expires_at
    BackchannelRequest.objects.filter(pk=request.pk).update(deliver_until=until)
    outbox.owe(KIND, _about(request.id), {"request": str(request.id)}, now, deadline=until)


def settle(request: BackchannelRequest, now: datetime) -> None:
    """Nothing more is to be sent: the work is withdrawn and what was kept is erased."""
    if not connection.in_atomic_block:
        raise RuntimeError("settling takes part in a transaction of its caller")
    if request.delivery_mode != Agent.DeliveryMode.POLL:
        outbox.withdraw(_about(request.id), now)
        erase([request.pk])


def erase(request_ids: Iterable[UUID]) -> int:
    return BackchannelRequest.objects.filter(pk__in=request_ids, deliver_until__isnull=False).update(**_ERASED)


def erase_late(now: datetime, batch: int) -> int:
    """Erases what was kept for calls that are no longer made; at most `batch`."""
    late = BackchannelRequest.objects.filter(deliver_until__lte=now).exclude(state=State.DELIVERING)
    return erase(late.order_by("deliver_until").values_list("pk", flat=True)[:batch])


@transaction.atomic(durable=True)
def reseal_all() -> int:
    """Seals what is kept again, under the first key-encryption key of the file."""
    requests = list(BackchannelRequest.objects.select_for_update().filter(deliver_until__isnull=False))
    for request in requests:
        opened = {name: _open(request, name) for name in _SEALED}
        fields = {n: seal(v, place=_place(n, request.id)) for n, v in opened.items() if v is not None}
        BackchannelRequest.objects.filter(pk=request.pk).update(**fields)
    return len(requests)
