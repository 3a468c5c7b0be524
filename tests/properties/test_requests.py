"""Whatever happens in whatever order, a request only moves along the transition table."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba import lifecycle
from ciba.attempt import BackchannelAttempt
from ciba.models import Approval, BackchannelRequest, Prompt
from ciba.states import REQUEST_STATES, State
from ciba.token_grant import HANDLER, Poll
from clients import lifecycle as agents
from foundation.poll_throttle import PollPace
from oauth.models import Grant
from oauth.requests.requested_access import find_requested_access
from oauth.token_endpoint.endpoints import TokenRequest
from oauth.tokens.issuance import Issue
from operations.risk import Assurance
from tests.properties.conftest import undone
from tests.support.budget import examples
from tests.support.world import PAYMENT, Caller

pytestmark = [pytest.mark.django_db, pytest.mark.soak]

ACTS = [
    "approve", "deny", "approve by a stranger", "approve too long signed in", "poll", "poll by another agent",
    "sweep", "stop", "allow", "disable", "enable", "suspend", "resume", "revoke the grant",
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from([0, 1, 100, 300, 700])), min_size=1, max_size=12)
EVENT_OF = {
    State.APPROVED: "request.approved", State.DENIED: "request.denied", State.EXPIRED: "request.expired",
    State.CANCELLED: "request.cancelled", State.REDEEMED: "request.redeemed", State.REVOKED: "request.revoked",
}  # fmt: skip


class World:
    """One request, a clock, and everything that may happen to it."""

    def __init__(self, agent: Caller, other: Caller, user: User, stranger: User, administrator: User) -> None:
        self.agent, self.other = agent.agent, other.agent
        self.user, self.stranger, self.administrator = user, stranger, administrator
        for row in (self.agent, self.other, user, stranger):
            row.refresh_from_db()  # an example before this one changed the object, and its row was put back
        self.now = timezone.now()
        requested = find_requested_access(
            self.agent, {"scope": "openid", "authorization_details": json.dumps([PAYMENT])}
        )
        opened = lifecycle.open(BackchannelAttempt(self.agent, self.now, {}, requested=requested, user=user))
        assert isinstance(opened, lifecycle.OpenedRequest)
        self.auth_req_id, self.id = opened.auth_req_id, opened.request.id
        self.prompt = Prompt.objects.get(request=opened.request)
        self.issued = 0

    def answer(self, act: Any, user: User, assurance: Assurance | None = Assurance.SESSION) -> None:
        user.refresh_from_db()
        act(self.prompt.id, lifecycle.Approver(user, assurance, self.now, "127.0.0.1", ""), self.now)

    def poll(self, agent: Any) -> None:
        agent.refresh_from_db()
        if not agent.is_active:
            return  # refused before a handler is called
        with transaction.atomic():
            verdict = HANDLER.decide(TokenRequest(agent, {}), Poll(self.auth_req_id, PollPace(0, 5)), self.now)
        if isinstance(verdict, Issue):
            assert agent == self.agent
            assert verdict.expires_at > self.now, "what is issued is alive"
            self.issued += 1

    def do(self, act: str) -> None:
        match act:
            case "approve":
                self.answer(lifecycle.approve, self.user)
            case "deny":
                self.answer(lifecycle.deny, self.user)
            case "approve by a stranger":
                self.answer(lifecycle.approve, self.stranger)
            case "approve too long signed in":
                self.answer(lifecycle.approve, self.user, None)
            case "poll":
                self.poll(self.agent)
            case "poll by another agent":
                self.poll(self.other)
            case "sweep":
                lifecycle.expire_due(self.now, 10)
            case "stop":
                lifecycle.stop_agent(self.agent, self.user, self.now)
            case "allow":
                agents.allow_again(self.agent, self.user, self.now)
            case "disable":
                users.disable(self.user, self.administrator, self.now)
            case "enable":
                users.enable(self.user, self.administrator, self.now)
            case "suspend":
                agents.suspend(self.agent, self.administrator, self.now)
            case "resume":
                agents.resume(self.agent, self.administrator, self.now)
            case "revoke the grant":
                Grant.objects.filter(request_id=self.id, revoked_at=None).update(revoked_at=self.now)

    def state(self) -> State:
        return State(BackchannelRequest.objects.values_list("state", flat=True).get(pk=self.id))


@examples(60, 5000)
@given(steps=STEPS)
def test_a_request_never_leaves_the_transition_table(
    agent: Caller, other_agent: Caller, user: User, stranger: User, administrator: User, steps: list[tuple[str, int]]
) -> None:
    with undone():
        world = World(agent, other_agent, user, stranger, administrator)
        passed = [world.state()]
        for act, seconds in steps:
            world.now += timedelta(seconds=seconds)
            world.do(act)
            if world.state() is not passed[-1]:
                passed.append(world.state())
        check(world, passed)


def check(world: World, passed: list[State]) -> None:
    for before, after in pairwise(passed):
        assert REQUEST_STATES.allows(before, after), f"{before} became {after}"
    assert not any(state in REQUEST_STATES.final_states for state in passed[:-1])
    events = list(Event.objects.filter(request_id=world.id).values_list("kind", flat=True))
    assert [events.count(EVENT_OF[state]) for state in passed[1:]] == [1] * (len(passed) - 1)
    assert sum(events.count(kind) for kind in EVENT_OF.values()) == len(passed) - 1, "no event without its change"
    approved = State.APPROVED in passed
    assert Approval.objects.filter(prompt=world.prompt).count() == int(approved)
    assert Grant.objects.filter(request_id=world.id).count() == int(approved)
    assert world.issued == int(State.REDEEMED in passed)


def test_the_clock_of_a_poll_counts_and_not_the_sweeps(
    agent: Caller, other_agent: Caller, user: User, stranger: User, administrator: User
) -> None:
    """One sequence that random search finds rarely: approved in time, fetched at the very end."""
    world = World(agent, other_agent, user, stranger, administrator)
    world.do("approve")
    end: datetime = BackchannelRequest.objects.get(pk=world.id).expires_at
    world.now = end
    world.do("poll")
    assert (world.issued, world.state()) == (0, State.APPROVED)
    world.do("sweep")
    assert world.state() is State.EXPIRED
