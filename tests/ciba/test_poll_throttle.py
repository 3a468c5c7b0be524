"""Whoever polls too often is slowed down first, and gets 503 only where it heeds nothing (CIBA Core 11)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.models import Prompt
from foundation import poll_throttle
from foundation.poll_throttle import LEEWAY_S, MAX_EARLY, PollPace
from tests.support.own_redis import OwnRedis
from tests.support.world import Caller

pytestmark = pytest.mark.django_db

START = datetime.fromisoformat("2026-11-29T12:00:00+00:00")


class Poller:
    """Polls one key at times of its own choice, in Redis or in this process's memory."""

    def __init__(self, key: str) -> None:
        self.key, self.at = key, 0.0

    def after(self, seconds: float) -> PollPace:
        self.at += seconds
        now = START + timedelta(seconds=self.at)
        return poll_throttle.get_poll_throttle().poll(self.key, now=now, interval=5, lifetime=3600)


@pytest.fixture(params=["Redis", "memory"])
def poller(request: Any) -> Poller:
    if request.param == "memory":
        own: OwnRedis = request.getfixturevalue("own_redis")
        own.make_trouble("stopped")
    return Poller(f"test:{timezone.now().timestamp()}")


class TestPace:
    def test_every_early_poll_adds_five_seconds_until_it_heeds_nothing(self, poller: Poller) -> None:
        assert poller.after(0) == PollPace(0, 5)
        paces = [poller.after(1) for _ in range(MAX_EARLY + 20)]
        assert [one.interval for one in paces[:MAX_EARLY]] == [5 + 5 * n for n in range(1, MAX_EARLY + 1)]
        assert {one.interval for one in paces[MAX_EARLY:]} == {5 + 5 * MAX_EARLY}, "Retry-After grows no further"
        assert [one.heeds_nothing for one in paces] == [False] * MAX_EARLY + [True] * 20

    @pytest.mark.parametrize("early", [1, 12, MAX_EARLY, MAX_EARLY + 1])
    def test_one_poll_in_time_ends_the_row(self, poller: Poller, early: int) -> None:
        poller.after(0)
        for _ in range(early):
            pace = poller.after(1)
        assert pace.early == early
        assert poller.after(pace.interval).early == 0
        assert not poller.after(1).heeds_nothing

    def test_a_client_that_waits_in_between_never_gets_503(self, poller: Poller) -> None:
        """Two early polls and then the interval, for an hour."""
        poller.after(0)
        while poller.at < 3600:
            early = [poller.after(0.1), poller.after(0.1)]
            assert not any(one.heeds_nothing for one in early)
            poller.after(early[-1].interval)

    @pytest.mark.parametrize("late_by", [0, -LEEWAY_S, 1])
    def test_a_client_that_adds_five_seconds_as_told_is_early_once(self, poller: Poller, late_by: float) -> None:
        poller.after(0)
        assert poller.after(1).early == 1
        assert [poller.after(10 + late_by).early for _ in range(20)] == [0] * 20


class TestOverTheWire:
    def test_503_comes_after_thirty_early_polls_in_a_row(self, agent: Caller, user: User) -> None:
        """Nothing is looked up and nothing is recorded then."""
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        answers = [agent.poll(auth_req_id) for _ in range(34)]
        assert [one.json()["error"] for one in answers[:31]] == ["authorization_pending"] + ["slow_down"] * 30
        for late in answers[31:]:
            assert (late.status_code, late.json()["error"]) == (503, "temporarily_unavailable")
            assert int(late["Retry-After"]) == 155
        assert not Event.objects.filter(kind="token.refused").exists()
        assert agent.ask(user).status_code == 200, "another request has its own pace"

    def test_every_slow_down_says_how_long_to_wait(self, agent: Caller, user: User) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        assert "Retry-After" not in agent.poll(auth_req_id).headers
        assert [agent.poll(auth_req_id)["Retry-After"] for _ in range(3)] == ["10", "15", "20"]

    def test_who_waits_goes_on(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        for _ in range(32):
            agent.poll(auth_req_id)
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert agent.poll(auth_req_id).status_code == 503
        poll_throttle.get_poll_throttle()._volatile.client.flushdb()  # as if it had waited
        assert agent.poll(auth_req_id).status_code == 200
