"""The callbacks that ping and push agents must receive, and the sealed data that they need.

The auth_req_id, the agent's token and the pushed tokens are sealed in the request's row. They are
erased as soon as nothing more must be sent. The outbox row holds only the request's id.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from ciba.models import BackchannelRequest
from ciba.states import State
from clients.models import Agent
from foundation import outbox
from foundation.keyring import seal
from foundation.sealed_columns import place_of, sealed_fields
from foundation.transactions import inside_transaction

KIND = "callback"
# How long after a request's end the agent may still be notified of it.
NOTICE_LIFETIME = timedelta(minutes=5)
_SEALED = sealed_fields(BackchannelRequest)
_ERASED: dict[str, Any] = {**dict.fromkeys(field.name for field in _SEALED), "callback_deadline_at": None}


@dataclass(frozen=True)
class CallbackData:
    """The data that a callback needs."""

    auth_req_id: str
    notification_token: str
    answer: bytes | None  # the pushed tokens, once minted


def _place(column: str, request_id: UUID) -> str:
    return place_of(BackchannelRequest, column, request_id)


def seal_callback_data(agent: Agent, request_id: UUID, auth_req_id: str, token: str, until: datetime) -> dict[str, Any]:
    """The sealed columns of a new request of this agent."""
    mode = agent.backchannel_token_delivery_mode
    if mode == Agent.DeliveryMode.POLL:
        return {"delivery_mode": mode}
    return {
        "delivery_mode": mode,
        "notification_endpoint": agent.backchannel_client_notification_endpoint,
        "sealed_auth_req_id": seal(auth_req_id.encode(), place=_place("sealed_auth_req_id", request_id)),
        "sealed_notification_token": seal(token.encode(), place=_place("sealed_notification_token", request_id)),
        "callback_deadline_at": until + NOTICE_LIFETIME,
    }


def open_callback_data(request: BackchannelRequest) -> CallbackData | None:
    """The callback data; None if nothing (more) must be sent."""
    auth_req_id, token, answer = (field.open_in(request) for field in _SEALED)
    if auth_req_id is None or token is None:
        return None
    return CallbackData(auth_req_id.decode(), token.decode(), answer)


def seal_token_response(request: BackchannelRequest, answer: bytes) -> bytes:
    """Seals the body of a push, and returns it. A retry sends the same body."""
    sealed = seal(answer, place=_place("sealed_token_response", request.id))
    BackchannelRequest.objects.filter(pk=request.pk).update(sealed_token_response=sealed)
    return answer


def _about(request_id: UUID) -> str:
    return f"request:{request_id}"


def enqueue(request: BackchannelRequest, now: datetime) -> None:
    """Enqueues the callback of a request that was decided or has ended.

    Runs in the same transaction as that change.
    """
    if request.sealed_auth_req_id is None:
        return
    outbox.withdraw(_about(request.id), now)
    is_notice = request.state != State.APPROVED  # an approval is pushed before it expires or never
    until = max(request.expires_at, now + NOTICE_LIFETIME) if is_notice else request.expires_at
    BackchannelRequest.objects.filter(pk=request.pk).update(callback_deadline_at=until)
    outbox.enqueue(KIND, _about(request.id), {"request": str(request.id)}, now, deadline=until)


def settle(request: BackchannelRequest, now: datetime) -> None:
    """Withdraws the callback and erases its data. Nothing more is sent."""
    inside_transaction("settling")
    if request.delivery_mode != Agent.DeliveryMode.POLL:
        outbox.withdraw(_about(request.id), now)
        erase([request.pk])


def erase(request_ids: Iterable[UUID]) -> int:
    return BackchannelRequest.objects.filter(pk__in=request_ids, callback_deadline_at__isnull=False).update(**_ERASED)


def erase_late(now: datetime, batch: int) -> int:
    """Erases the data of callbacks that are no longer made; at most `batch`."""
    late = BackchannelRequest.objects.filter(callback_deadline_at__lte=now).exclude(state=State.DELIVERING)
    return erase(late.order_by("callback_deadline_at").values_list("pk", flat=True)[:batch])
