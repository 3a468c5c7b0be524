"""A yes at the last second counts: the prompt closes before the auth_req_id expires, and everything agrees when."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from authserver.kill_switch import find_remainder
from ciba import lifecycle
from ciba.decisions import waiting_prompts
from ciba.models import BackchannelRequest, Prompt
from ciba.policy import time_to_answer
from foundation.models import Work
from oauth.models import Grant
from tests.ciba.conftest import TOKEN, do_due_work
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.push_service import PushService
from tests.support.world import PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

LIFETIMES = [
    pytest.param(None, 240, id="the usual lifetime"),
    pytest.param("3600", 3540, id="a long one that was requested"),
    pytest.param("100", 50, id="one of which the time to fetch is half"),
    pytest.param("20", 10, id="a short one that was requested"),
]


def pass_time(seconds: float) -> None:
    """The request is so much older than it was."""
    passed = timedelta(seconds=seconds)
    names = ("created_at", "expires_at", "auth_req_id_expires_at")
    BackchannelRequest.objects.update(**{name: F(name) - passed for name in names})


def ask(caller: Caller, user: User, lifetime: str | None) -> dict[str, Any]:
    more = {"requested_expiry": lifetime} if lifetime else {}
    if caller.agent.backchannel_token_delivery_mode != "poll":
        more["client_notification_token"] = TOKEN
    answer = caller.ask(user, authorization_details=[PAYMENT], **more)
    assert answer.status_code == 200
    return dict(answer.json())


def approve(browser: Client) -> int:
    return int(browser.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code)


@pytest.mark.parametrize(
    ("lifetime", "fetch", "seconds"),
    [
        (300, 60, 240), (3600, 60, 3540), (300, 0, 300), (300, 400, 150), (120, 60, 60), (100, 60, 50), (1, 60, 0.5),
    ],
)  # fmt: skip
def test_the_time_to_fetch_is_at_most_half(lifetime: float, fetch: float, seconds: float) -> None:
    answer = time_to_answer(timedelta(seconds=lifetime), timedelta(seconds=fetch))
    assert answer == timedelta(seconds=seconds)


class TestAYesAtTheLastSecond:
    @pytest.mark.parametrize(("lifetime", "answer_time"), LIFETIMES)
    @pytest.mark.parametrize("mode", ["poll", "ping"])
    def test_it_is_fetched(
        self, request: Any, agent: Caller, user: User, mode: str, lifetime: str | None, answer_time: int
    ) -> None:
        caller: Caller = agent if mode == "poll" else request.getfixturevalue("pinged")
        sent = ask(caller, user, lifetime)
        assert sent["expires_in"] == int(lifetime or 300), "the whole, as it was requested"
        browser = sign_in(user)
        pass_time(answer_time - 2)
        assert approve(browser) == 200
        pass_time(sent["expires_in"] - answer_time)
        if mode == "ping":
            assert do_due_work() == ["done"]
        assert caller.poll(sent["auth_req_id"]).status_code == 200

    @pytest.mark.parametrize(("lifetime", "answer_time"), LIFETIMES)
    def test_it_is_pushed(
        self, pushed: Caller, endpoint: AgentEndpoint, user: User, lifetime: str | None, answer_time: int
    ) -> None:
        sent = ask(pushed, user, lifetime)
        browser = sign_in(user)
        pass_time(answer_time - 2)
        assert approve(browser) == 200
        work = Work.objects.get(kind="callback")
        assert work.deadline_at == BackchannelRequest.objects.get().expires_at
        assert work.deadline_at - timezone.now() > timedelta(seconds=(sent["expires_in"] - answer_time) * 0.8)
        assert do_due_work() == ["done"]
        assert "access_token" in endpoint.received[-1].json()

    def test_what_it_grants_lives_from_the_approval_on(self, agent: Caller, user: User) -> None:
        sent = ask(agent, user, "3600")
        browser = sign_in(user)
        pass_time(3530)
        before = timezone.now()
        assert approve(browser) == 200
        assert timedelta(seconds=600) <= Grant.objects.get().expires_at - before < timedelta(seconds=610)
        assert 590 <= agent.poll(sent["auth_req_id"]).json()["expires_in"] <= 600

    def test_it_is_not_kept_for_ever(self, agent: Caller, user: User) -> None:
        sent = ask(agent, user, "20")
        browser = sign_in(user)
        pass_time(8)
        assert approve(browser) == 200
        pass_time(12)
        assert agent.poll(sent["auth_req_id"]).json()["error"] == "expired_token"
        assert lifecycle.expire_due(timezone.now(), 10) == 1
        assert not Grant.objects.alive(timezone.now()).exists()


@pytest.fixture
def closed(agent: Caller, user: User) -> str:
    """Its prompt has just closed; its auth_req_id has not expired, and no sweep has run."""
    sent = ask(agent, user, None)
    pass_time(240)
    return str(sent["auth_req_id"])


def state() -> str:
    return str(BackchannelRequest.objects.values_list("state", flat=True).get())


class TestWhenThePromptCloses:
    def test_an_approval_is_too_late(self, closed: str, user: User) -> None:
        browser = sign_in(user)
        assert approve(browser) == 409
        assert not Grant.objects.exists()

    def test_the_page_says_so(self, closed: str, user: User) -> None:
        page = sign_in(user).get(f"/prompts/{Prompt.objects.get().id}").content.decode()
        assert "This request expired" in page and "Approve" not in page

    def test_the_api_and_the_inbox_say_so(self, closed: str, user: User) -> None:
        browser = sign_in(user)
        assert browser.get(f"/v1/prompts/{Prompt.objects.get().id}").json()["state"] == "expired"
        assert browser.get("/v1/prompts").json() == {"prompts": []}
        assert not waiting_prompts(user, timezone.now()).exists()
        assert "Expired" in browser.get("/").content.decode()

    def test_the_agent_is_notified_at_once(self, agent: Caller, closed: str) -> None:
        for _ in range(2):
            assert agent.poll(closed).json()["error"] == "expired_token"
        assert state() == "expired", "so that no yes comes after that"
        assert Event.objects.filter(kind="request.expired").count() == 1

    def test_a_strangers_poll_ends_nothing(self, other_agent: Caller, closed: str) -> None:
        assert other_agent.poll(closed).json()["error"] == "invalid_grant"
        assert state() == "pending"

    def test_the_sweeper_ends_it(self, agent: Caller, closed: str) -> None:
        assert lifecycle.expire_due(timezone.now(), 10) == 1
        assert agent.poll(closed).json()["error"] == "expired_token"

    def test_it_counts_as_pending_no_more(self, agent: Caller, closed: str, user: User, settings: Any) -> None:
        settings.MAX_PENDING_PER_USER = 1
        assert agent.ask(user).status_code == 200

    def test_the_kill_switch_finds_nothing_open(self, agent: Caller, closed: str) -> None:
        left = {one.what: one.count for one in find_remainder(agent.agent, timezone.now())}
        assert left["Prompts without an answer"] == left["Open and approved requests"] == 0

    def test_there_is_nothing_to_cancel(self, agent: Caller, closed: str) -> None:
        assert agent.post("/oauth/revoke", token=closed).status_code == 200
        assert state() == "pending"

    @pytest.mark.parametrize("ends_by", ["a sweep", "a poll"])
    def test_an_agent_that_gets_pings_is_notified(
        self, pinged: Caller, endpoint: AgentEndpoint, user: User, ends_by: str
    ) -> None:
        sent = ask(pinged, user, None)
        pass_time(240)
        if ends_by == "a sweep":
            lifecycle.expire_due(timezone.now(), 10)
        else:
            pinged.poll(sent["auth_req_id"])
        assert do_due_work() == ["done"]
        assert endpoint.received[-1].json() == {"auth_req_id": sent["auth_req_id"]}

    def test_an_agent_that_gets_pushes_is_notified(self, pushed: Caller, endpoint: AgentEndpoint, user: User) -> None:
        ask(pushed, user, None)
        pass_time(240)
        lifecycle.expire_due(timezone.now(), 10)
        assert do_due_work() == ["done"]
        assert endpoint.received[-1].json()["error"] == "expired_token"


def closing_of(lifetime: timedelta) -> datetime:
    return BackchannelRequest.objects.get().created_at + lifetime


class TestWhatIsSaidOfTheEnd:
    """Before an answer, everybody who asks is told when the prompt closes."""

    def test_the_page_counts_down_to_it(self, agent: Caller, user: User) -> None:
        ask(agent, user, None)
        closes_at = closing_of(timedelta(seconds=240))
        browser = sign_in(user)
        for path in ("/", f"/prompts/{Prompt.objects.get().id}"):
            page = browser.get(path).content.decode()
            (counted,) = re.findall(r"<time [^>]*data-expires>", page)
            assert f'datetime="{closes_at.isoformat()}"' in counted

    def test_the_api_names_it(self, agent: Caller, user: User) -> None:
        ask(agent, user, "100")
        (prompt,) = sign_in(user).get("/v1/prompts").json()["prompts"]
        assert prompt["expires_at"] == closing_of(timedelta(seconds=50)).isoformat()

    def test_a_notification_is_not_sent_later(
        self, agent: Caller, user: User, device: Any, push_service: PushService
    ) -> None:
        ask(agent, user, None)
        work = Work.objects.get(kind="push")
        assert work.deadline_at == closing_of(timedelta(seconds=240))
        assert work.payload["until"] == work.deadline_at.isoformat()

    def test_the_administration_shows_both_ends(self, agent: Caller, user: User, administrator: User) -> None:
        ask(agent, user, None)
        row = BackchannelRequest.objects.get()
        page = sign_in(administrator).get(f"/admin/ciba/backchannelrequest/{row.pk}/change/").content.decode()
        assert "Auth req id expires at" in page and "Expires at" in page

    def test_the_trail_has_both(self, agent: Caller, user: User) -> None:
        ask(agent, user, None)
        event = Event.objects.get(kind="request.opened").body
        for end in (240, 300):
            assert closing_of(timedelta(seconds=end)).isoformat() in event
