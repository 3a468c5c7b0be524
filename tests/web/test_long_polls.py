"""Long polling (CIBA Core 10.1, RFC 7240): held for whom prefers to wait, answered with the decision."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest, Prompt
from clients import lifecycle as agents
from clients.models import CIBA, SpentAssertion
from foundation import poll_throttle, wakeups
from tests.patience import PATIENCE, until
from tests.support.own_redis import OwnRedis
from tests.support.world import FORM, JWT_BEARER, PAYMENT, Caller
from tests.web.conftest import Served, serving

pytestmark = pytest.mark.django_db(transaction=True)
NOT_HELD = 25.0  # seconds: one that is held until its end is held for thirty


def ask(agent: Caller, user: User, **parameters: str) -> str:
    return str(agent.ask(user, authorization_details=[PAYMENT], **parameters).json()["auth_req_id"])


def poll_body(agent: Caller, auth_req_id: str) -> str:
    form = {"grant_type": CIBA, "auth_req_id": auth_req_id}
    return urlencode(form | {"client_assertion_type": JWT_BEARER, "client_assertion": agent.assertion()})


def answer(prompt: Prompt, browser: Client, how: str = "approve") -> None:
    assert browser.post(f"/v1/prompts/{prompt.id}/{how}").status_code == 200


def waiting_prompt() -> Prompt:
    return Prompt.objects.order_by("request__created_at").last()  # type: ignore[return-value]


class Poller:
    """Polls on the wire, each in a thread of its own."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.threads = ThreadPoolExecutor(128)

    def poll(self, agent: Caller, auth_req_id: str, prefer: str | None = "wait=30") -> "Future[Any]":
        """A future of the answer, with `.json` and `.took` (s) added."""
        body = poll_body(agent, auth_req_id)
        headers = {"Content-Type": FORM, "Host": "localhost"} | ({"Prefer": prefer} if prefer else {})

        def send() -> Any:
            began = time.monotonic()
            response: Any = self.served.request("POST", "/oauth/token", body, headers)
            response.took = time.monotonic() - began
            response.json = json.loads(response.content)
            return response

        return self.threads.submit(send)

    def poll_and_hold(self, agent: Caller, auth_req_id: str, prefer: str = "wait=30") -> "Future[Any]":
        """The poll is being held when this returns."""
        spent = SpentAssertion.objects.count()
        polling = self.poll(agent, auth_req_id, prefer)
        until(lambda: SpentAssertion.objects.count() > spent)
        time.sleep(0.1)
        assert not polling.done(), polling.result().json
        return polling


@pytest.fixture
def poller(served: Served) -> Iterator[Poller]:
    one = Poller(served)
    yield one
    one.threads.shutdown()


@pytest.fixture
def looking_poller(looking: Served) -> Iterator[Poller]:
    one = Poller(looking)
    yield one
    one.threads.shutdown()


class TestHeld:
    def test_until_the_approval_and_answered_at_once(
        self, poller: Poller, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        polling = poller.poll_and_hold(agent, ask(agent, user))
        answer(waiting_prompt(), browser_of_user)
        response = polling.result(PATIENCE)
        assert response.status == 200 and "access_token" in response.json
        assert response.headers["Preference-Applied"] == "wait=30"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff", "the same middleware as any other answer"

    def test_until_the_no(self, poller: Poller, agent: Caller, user: User, browser_of_user: Client) -> None:
        polling = poller.poll_and_hold(agent, ask(agent, user))
        answer(waiting_prompt(), browser_of_user, "deny")
        response = polling.result(PATIENCE)
        assert (response.status, response.json["error"]) == (400, "access_denied")

    def test_until_the_end_of_the_request(self, poller: Poller, agent: Caller, user: User) -> None:
        response = poller.poll(agent, ask(agent, user, requested_expiry="4"), "wait=30").result(PATIENCE)
        assert response.json["error"] == "expired_token"
        assert 1 < response.took < NOT_HELD

    def test_no_longer_than_the_client_prefers(self, poller: Poller, agent: Caller, user: User) -> None:
        response = poller.poll(agent, ask(agent, user), "wait=1").result(PATIENCE)
        assert response.json["error"] == "authorization_pending"
        assert 0.9 < response.took < NOT_HELD
        assert response.headers["Preference-Applied"] == "wait=1"

    def test_where_the_wake_up_was_lost_for_seconds_longer(
        self,
        looking_poller: Poller,
        agent: Caller,
        user: User,
        browser_of_user: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        polling = looking_poller.poll_and_hold(agent, ask(agent, user))
        monkeypatch.setattr(wakeups, "_publish", lambda topics: None)
        answer(waiting_prompt(), browser_of_user)
        assert polling.result(PATIENCE).status == 200

    def test_a_decision_between_the_look_and_the_waiting_is_not_missed(
        self, poller: Poller, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        for _ in range(15):
            auth_req_id = ask(agent, user)
            polling = poller.poll(agent, auth_req_id)
            answer(waiting_prompt(), browser_of_user)
            assert polling.result(PATIENCE).status == 200

    @pytest.mark.parametrize("end", ["agent suspended", "user disabled"])
    def test_not_for_the_dead(
        self, looking_poller: Poller, agent: Caller, user: User, administrator: User, end: str
    ) -> None:
        polling = looking_poller.poll_and_hold(agent, ask(agent, user))
        if end == "agent suspended":
            agents.suspend(agent.agent, administrator, timezone.now())
        else:
            users.disable(user, administrator, timezone.now())
        assert polling.result(PATIENCE).json["error"] == "invalid_grant"


class TestNotHeld:
    @pytest.mark.parametrize("prefer", [None, "wait=0", "respond-async", "wait=x", "wait=-5", "wait"])
    def test_without_the_preference(self, poller: Poller, agent: Caller, user: User, prefer: str | None) -> None:
        response = poller.poll(agent, ask(agent, user), prefer).result(PATIENCE)
        assert response.json["error"] == "authorization_pending"
        assert "Preference-Applied" not in response.headers
        assert response.took < NOT_HELD

    def test_what_will_not_change(self, poller: Poller, agent: Caller, other_agent: Caller, user: User) -> None:
        auth_req_id = ask(agent, user)
        for response in (
            poller.poll(other_agent, auth_req_id).result(PATIENCE),
            poller.poll(agent, "nobody knows this").result(PATIENCE),
        ):
            assert response.json["error"] == "invalid_grant"
            assert response.took < NOT_HELD

    def test_a_client_that_is_not_authenticated(self, served: Served) -> None:
        headers = {"Content-Type": FORM, "Prefer": "wait=30", "Host": "localhost"}
        began = time.monotonic()
        response = served.request("POST", "/oauth/token", f"grant_type={CIBA}&auth_req_id=x", headers)
        assert response.status == 401 and time.monotonic() - began < NOT_HELD

    def test_behind_a_server_that_cannot_wait(self, agent: Caller, user: User) -> None:
        auth_req_id = ask(agent, user)
        response = agent.http.post(
            "/oauth/token", poll_body(agent, auth_req_id), content_type=FORM, headers={"Prefer": "wait=30"}
        )
        assert response.json()["error"] == "authorization_pending"
        assert "Preference-Applied" not in response


@pytest.fixture(scope="module")
def quick(django_db_setup: None) -> Iterator[Served]:
    with serving("authserver.asgi:application", CIBA_POLL_INTERVAL="1") as one:
        yield one


class TestPollThrottle:
    """An interval of one second, so that what the interval alone refuses is told apart."""

    @pytest.fixture
    def quick_poller(self, quick: Served) -> Iterator[Poller]:
        one = Poller(quick)
        yield one
        one.threads.shutdown()

    def test_a_second_poll_meanwhile_comes_too_soon_and_the_first_is_answered(
        self, quick_poller: Poller, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        auth_req_id = ask(agent, user)
        polling = quick_poller.poll_and_hold(agent, auth_req_id)
        time.sleep(1.5)
        for prefer in ("wait=30", None):
            assert quick_poller.poll(agent, auth_req_id, prefer).result(PATIENCE).json["error"] == "slow_down"
        assert not polling.done()
        answer(waiting_prompt(), browser_of_user)
        assert polling.result(PATIENCE).status == 200

    def test_the_interval_begins_with_the_end_of_the_answer(self, poller: Poller, agent: Caller, user: User) -> None:
        """Of five seconds here: held for longer than that, and polled again at once."""
        auth_req_id = ask(agent, user)
        assert poller.poll(agent, auth_req_id, "wait=6").result(PATIENCE).json["error"] == "authorization_pending"
        assert poller.poll(agent, auth_req_id, None).result(PATIENCE).json["error"] == "slow_down"

    def test_a_client_that_kept_to_it_is_not_slowed_down(self, quick_poller: Poller, agent: Caller, user: User) -> None:
        auth_req_id = ask(agent, user)
        for _ in range(2):
            assert (
                quick_poller.poll(agent, auth_req_id, "wait=2").result(PATIENCE).json["error"]
                == "authorization_pending"
            )
            time.sleep(1)

    def test_nor_is_one_whose_connection_broke(self, quick_poller: Poller, agent: Caller, user: User) -> None:
        auth_req_id = ask(agent, user)
        leave_while_held(quick_poller.served, agent, auth_req_id)
        time.sleep(3)
        assert quick_poller.poll(agent, auth_req_id, None).result(PATIENCE).json["error"] == "authorization_pending"


def leave_while_held(served: Served, agent: Caller, auth_req_id: str) -> None:
    body = poll_body(agent, auth_req_id)
    spent = SpentAssertion.objects.count()
    head = f"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nPrefer: wait=30\r\n"
    peer = served.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    until(lambda: SpentAssertion.objects.count() > spent)
    time.sleep(0.2)
    peer.close()


class TestNothingIsHeld:
    def test_the_assertion_is_spent_once_and_nothing_else_is_written(
        self, poller: Poller, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        auth_req_id = ask(agent, user)
        SpentAssertion.objects.all().delete()
        events = Event.objects.count()
        response = poller.poll(agent, auth_req_id, "wait=1").result(PATIENCE)
        assert response.json["error"] == "authorization_pending"
        assert (SpentAssertion.objects.count(), Event.objects.count()) == (1, events)

    def test_an_assertion_that_waits_cannot_be_replayed(self, poller: Poller, agent: Caller, user: User) -> None:
        auth_req_id = ask(agent, user)
        body = poll_body(agent, auth_req_id)
        headers = {"Content-Type": FORM, "Prefer": "wait=3", "Host": "localhost"}
        spent = SpentAssertion.objects.count()
        first = poller.threads.submit(poller.served.request, "POST", "/oauth/token", body, headers)
        until(lambda: SpentAssertion.objects.count() > spent)
        assert poller.served.request("POST", "/oauth/token", body, headers).status == 401
        assert json.loads(first.result(PATIENCE).content)["error"] == "authorization_pending"

    def test_many_hold_no_thread_and_no_connection_to_the_database(
        self, poller: Poller, agent: Caller, user: User, browser_of_user: Client, settings: Any
    ) -> None:
        settings.MAX_PENDING_PER_USER = 100
        polling = {ask(agent, user): None for _ in range(50)}
        spent = SpentAssertion.objects.count()
        held_request = [poller.poll(agent, auth_req_id, "wait=30") for auth_req_id in polling]
        until(lambda: SpentAssertion.objects.count() == spent + 50)
        time.sleep(0.5)
        assert not any(one.done() for one in held_request)
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
            ).fetchone()
        assert row == (0,)
        assert poller.served.request("GET", "/readyz", headers={"Host": "localhost"}).status == 200
        for prompt in Prompt.objects.all():
            answer(prompt, browser_of_user)
        assert all(one.result(PATIENCE).status == 200 for one in held_request)

    def test_a_client_that_goes_away_frees_its_place_and_redeems_nothing(
        self, served: Served, agent: Caller, user: User, browser_of_user: Client, poller: Poller
    ) -> None:
        auth_req_id = ask(agent, user)
        poller.poll(agent, ask(agent, user), "wait=1").result(PATIENCE)  # connections of its own are open
        before = served.open_files()
        leave_while_held(served, agent, auth_req_id)
        until(lambda: served.open_files() <= before)
        answer(Prompt.objects.order_by("request__created_at")[0], browser_of_user)
        time.sleep(0.3)
        assert BackchannelRequest.objects.get(state="approved")
        assert poller.poll(agent, auth_req_id).result(PATIENCE).status == 200, "and it may ask again"

    def test_a_process_that_is_full_answers_at_once(self, agent: Caller, user: User) -> None:
        with serving("authserver.asgi:application", WEB_WAITING="1") as small:
            full = Poller(small)
            held_request = full.poll_and_hold(agent, ask(agent, user), "wait=3")
            response = full.poll(agent, ask(agent, user), "wait=30").result(PATIENCE)
            assert response.json["error"] == "authorization_pending"
            assert "Preference-Applied" not in response.headers
            assert held_request.result(PATIENCE).headers["Preference-Applied"] == "wait=3"
            full.threads.shutdown()

    def test_a_process_that_ends_answers_first(self, agent: Caller, user: User) -> None:
        with serving("authserver.asgi:application") as one:
            ending = Poller(one)
            polling = [ending.poll_and_hold(agent, ask(agent, user)) for _ in range(3)]
            assert one.stop() < 60, "granian would kill it after 100 s"
            assert {each.result(PATIENCE).json["error"] for each in polling} == {"authorization_pending"}
            ending.threads.shutdown()


def test_redis_restarted_while_many_wait(
    own_redis: OwnRedis, agent: Caller, user: User, browser_of_user: Client, settings: Any
) -> None:
    settings.MAX_PENDING_PER_USER = 200
    with serving("authserver.asgi:application", REDIS_URL=own_redis.url) as one:
        poller = Poller(one)
        sent = [ask(agent, user) for _ in range(50)]
        spent = SpentAssertion.objects.count()
        held_request = [poller.poll(agent, auth_req_id, "wait=30") for auth_req_id in sent]
        until(lambda: SpentAssertion.objects.count() == spent + 50)
        prompts = list(Prompt.objects.all())
        for prompt in prompts[:15]:
            answer(prompt, browser_of_user)
        own_redis.make_trouble("stopped")
        for prompt in prompts[15:35]:
            answer(prompt, browser_of_user)
        own_redis.mend()
        for prompt in prompts[35:]:
            answer(prompt, browser_of_user)
        statuses = [each.result(PATIENCE).status for each in held_request]
        poller.threads.shutdown()
    assert statuses == [200] * 50
    assert BackchannelRequest.objects.filter(state="redeemed").count() == 50


def test_lost_throttle_state_is_no_error(poller: Poller, agent: Caller, user: User, browser_of_user: Client) -> None:
    polling = poller.poll_and_hold(agent, ask(agent, user))
    poll_throttle.get_poll_throttle()._volatile.client.flushdb()
    answer(waiting_prompt(), browser_of_user)
    assert polling.result(PATIENCE).status == 200
