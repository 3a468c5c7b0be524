"""Turns an approval into tokens, once: the agent fetches them at the token endpoint, or gets them pushed."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import events
from audit.record import SYSTEM, record
from ciba.callbacks import state as callbacks
from ciba.lifecycle.transitions import about, audit_facts, end_request, move_request
from ciba.models import BackchannelRequest, lock_request
from ciba.states import State
from foundation.transactions import inside_transaction


def redeem(request: BackchannelRequest, now: datetime) -> bool:
    """approved → redeemed, once. Runs in the transaction that mints the tokens."""
    inside_transaction("redeeming")
    # Not from delivering: the tokens of such a request are already minted.
    if not move_request(request, State.REDEEMED, now, leaving=[State.APPROVED], redeemed_at=now):
        return False
    record(events.REQUEST_REDEEMED, about(request, f"agent:{request.agent.client_id}"), now, **audit_facts(request))
    callbacks.settle(request, now)
    return True


def start_push(request: BackchannelRequest, now: datetime) -> bool:
    """approved → delivering, once. Runs in the transaction that mints the pushed tokens."""
    inside_transaction("starting a push")
    if not move_request(request, State.DELIVERING, now):
        return False
    record(events.REQUEST_DELIVERING, about(request, SYSTEM), now, **audit_facts(request))
    return True


@transaction.atomic(durable=True)
def finish_callback(request_id: UUID, *, arrived: bool, now: datetime) -> None:
    """Records that the callback arrived or cannot arrive: delivering → redeemed | failed."""
    request = lock_request(request_id)
    if arrived and request.state == State.DELIVERING:
        end_request(request, State.REDEEMED, SYSTEM, now, redeemed_at=now)
    drop_callback(request, now)


def drop_callback(request: BackchannelRequest, now: datetime) -> None:
    """Erases the callback data. A push whose tokens have not arrived has failed.

    The callback is over, or the agent is suspended or has no notification endpoint. Runs in the
    caller's transaction.
    """
    if request.state == State.DELIVERING:
        end_request(request, State.FAILED, SYSTEM, now)
    callbacks.erase([request.pk])


def end_dead(request: BackchannelRequest, now: datetime) -> None:
    """Ends a request whose tokens may not be pushed, because agent, user or grant is no longer
    active, or the agent's registration has a problem. Runs in the caller's transaction with the
    row locked.
    """
    if request.expires_at > now or request.state == State.DELIVERING:
        end_request(request, State.FAILED if request.state == State.DELIVERING else State.REVOKED, SYSTEM, now)
