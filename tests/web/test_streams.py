"""/v1/prompts/events: an open inbox gets an event to look again, and keeps no thread while it waits."""

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

from accounts import lifecycle as users
from accounts.models import User
from ciba import lifecycle
from ciba.models import Prompt
from clients.models import Agent
from foundation import wakeups
from tests.patience import until
from tests.support.own_redis import OwnRedis
from tests.support.world import PAYMENT, Caller, allow_everything, sign_in
from tests.web.conftest import Inbox, Served, serving
from web.streams import MAX_STREAMS_PER_HOLDER

pytestmark = pytest.mark.django_db(transaction=True)

OpenInbox = Callable[..., Inbox]


@pytest.fixture
def inbox(open_inbox: OpenInbox, browser_of_user: Client) -> Inbox:
    """An open page of `user` that has looked once."""
    opened = open_inbox(browser_of_user)
    assert opened.status == 200
    assert opened.next() == "look", "what happened before the stream was open"
    return opened


@pytest.fixture
def read_inbox(open_inbox: OpenInbox, browser_of_user: Client, looking: Served) -> Inbox:
    """One of a front that reads again by itself."""
    opened = open_inbox(browser_of_user, looking)
    assert opened.status == 200 and opened.next() == "look"
    return opened


def ask(agent: Caller, user: User, **parameters: str) -> Prompt:
    assert agent.ask(user, authorization_details=[PAYMENT], **parameters).status_code == 200
    return Prompt.objects.order_by("request__created_at").last()  # type: ignore[return-value]


class TestNotifications:
    def test_of_a_new_prompt_an_answer_a_redemption_an_expiry_and_a_stop(
        self, inbox: Inbox, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        assert inbox.is_notified()
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert inbox.is_notified()
        assert agent.poll(auth_req_id).status_code == 200
        assert inbox.is_notified()
        ask(agent, user, requested_expiry="1")
        assert inbox.is_notified()
        assert lifecycle.expire_due(timezone.now() + timedelta(seconds=2), 10) == 1
        assert inbox.is_notified()
        ask(agent, user)
        assert inbox.is_notified()
        browser_of_user.post(f"/agents/{agent.agent.pk}/stop")
        assert inbox.is_notified()

    def test_not_of_what_is_somebody_elses(self, inbox: Inbox, agent: Caller, stranger: User) -> None:
        allow_everything(agent, stranger)
        ask(agent, stranger)
        assert inbox.is_silent(1)

    def test_not_of_what_was_rolled_back(self, inbox: Inbox, agent: Caller, user: User) -> None:
        assert agent.ask(user, authorization_details=[{"type": "unknown"}]).status_code == 400
        assert inbox.is_silent(1)

    def test_of_a_change_whose_wake_up_was_lost(
        self, read_inbox: Inbox, agent: Caller, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wakeups, "_publish", lambda topics: None)
        ask(agent, user)
        assert read_inbox.is_notified()

    def test_of_an_agents_suspension_which_wakes_nobody(
        self, agent: Caller, user: User, browser_of_user: Client, open_inbox: OpenInbox, looking: Served
    ) -> None:
        ask(agent, user)
        inbox = open_inbox(browser_of_user, looking)
        assert inbox.next() == "look"
        Agent.objects.update(status=Agent.Status.SUSPENDED)
        assert inbox.is_notified()


class TestWhoMayListen:
    def test_nobody_unknown(self, served: Served, open_inbox: OpenInbox) -> None:
        opened = open_inbox(Client())
        assert opened.status == 401
        assert opened.json()["error"] == "not_signed_in"

    def test_get_alone(self, served: Served, browser_of_user: Client) -> None:
        assert browser_of_user.post("/v1/prompts/events").status_code == 405

    def test_where_nothing_can_wait_the_browser_is_told_not_to_come_back(self, browser_of_user: Client) -> None:
        assert browser_of_user.get("/v1/prompts/events").status_code == 204

    def test_the_answer(self, inbox: Inbox) -> None:
        headers = inbox.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Content-Type-Options"] == "nosniff"


class TestTheEnd:
    def test_signing_out_ends_every_window_of_the_user_at_once(
        self, inbox: Inbox, browser_of_user: Client, open_inbox: OpenInbox
    ) -> None:
        browser_of_user.post("/logout")
        assert inbox.next() is None
        assert open_inbox(browser_of_user).status == 401

    def test_so_does_disabling_the_user(self, inbox: Inbox, user: User, administrator: User) -> None:
        users.disable(user, administrator, timezone.now())
        assert inbox.next() is None

    @pytest.mark.parametrize("end", ["session ended", "user disabled", "new password"])
    def test_and_so_do_they_where_the_wake_up_was_lost(self, read_inbox: Inbox, user: User, end: str) -> None:
        if end == "session ended":
            Session.objects.all().delete()
        elif end == "user disabled":
            User.objects.filter(pk=user.pk).update(is_active=False)
        else:
            User.objects.filter(pk=user.pk).update(session_epoch=1)
        assert read_inbox.next() is None


class TestNothingIsHeld:
    def test_many_listeners_hold_no_thread_and_no_connection_to_the_database(
        self, served: Served, agent: Caller, user: User, stranger: User, open_inbox: OpenInbox
    ) -> None:
        browsers = [sign_in(user), sign_in(stranger)]
        opened = [open_inbox(browsers[number % 2]) for number in range(2 * MAX_STREAMS_PER_HOLDER)]
        assert all(one.status == 200 and one.next() == "look" for one in opened)
        assert served.request("GET", "/readyz", headers={"Host": "localhost"}).status == 200
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
            ).fetchone()
        assert row == (0,)
        ask(agent, user)
        assert all(one.is_notified() for one in opened[::2])

    def test_too_many_of_one_user_are_refused_clearly_and_a_closed_one_makes_room(
        self, open_inbox: OpenInbox, browser_of_user: Client, served: Served
    ) -> None:
        opened = [open_inbox(browser_of_user) for _ in range(MAX_STREAMS_PER_HOLDER)]
        assert all(one.status == 200 for one in opened)
        refused = open_inbox(browser_of_user)
        assert refused.status == 429
        assert refused.response.headers["Retry-After"] == "30"
        assert refused.json()["error"] == "slow_down"
        opened[0].close()
        until(lambda: open_inbox(browser_of_user).status == 200)

    def test_a_client_that_disappears_gives_its_place_and_its_file_back(
        self, open_inbox: OpenInbox, browser_of_user: Client, served: Served
    ) -> None:
        before = served.open_files()
        opened = [open_inbox(browser_of_user) for _ in range(MAX_STREAMS_PER_HOLDER)]
        assert all(one.next() == "look" for one in opened)
        assert served.open_files() >= before + MAX_STREAMS_PER_HOLDER
        for one in opened:
            one.close()
        until(lambda: served.open_files() <= before + 2)

    def test_one_that_reads_nothing_is_in_nobodys_way(
        self, served: Served, inbox: Inbox, browser_of_user: Client, agent: Caller, user: User
    ) -> None:
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in browser_of_user.cookies.items())
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        with closing(peer):
            peer.connect(("127.0.0.1", served.port))
            peer.sendall(f"GET /v1/prompts/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
            for _ in range(3):
                ask(agent, user)
                assert inbox.is_notified()


class TestTheProcess:
    def test_a_full_one_says_when_to_come_back(self, browser_of_user: Client, open_inbox: OpenInbox) -> None:
        with serving("authserver.asgi:application", WEB_WAITING="2") as small:
            opened = [open_inbox(browser_of_user, small) for _ in range(3)]
            assert [one.status for one in opened] == [200, 200, 503]
            assert opened[2].response.headers["Retry-After"] == "30"

    def test_it_ends_quickly_with_streams_open(self, browser_of_user: Client, open_inbox: OpenInbox) -> None:
        with serving("authserver.asgi:application") as one:
            opened = [open_inbox(browser_of_user, one) for _ in range(5)]
            assert all(inbox.next() == "look" for inbox in opened)
            assert one.stop() < 60, "granian would kill it after 100 s"
            assert all(inbox.next() is None for inbox in opened)


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_without_redis_it_is_reported_within_seconds_and_with_it_again_at_once(
    own_redis: OwnRedis,
    trouble: str,
    browser_of_user: Client,
    open_inbox: OpenInbox,
    agent: Caller,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving("authserver.asgi:application", REDIS_URL=own_redis.url) as one:
        inbox = open_inbox(browser_of_user, one)
        assert inbox.next() == "look"
        ask(agent, user)
        assert inbox.is_notified()
        own_redis.make_trouble(trouble)
        ask(agent, user)
        assert inbox.is_notified()
        late = open_inbox(browser_of_user, one)
        assert (late.status, late.next()) == (200, "look")
        own_redis.mend()
        monkeypatch.setattr(wakeups, "_volatile", None)  # it leaves Redis alone for a while

        def is_notified_at_once() -> bool:
            while not inbox.is_silent(1.5):
                pass
            ask(agent, user)
            return inbox.next(0.3) == "look"

        until(is_notified_at_once)


def test_a_wake_up_names_what_changed_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, browser_of_user: Client, agent: Caller, user: User
) -> None:
    reply: list[str] = []
    monkeypatch.setattr(wakeups, "_publish", reply.extend)
    request = ask(agent, user).request
    browser_of_user.post("/logout")
    assert set(reply) == {f"prompts:{user.pk}", f"request:{request.pk}", f"user:{user.pk}"}
