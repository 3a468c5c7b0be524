"""Ends a request without tokens: it expires, or the agent, the user or an administrator ends it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import User
from audit.record import SYSTEM
from ciba.callbacks import state as callbacks
from ciba.lifecycle.transitions import end_request
from ciba.models import BackchannelRequest, lock_request
from ciba.states import REQUEST_STATES, State
from clients import lifecycle as agents
from clients.models import Agent
from foundation.handles import digest
from oauth.grants.lifecycle import revoke_grants_between


def expire(request: BackchannelRequest, now: datetime) -> bool:
    """pending → expired, before a poll answers expired_token, so that no later answer can approve
    the request.

    False if it was answered or ended meanwhile. Runs in the transaction that answers the poll.
    """
    locked = lock_request(request.pk)
    if locked.state != State.PENDING:
        return False
    end_request(locked, State.EXPIRED, SYSTEM, now)
    callbacks.enqueue(locked, now)
    request.state = locked.state
    return True


@transaction.atomic(durable=True)
def expire_due(now: datetime, batch: int) -> int:
    """Expires due requests, or fails them if they were being delivered; at most `batch`.

    Concurrent sweepers share the work.
    """
    due = list(
        BackchannelRequest.objects.filter(state__in=REQUEST_STATES.open_states, expires_at__lte=now)
        .select_related("agent", "user")
        .order_by("expires_at")
        .select_for_update(skip_locked=True, of=("self",))[:batch]
    )
    for request in due:
        if request.state == State.DELIVERING:
            end_request(request, State.FAILED, SYSTEM, now)
            callbacks.settle(request, now)
        else:
            end_request(request, State.EXPIRED, SYSTEM, now)
            callbacks.enqueue(request, now)
    return len(due)


@transaction.atomic(durable=True)
def cancel(agent: Agent, unverified_auth_req_id: str, now: datetime) -> bool:
    """The agent cancels its own request (RFC 7009): the prompt is withdrawn, and so is an approval
    that was not yet redeemed.

    False if the agent has no such request or it has already ended.
    """
    mine = BackchannelRequest.objects.filter(agent=agent, auth_req_id_digest=digest(unverified_auth_req_id))
    request = mine.select_related("agent", "user").select_for_update(of=("self",)).first()
    # Expired: whether or not it was already swept.
    if request is None or State(request.state) in REQUEST_STATES.final_states or request.expires_at <= now:
        return False
    _withdraw(request, f"agent:{agent.client_id}", now)
    callbacks.settle(request, now)
    return True


@transaction.atomic(durable=True)
def stop_agent(agent: Agent, user: User, now: datetime) -> None:
    """The user stops an agent: open prompts are cancelled, approvals that were not redeemed and all
    grants are revoked.
    """
    agents.stop(agent, user, now)
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent, user=user), f"user:{user.id}", now)
    revoke_grants_between(agent, user, now)


@transaction.atomic(durable=True)
def withdraw_all(agent: Agent, actor: str, now: datetime) -> None:
    """An administrator stops an agent: every open request and unredeemed approval of it ends, for
    all users.
    """
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


@transaction.atomic(durable=True)
def withdraw(ids: Collection[UUID], actor: str, now: datetime) -> int:
    """An administrator ends these requests and their unredeemed approvals. Returns how many were still open."""
    return _withdraw_open(BackchannelRequest.objects.filter(pk__in=ids), actor, now)


def end_requests_of(agent: Agent, actor: str, _reason: str, now: datetime) -> None:
    """Like `withdraw_all`, in the caller's transaction.

    The events of the grants carry the reason.
    """
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


def _withdraw_open(theirs: QuerySet[BackchannelRequest], actor: str, now: datetime) -> int:
    count = 0
    still = theirs.filter(state__in=REQUEST_STATES.open_states).select_related("agent", "user")
    for request in still.order_by("id").select_for_update(of=("self",)):
        _withdraw(request, actor, now)
        callbacks.enqueue(request, now)
        count += 1
    return count


def _withdraw(request: BackchannelRequest, actor: str, now: datetime) -> None:
    """The agent or the user ends the request: pending → cancelled, approved → revoked, delivering →
    failed.
    """
    ends = {State.PENDING: State.CANCELLED, State.APPROVED: State.REVOKED, State.DELIVERING: State.FAILED}
    end_request(request, ends[State(request.state)], actor, now, decided_at=now)
