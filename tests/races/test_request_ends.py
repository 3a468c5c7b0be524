"""Decision, redemption, expiry, cancellation and delivery against each other, in every pairing: one winner.

Real threads on PostgreSQL and a real HTTPS endpoint; each pairing runs 100 rounds. A request walks along the
transition table, its trail tells of exactly that walk, and its tokens exist once or not at all.
"""

import json
import random
import time
from collections.abc import Callable
from itertools import combinations_with_replacement, pairwise
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba import lifecycle
from ciba.attempt import BackchannelAttempt
from ciba.models import BackchannelRequest, Prompt
from ciba.parameters import BackchannelParameters
from ciba.states import REQUEST_STATES, State
from foundation import outbox
from foundation.models import Work
from oauth.models import Grant
from oauth.requests.requested_access import find_requested_access
from tests.ciba.conftest import TOKEN, endpoint, make_called  # noqa: F401 - fixtures
from tests.races.test_one_winner import RequestTraits
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.duel import ROUNDS, at_once
from tests.support.world import PAYMENT, Caller

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]
ACTS = ("approve", "deny", "redeem", "deliver", "expire", "cancel")
FROM_PENDING = [pair for pair in combinations_with_replacement(ACTS, 2) if {"approve", "deny"} & set(pair)]
FROM_PENDING += [("expire", "expire"), ("expire", "cancel"), ("cancel", "cancel")]
FROM_APPROVED = list(combinations_with_replacement(ACTS[2:], 2))
EVENT_OF = {
    "request.approved": State.APPROVED, "request.denied": State.DENIED, "request.expired": State.EXPIRED,
    "request.cancelled": State.CANCELLED, "request.revoked": State.REVOKED, "request.redeemed": State.REDEEMED,
    "request.delivering": State.DELIVERING, "request.failed": State.FAILED,
}  # fmt: skip


def open_called(caller: Caller, user: User) -> RequestTraits:
    requested = find_requested_access(caller.agent, {"scope": "openid", "authorization_details": json.dumps([PAYMENT])})
    parsed = BackchannelParameters(client_notification_token=TOKEN)
    opened = lifecycle.open(
        BackchannelAttempt(caller.agent, timezone.now(), {}, parsed=parsed, requested=requested, user=user)
    )
    assert isinstance(opened, lifecycle.OpenedRequest)
    return RequestTraits(caller, user, opened.auth_req_id, opened.request, Prompt.objects.get(request=opened.request))


def act_of(requesting: RequestTraits, name: str) -> Callable[[], Any]:
    def deliver() -> list[bool]:
        due = Work.objects.filter(about=f"request:{requesting.request.id}", state="pending")
        return [outbox.do(work_id) for work_id in due.values_list("id", flat=True)]

    end = BackchannelRequest.objects.values_list("expires_at", flat=True).get(pk=requesting.request.id)
    acts: dict[str, Callable[[], Any]] = {
        "approve": requesting.approve,
        "deny": requesting.deny,
        "redeem": requesting.redeem,
        "deliver": deliver,
        "expire": lambda: lifecycle.expire_due(end, 10),
        "cancel": lambda: lifecycle.cancel(requesting.caller.agent, requesting.auth_req_id, timezone.now()),
    }

    def act() -> Any:
        time.sleep(random.uniform(0, 0.004))  # so that now one side, now the other is first
        return acts[name]()

    return act


@pytest.mark.parametrize(
    ("start", "pair"),
    [("pending", pair) for pair in FROM_PENDING] + [("approved", pair) for pair in FROM_APPROVED],
    ids=lambda value: value if isinstance(value, str) else " against ".join(value),
)
def test_one_winner(
    agent: Caller,
    user: User,
    endpoint: AgentEndpoint,  # noqa: F811 - fixture
    start: str,
    pair: tuple[str, str],
) -> None:
    caller = make_called("push", endpoint, user)
    for _ in range(ROUNDS):
        endpoint.received.clear()
        requesting = open_called(caller, user)
        if start == "approved":
            requesting.approve()
        answers = at_once(*[act_of(requesting, name) for name in pair])
        check(requesting, [one for one in answers if isinstance(one, dict)], endpoint)
        lifecycle.cancel(caller.agent, requesting.auth_req_id, timezone.now())


def check(requesting: RequestTraits, fetched: list[Any], endpoint: AgentEndpoint) -> None:  # noqa: F811 - fixture
    row = BackchannelRequest.objects.get(pk=requesting.request.id)
    trail = Event.objects.filter(request_id=row.id).order_by("id").values_list("kind", flat=True)
    walk = [State.PENDING, *(EVENT_OF[kind] for kind in trail if kind in EVENT_OF)]
    assert all(REQUEST_STATES.allows(before, after) for before, after in pairwise(walk)), walk
    assert walk[-1] == row.state, "the trail tells where it ended"
    sent = [one for one in endpoint.received if "access_token" in one.json()]
    issued = list(trail).count("token.issued")
    assert issued <= 1 and len(fetched) + len(sent) <= issued
    if row.state == State.REDEEMED:
        assert len(fetched) + len(sent) == 1, "fetched or pushed, and not both"
    alive = Grant.objects.alive(timezone.now()).filter(request_id=row.id).exists()
    assert alive == (row.state in (State.APPROVED, State.DELIVERING, State.REDEEMED))
    due = Work.objects.filter(about=f"request:{row.id}", state="pending").exists()
    if State(row.state) in REQUEST_STATES.final_states and not due:
        assert row.sealed_auth_req_id is row.sealed_token_response is row.sealed_notification_token is None
