"""The changes of a request's state, and what every event of a request says."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from audit import events
from audit.record import About, record, record_revocation
from ciba.models import BackchannelRequest
from ciba.prompt_content import headline
from ciba.states import REQUEST_STATES, State
from ciba.topics import topics_of
from devices import lifecycle as devices
from foundation.compiled_moves import CompiledMoves
from foundation.compiled_queries import Parameter
from foundation.wakeups import wake
from oauth.grants.lifecycle import revoke_grant

_LIVE = CompiledMoves(
    REQUEST_STATES,
    lambda: BackchannelRequest.objects.alive().filter(pk=Parameter("request"), expires_at__gt=Parameter("now")),
)
_LOCKED = CompiledMoves(REQUEST_STATES, lambda: BackchannelRequest.objects.filter(pk=Parameter("request")))


def move_request(
    request: BackchannelRequest, target: State, now: datetime, *, leaving: Sequence[State] | None = None, **fields: Any
) -> bool:
    """The one conditional UPDATE: from a state that `target` may follow, not expired, agent and
    user active.
    """
    moved = _LIVE.move({"request": request.pk, "now": now}, target, leaving=leaving, **fields)
    if moved:
        request.state = target
        wake(topics_of(request))
    return bool(moved)


_EVENT_OF_END = {
    State.CANCELLED: events.REQUEST_CANCELLED, State.REVOKED: events.REQUEST_REVOKED,
    State.EXPIRED: events.REQUEST_EXPIRED, State.FAILED: events.REQUEST_FAILED,
    State.REDEEMED: events.REQUEST_REDEEMED,
}  # fmt: skip


def end_request(request: BackchannelRequest, target: State, actor: str, now: datetime, **fields: Any) -> None:
    """Moves a locked request to a final state and ends its prompts and its grant."""
    was = State(request.state)
    if not _LOCKED.move({"request": request.pk}, target, leaving=[was], **fields):
        raise RuntimeError(f"request {request.pk} is no longer {was}, although it is locked")
    request.state = target
    # Only a revocation goes on if its event cannot be written.
    write = record if target in (State.REDEEMED, State.EXPIRED) else record_revocation
    write(_EVENT_OF_END[target], about(request, actor), now, was=was, **audit_facts(request))
    wake(topics_of(request))
    if was is State.PENDING:
        for prompt in request.prompts.all():
            devices.withdraw_notification(prompt.id, now)
    if request.grant_id and target is not State.REDEEMED:
        revoke_grant(request.grant_id, request.agent, request.user, now, actor=actor)


def audit_facts(request: BackchannelRequest) -> dict[str, str]:
    """The event details that the user reads at /activity."""
    return {"agent": request.content["agent"], "headline": headline(request.content)}


def about(request: BackchannelRequest, actor: str) -> About:
    return About(actor, request.agent.client_id, request.user_id, request.id, request.grant_id)
