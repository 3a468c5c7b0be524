"""/v1/prompts/events: an open inbox is told to look again, and holds nothing while it waits."""

import os
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as people
from accounts.models import User
from authserver.front.streams import MOST_OF_ONE
from ciba import lifecycle
from ciba.models import Prompt
from clients.models import Agent
from foundation import wakeups
from tests.front.conftest import Inbox, Served, serving
from tests.own_redis import OwnRedis
from tests.patience import until
from tests.world import PAYMENT, Caller, allow_everything, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

OpenInbox = Callable[..., Inbox]


@pytest.fixture
def inbox(open_inbox: OpenInbox, browser_of_person: Client) -> Inbox:
    """An open page of `person` that has looked once."""
    opened = open_inbox(browser_of_person)
    assert opened.status == 200
    assert opened.next() == "look", "what happened before the stream was open"
    return opened


@pytest.fixture
def read_inbox(open_inbox: OpenInbox, browser_of_person: Client, looking: Served) -> Inbox:
    """One of a front that reads again by itself."""
    opened = open_inbox(browser_of_person, looking)
    assert opened.status == 200 and opened.next() == "look"
    return opened


def ask(agent: Caller, person: User, **parameters: str) -> Prompt:
    assert agent.ask(person, authorization_details=[PAYMENT], **parameters).status_code == 200
    return Prompt.objects.order_by("request__created_at").last()  # type: ignore[return-value]


class TestTold:
    def test_of_a_new_prompt_an_answer_a_redemption_an_expiry_and_a_stop(
        self, inbox: Inbox, agent: Caller, person: User, browser_of_person: Client
    ) -> None:
        auth_req_id = agent.ask(person, authorization_details=[PAYMENT]).json()["auth_req_id"]
        assert inbox.is_told()
        browser_of_person.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert inbox.is_told()
        assert agent.poll(auth_req_id).status_code == 200
        assert inbox.is_told()
        ask(agent, person, requested_expiry="1")
        assert inbox.is_told()
        assert lifecycle.expire_due(timezone.now() + timedelta(seconds=2), 10) == 1
        assert inbox.is_told()
        ask(agent, person)
        assert inbox.is_told()
        browser_of_person.post(f"/agents/{agent.agent.pk}/stop")
        assert inbox.is_told()

    def test_not_of_what_is_somebody_elses(self, inbox: Inbox, agent: Caller, stranger: User) -> None:
        allow_everything(agent, stranger)
        ask(agent, stranger)
        assert inbox.is_silent(1)

    def test_not_of_what_was_rolled_back(self, inbox: Inbox, agent: Caller, person: User) -> None:
        assert agent.ask(person, authorization_details=[{"type": "unknown"}]).status_code == 400
        assert inbox.is_silent(1)

    def test_of_a_change_whose_wake_up_was_lost(
        self, read_inbox: Inbox, agent: Caller, person: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wakeups, "_publish", lambda topics: None)
        ask(agent, person)
        assert read_inbox.is_told()

    def test_of_an_agents_suspension_which_wakes_nobody(
        self, agent: Caller, person: User, browser_of_person: Client, open_inbox: OpenInbox, looking: Served
    ) -> None:
        ask(agent, person)
        inbox = open_inbox(browser_of_person, looking)
        assert inbox.next() == "look"
        Agent.objects.update(status=Agent.Status.SUSPENDED)
        assert inbox.is_told()


class TestWhoMayListen:
    def test_nobody_unknown(self, served: Served, open_inbox: OpenInbox) -> None:
        opened = open_inbox(Client())
        assert opened.status == 401
        assert opened.json()["error"] == "not_signed_in"

    def test_get_alone(self, served: Served, browser_of_person: Client) -> None:
        assert browser_of_person.post("/v1/prompts/events").status_code == 405

    def test_where_nothing_can_wait_the_browser_is_told_not_to_come_back(self, browser_of_person: Client) -> None:
        assert browser_of_person.get("/v1/prompts/events").status_code == 204

    def test_the_answer(self, inbox: Inbox) -> None:
        headers = inbox.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Content-Type-Options"] == "nosniff"


class TestTheEnd:
    def test_signing_out_ends_every_window_of_the_person_at_once(
        self, inbox: Inbox, browser_of_person: Client, open_inbox: OpenInbox
    ) -> None:
        browser_of_person.post("/logout")
        assert inbox.next() is None
        assert open_inbox(browser_of_person).status == 401

    def test_so_does_disabling_the_person(self, inbox: Inbox, person: User, administrator: User) -> None:
        people.disable(person, administrator, timezone.now())
        assert inbox.next() is None

    @pytest.mark.parametrize("end", ["session ended", "person disabled", "new password"])
    def test_and_so_do_they_where_the_wake_up_was_lost(self, read_inbox: Inbox, person: User, end: str) -> None:
        if end == "session ended":
            Session.objects.all().delete()
        elif end == "person disabled":
            User.objects.filter(pk=person.pk).update(is_active=False)
        else:
            User.objects.filter(pk=person.pk).update(session_epoch=1)
        assert read_inbox.next() is None


class TestNothingIsHeld:
    def test_many_listeners_hold_no_thread_and_no_connection_to_the_database(
        self, served: Served, agent: Caller, person: User, stranger: User, open_inbox: OpenInbox
    ) -> None:
        browsers = [sign_in(person), sign_in(stranger)]
        opened = [open_inbox(browsers[number % 2]) for number in range(2 * MOST_OF_ONE)]
        assert all(one.status == 200 and one.next() == "look" for one in opened)
        assert served.request("GET", "/readyz", headers={"Host": "localhost"}).status == 200
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
            ).fetchone()
        assert row == (0,)
        ask(agent, person)
        assert all(one.is_told() for one in opened[::2])

    def test_too_many_of_one_person_are_refused_clearly_and_a_closed_one_makes_room(
        self, open_inbox: OpenInbox, browser_of_person: Client, served: Served
    ) -> None:
        opened = [open_inbox(browser_of_person) for _ in range(MOST_OF_ONE)]
        assert all(one.status == 200 for one in opened)
        refused = open_inbox(browser_of_person)
        assert refused.status == 429
        assert refused.response.headers["Retry-After"] == "30"
        assert refused.json()["error"] == "slow_down"
        opened[0].close()
        until(lambda: open_inbox(browser_of_person).status == 200)

    def test_a_client_that_disappears_gives_its_place_and_its_file_back(
        self, open_inbox: OpenInbox, browser_of_person: Client, served: Served
    ) -> None:
        before = served.open_files()
        opened = [open_inbox(browser_of_person) for _ in range(MOST_OF_ONE)]
        assert all(one.next() == "look" for one in opened)
        assert served.open_files() >= before + MOST_OF_ONE
        for one in opened:
            one.close()
        until(lambda: served.open_files() <= before + 2)

    def test_one_that_reads_nothing_is_in_nobodys_way(
        self, served: Served, inbox: Inbox, browser_of_person: Client, agent: Caller, person: User
    ) -> None:
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in browser_of_person.cookies.items())
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        with closing(peer):
            peer.connect(("127.0.0.1", served.port))
            peer.sendall(f"GET /v1/prompts/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
            for _ in range(3):
                ask(agent, person)
                assert inbox.is_told()


class TestTheProcess:
    def test_a_full_one_says_when_to_come_back(self, browser_of_person: Client, open_inbox: OpenInbox) -> None:
        with serving("authserver.asgi:application", WEB_WAITING="2") as small:
            opened = [open_inbox(browser_of_person, small) for _ in range(3)]
            assert [one.status for one in opened] == [200, 200, 503]
            assert opened[2].response.headers["Retry-After"] == "30"

    def test_it_ends_quickly_with_streams_open(self, browser_of_person: Client, open_inbox: OpenInbox) -> None:
        with serving("authserver.asgi:application") as one:
            opened = [open_inbox(browser_of_person, one) for _ in range(5)]
            assert all(inbox.next() == "look" for inbox in opened)
            assert one.stop() < 60, "granian would kill it after 100 s"
            assert all(inbox.next() is None for inbox in opened)


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_without_redis_it_is_told_within_seconds_and_with_it_again_at_once(
    own_redis: OwnRedis,
    trouble: str,
    browser_of_person: Client,
    open_inbox: OpenInbox,
    agent: Caller,
    person: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving("authserver.asgi:application", REDIS_URL=own_redis.url) as one:
        inbox = open_inbox(browser_of_person, one)
        assert inbox.next() == "look"
        ask(agent, person)
        assert inbox.is_told()
        own_redis.make_trouble(trouble)
        ask(agent, person)
        assert inbox.is_told()
        late = open_inbox(browser_of_person, one)
        assert (late.status, late.next()) == (200, "look")
        own_redis.mend()
        monkeypatch.setattr(wakeups, "_volatile", None)  # it leaves Redis alone for a while

        def is_told_at_once() -> bool:
            while not inbox.is_silent(1.5):
                pass
            ask(agent, person)
            return inbox.next(0.3) == "look"

        until(is_told_at_once)


def test_a_wake_up_names_what_changed_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, browser_of_person: Client, agent: Caller, person: User
) -> None:
    told: list[str] = []
    monkeypatch.setattr(wakeups, "_publish", told.extend)
    request = ask(agent, person).request
    browser_of_person.post("/logout")
    assert set(told) == {f"prompts:{person.pk}", f"request:{request.pk}", f"person:{person.pk}"}
