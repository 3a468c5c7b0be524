"""Two requests under one Idempotency-Key at the same moment: one is opened, and both are told of it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba import lifecycle, repeats
from ciba.attempt import BackchannelAttempt
from ciba.hints import HintedSubject, HintKind
from ciba.models import BackchannelRequest, IdempotencyKey, Prompt
from ciba.parameters import BackchannelParameters
from ciba.policy import RequestRefusal
from oauth.requests.requested_access import find_requested_access
from tests.races.test_one_winner import answerer
from tests.support.duel import ROUNDS, Duel, at_once
from tests.support.world import Caller

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


class Repeater:
    """Opens requests of one agent about one user under a key."""

    def __init__(self, caller: Caller, user: User) -> None:
        self.agent, self.user = caller.agent, user
        self.requested = find_requested_access(caller.agent, {"scope": "openid"})

    def open(self, key: str, message: str = "") -> Any:
        return lifecycle.open(
            BackchannelAttempt(
                self.agent, timezone.now(), {}, key,
                parsed=BackchannelParameters(binding_message=message), requested=self.requested,
                hinted=HintedSubject(HintKind.EMAIL, self.user.email), user=self.user,
            )
        )  # fmt: skip

    def deny_all(self) -> None:
        for prompt in Prompt.objects.filter(answer=""):
            lifecycle.deny(prompt.id, answerer(self.user), timezone.now())


@pytest.mark.parametrize("hides", [False, True], ids=["told", "hidden"])
def test_the_same_request_twice_is_one(agent: Caller, user: User, settings: Any, *, hides: bool) -> None:
    """Even where no other may wait: the second is no second."""
    settings.HIDE_UNKNOWN_USERS, settings.MAX_PENDING_PER_USER = hides, 1
    repeater = Repeater(agent, user)
    for number in range(ROUNDS):
        answers = at_once(*[lambda key=f"key-{number}": repeater.open(key)] * 3)
        assert len({one.auth_req_id for one in answers}) == len({one.request.pk for one in answers}) == 1
        assert BackchannelRequest.objects.count() == number + 1
        repeater.deny_all()


def test_two_requests_under_one_key_have_one_winner(agent: Caller, user: User) -> None:
    duel, repeater = Duel(), Repeater(agent, user)
    for number in range(ROUNDS):
        key = f"key-{number}"
        first, second = duel.fight(lambda: repeater.open(key, "one"), lambda: repeater.open(key, "two"))  # noqa: B023
        first_won = isinstance(first, lifecycle.OpenedRequest)
        winner, loser = (first, second) if first_won else (second, first)
        assert loser is RequestRefusal.OTHER_REQUEST
        assert winner.request.binding_message == ("one" if first_won else "two")
        assert BackchannelRequest.objects.count() == Event.objects.filter(kind="request.opened").count() == number + 1
        duel.note(first_won=first_won)
        repeater.deny_all()
    duel.assert_both_won()


def test_a_key_whose_life_is_over_is_taken_by_one(agent: Caller, user: User) -> None:
    """Two repeats and the sweeper, just after the end."""
    repeater = Repeater(agent, user)
    for _ in range(ROUNDS):
        old = repeater.open("key")
        assert isinstance(old, lifecycle.OpenedRequest)
        IdempotencyKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        one, other, _ = at_once(
            lambda: repeater.open("key"),
            lambda: repeater.open("key"),
            lambda: repeats.sweep(timezone.now(), 10),
        )
        assert one.auth_req_id == other.auth_req_id != old.auth_req_id
        assert IdempotencyKey.objects.get().request_id == one.request.pk
        repeater.deny_all()
        IdempotencyKey.objects.all().delete()


def test_an_approval_in_time_against_the_poll_after_the_end(agent: Caller, user: User) -> None:
    """Whoever is told `expired_token` is never approved after that."""
    from tests.races.test_one_winner import open_request

    duel = Duel()
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        BackchannelRequest.objects.filter(pk=requesting.request.pk).update(expires_at=timezone.now())
        in_time = timezone.now() - timedelta(seconds=5)
        approve = lambda: lifecycle.approve(requesting.prompt.id, answerer(user), in_time)  # noqa: B023, E731
        answer, polled = duel.fight(approve, requesting.redeem)
        requesting.request.refresh_from_db()
        if isinstance(polled, dict):
            assert (answer.name, requesting.request.state) == ("COUNT", "redeemed")
        else:
            assert (polled.code, answer.name, requesting.request.state) == ("expired_token", "ANSWERED", "expired")
        assert requesting.events()["request.approved"] == int(isinstance(polled, dict))
        duel.note(first_won=isinstance(polled, dict))
    duel.assert_both_won()
