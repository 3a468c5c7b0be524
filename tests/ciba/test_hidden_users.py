"""CIBA_HIDE_UNKNOWN_USERS: an agent cannot find out whether a user exists (CIBA Core 14; docs/adr/0015)."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import IntegrityError, connection, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba import lifecycle, topics
from ciba.models import BackchannelRequest, Prompt
from ciba.states import State
from clients import lifecycle as agents
from clients.models import Agent, AgentLink
from devices import lifecycle as devices
from devices import user_codes
from devices.models import Device, VapidKey
from foundation import endpoint as endpoints
from foundation.models import Work
from foundation.pending_answers import FRONT, Pause, parked
from tests.ciba.conftest import TOKEN, do_due_work
from tests.devices.conftest import do_due_work as do_all_due_work
from tests.devices.conftest import enrol
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.duel import at_once
from tests.support.push_service import PushService
from tests.support.world import CALENDAR, PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
CODE = "lemon-42"


@pytest.fixture(autouse=True)
def hidden(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HIDE_UNKNOWN_USERS = True
    monkeypatch.setattr(endpoints, "ANSWER_STEP_S", 0.001)  # these tests do not look at the clock


def no_one(name: str, agent: Caller, user: User, stranger: User) -> str:
    """A hint for which no user of this agent is found."""
    match name:
        case "unknown":
            return "nobody@example.com"
        case "not this agent's":
            return stranger.email
        case "disabled":
            User.objects.filter(pk=user.pk).update(is_active=False)
        case "stopped by the user":
            AgentLink.objects.update(stopped_at=timezone.now())
        case "a subject that is none":
            return "no-uuid"
        case "another issuer's":
            return '{"format":"iss_sub","iss":"https://other.example","sub":"1"}'
        case "a number of nobody":
            return "tel:+4930000000"
    return user.email


NOBODIES = [
    "unknown", "not this agent's", "disabled", "stopped by the user", "a subject that is none", "another issuer's",
    "a number of nobody",
]  # fmt: skip


def error_of(response: Any) -> str:
    return str(response.json()["error"])


def shape(response: Any) -> tuple[Any, ...]:
    """All that tells one answer from another, but the id itself."""
    body = response.json()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", body.pop("auth_req_id"))
    return response.status_code, sorted(response.headers.items()), body


@pytest.mark.parametrize("name", NOBODIES)
class TestNobody:
    def test_the_acknowledgement_is_the_same(self, agent: Caller, user: User, stranger: User, name: str) -> None:
        somebody = shape(agent.ask(user, authorization_details=[PAYMENT], requested_expiry="60"))
        hint = no_one(name, agent, user, stranger)
        sent = agent.ask(login_hint=hint, authorization_details=[PAYMENT], requested_expiry="60")
        assert shape(sent) == somebody

    def test_it_waits_and_expires_and_is_shown_to_nobody(
        self, agent: Caller, other_agent: Caller, user: User, stranger: User, name: str
    ) -> None:
        auth_req_id = agent.ask(login_hint=no_one(name, agent, user, stranger)).json()["auth_req_id"]
        row = BackchannelRequest.objects.get()
        assert error_of(agent.poll(auth_req_id)) == "authorization_pending"
        assert error_of(agent.poll(auth_req_id)) == "slow_down"
        assert error_of(other_agent.poll(auth_req_id)) == "invalid_grant"
        assert topics.read_requests([str(row.pk)]) == {str(row.pk): State.PENDING}, "a held poll goes on waiting"
        User.objects.update(is_active=True)
        for one in (user, stranger):
            assert sign_in(one).get("/v1/prompts").json()["prompts"] == []
        assert lifecycle.expire_due(row.expires_at, 10) == 1
        assert error_of(agent.poll(auth_req_id)) == "expired_token"

    def test_it_can_be_cancelled(self, agent: Caller, user: User, stranger: User, name: str) -> None:
        auth_req_id = agent.ask(login_hint=no_one(name, agent, user, stranger)).json()["auth_req_id"]
        assert agent.post("/oauth/revoke", token=auth_req_id, token_type_hint="auth_req_id").status_code == 200
        assert error_of(agent.poll(auth_req_id)) == "invalid_grant"
        assert BackchannelRequest.objects.get().state == State.CANCELLED

    def test_the_trail_says_that_it_is_a_decoy(self, agent: Caller, user: User, stranger: User, name: str) -> None:
        agent.ask(login_hint=no_one(name, agent, user, stranger))
        event = Event.objects.get(kind="request.opened")
        assert event.user_id is None and "no user whom this agent may ask" in event.body
        assert not Event.objects.filter(kind="request.refused").exists()


def test_somebody_is_asked_as_ever(agent: Caller, user: User, browser_of_user: Client) -> None:
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 200
    assert agent.poll(auth_req_id).status_code == 200
    assert '"decoy":null' in Event.objects.get(kind="request.opened").body


def test_a_user_who_is_disabled_meanwhile_goes_on_being_asked(
    agent: Caller, user: User, administrator: User, browser_of_user: Client
) -> None:
    auth_req_id = agent.ask(user).json()["auth_req_id"]
    users.disable(user, administrator, timezone.now())
    assert error_of(agent.poll(auth_req_id)) == "authorization_pending"
    assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 401
    agents.suspend(agent.agent, administrator, timezone.now())
    assert agent.poll(auth_req_id).status_code == 401
    BackchannelRequest.objects.update(expires_at=timezone.now())
    Agent.objects.update(status=Agent.Status.ACTIVE)
    assert error_of(agent.poll(auth_req_id)) == "expired_token"


def test_an_approval_of_a_user_who_is_disabled_brings_nothing(
    agent: Caller, user: User, administrator: User, browser_of_user: Client
) -> None:
    auth_req_id = agent.ask(user).json()["auth_req_id"]
    assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 200
    users.disable(user, administrator, timezone.now())
    assert error_of(agent.poll(auth_req_id)) == "invalid_grant"


def test_the_administrations_pages(agent: Caller, administrator: User) -> None:
    agent.ask(login_hint="nobody@example.com", authorization_details=[PAYMENT])
    request, event, browser = BackchannelRequest.objects.get(), Event.objects.latest("id"), sign_in(administrator)
    pages = [
        "ciba/backchannelrequest/", "ciba/backchannelrequest/?q=person@example.com", "foundation/work/", "audit/event/",
        f"ciba/backchannelrequest/?q={request.id}", f"audit/event/{event.pk}/change/",
        f"clients/agent/{agent.agent.pk}/change/",
    ]  # fmt: skip
    for page in pages:
        assert browser.get(f"/admin/{page}").status_code == 200, page
    trail = browser.get(f"/admin/ciba/backchannelrequest/{request.id}/change/")
    assert "no user whom this agent may ask" in trail.content.decode()


def test_everything_of_the_agent_is_stopped(agent: Caller, user: User, administrator: User) -> None:
    for hint in (user.email, "nobody@example.com"):
        agent.ask(login_hint=hint)
    lifecycle.withdraw_all(agent.agent, f"user:{administrator.id}", timezone.now())
    assert set(BackchannelRequest.objects.values_list("state", flat=True)) == {State.CANCELLED}


def test_nothing_can_be_granted_by_nobody(agent: Caller, user: User) -> None:
    """Nobody answers; and whoever tried past the code meets the table's own rule."""
    agent.ask(login_hint="nobody@example.com")
    prompt = Prompt.objects.get()
    assert sign_in(user).post(f"/v1/prompts/{prompt.id}/approve").status_code == 404
    for state in (State.APPROVED, State.DENIED, State.DELIVERING, State.REDEEMED):
        with pytest.raises(IntegrityError), transaction.atomic():
            BackchannelRequest.objects.update(state=state)


class TestWhatIsRefused:
    """Only what does not depend on the user."""

    def test_as_for_anybody(self, agent: Caller, user: User) -> None:
        parameters: list[dict[str, Any]] = [
            {"authorization_details": [PAYMENT, CALENDAR]},
            {"authorization_details": [{"type": "unheard-of"}]},
            {"acr_values": "passkey"},
            {"requested_expiry": "0"},
        ]
        for more in parameters:
            somebody, no_one = agent.ask(user, **more), agent.ask(login_hint="nobody@example.com", **more)
            assert somebody.status_code == no_one.status_code >= 400, more
            assert somebody.content == no_one.content
        assert not BackchannelRequest.objects.exists()

    def test_too_many_that_wait_is_not_revealed(self, agent: Caller, user: User, settings: Any) -> None:
        """It would tell that somebody is there for whom they wait, and that two hints are one user's."""
        settings.MAX_PENDING_PER_USER = 2
        shapes = [shape(agent.ask(user)) for _ in range(3)]
        assert shapes[0] == shapes[2]
        assert Prompt.objects.filter(approver=user).count() == 2
        assert "too many requests" in Event.objects.filter(kind="request.opened").latest("id").body


class TestUserCodes:
    @pytest.fixture
    def requesting(self, agent: Caller) -> Caller:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_user_code_parameter=True)
        return agent

    @pytest.fixture
    def hashes(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Each computation of a hash: what takes long enough to be seen from outside."""
        computed: list[str] = []
        verify = Argon2PasswordHasher.verify

        def counted(self: Argon2PasswordHasher, password: str, encoded: str) -> bool:
            computed.append(encoded)
            return verify(self, password, encoded)

        monkeypatch.setattr(Argon2PasswordHasher, "verify", counted)
        return computed

    @pytest.mark.parametrize("given", [None, "wrong-1"])
    @pytest.mark.parametrize("name", ["unknown", "has a code", "has none", "locked"])
    def test_missing_and_wrong_ones_are_no_answer(
        self, requesting: Caller, user: User, name: str, given: str | None, hashes: list[str]
    ) -> None:
        if name in ("has a code", "locked"):
            user_codes.set_code(user, CODE, timezone.now())
        if name == "locked":
            for _ in range(user_codes.MAX_WRONG_PER_AGENT):
                requesting.ask(user, user_code="guess-1")
        hint = "nobody@example.com" if name == "unknown" else user.email
        hashes.clear()
        BackchannelRequest.objects.all().delete()
        answer = requesting.ask(login_hint=hint, **({"user_code": given} if given else {}))
        assert answer.status_code == 200
        assert len(hashes) == (1 if given else 0), "it takes as long for nobody"
        is_prompted = name == "has none" and given is None
        assert Prompt.objects.filter(approver=user).exists() == is_prompted

    def test_the_right_one_reaches_the_user(self, requesting: Caller, user: User) -> None:
        user_codes.set_code(user, CODE, timezone.now())
        requesting.ask(user, user_code=CODE)
        assert Prompt.objects.get().approver == user


class TestTheSameWork:
    """What is done for nobody is what is done for somebody, statement by statement: many at once add nothing up."""

    @pytest.fixture(autouse=True)
    def two_devices(self, user: User, push_service: PushService, vapid_key: VapidKey) -> None:
        for name in ("Phone", "Laptop"):
            enrol(user, push_service, vapid_key, name)
        do_all_due_work()  # the first was told of the second

    def of_both(self, agent: Caller, user: User, act: Callable[[str], Any]) -> list[list[str]]:
        return [self.statements(lambda hint=hint: act(hint)) for hint in (user.email, "nobody@example.com")]

    def statements(self, act: Callable[[], Any]) -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            act()
        values = r"(\bs[0-9]+_x[0-9]+\b|'[^']*'|\b[0-9]+\b|NULL|ARRAY\[[^]]*\])(::[a-z]+(\([0-9]+\))?(\[\])?)?"
        return [re.sub(values, "?", one["sql"]) for one in captured.captured_queries]

    def test_to_ask(self, agent: Caller, user: User) -> None:
        agent.ask(user)  # whatever is only done once
        somebody, no_one = self.of_both(agent, user, lambda hint: agent.ask(login_hint=hint))
        assert somebody == no_one

    def test_to_poll_and_to_expire(self, agent: Caller, user: User) -> None:
        ids = {hint: agent.ask(login_hint=hint).json()["auth_req_id"] for hint in (user.email, "nobody@example.com")}
        somebody, no_one = self.of_both(agent, user, lambda hint: agent.poll(ids[hint]))
        assert somebody == no_one
        BackchannelRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        somebody, no_one = self.of_both(agent, user, lambda hint: agent.poll(ids[hint]))
        assert somebody == no_one

    def test_to_cancel(self, agent: Caller, user: User) -> None:
        agent.post("/oauth/revoke", token="unheard-of")  # whatever is only done once
        ids = {hint: agent.ask(login_hint=hint).json()["auth_req_id"] for hint in (user.email, "nobody@example.com")}
        do_all_due_work()
        do_all_due_work()  # both devices know
        somebody, no_one = self.of_both(agent, user, lambda hint: agent.post("/oauth/revoke", token=ids[hint]))
        assert somebody == no_one


class TestCalling:
    """The user's devices are told by a piece of work of its own, which the sweeper does a second later."""

    @pytest.fixture(autouse=True)
    def a_device(self, device: Device) -> None:
        do_all_due_work()

    def test_the_device_is_notified_once(self, agent: Caller, user: User, push_service: PushService) -> None:
        agent.ask(user)
        prompt, work = Prompt.objects.get(), Work.objects.get(kind=devices.NOTIFY)
        assert do_all_due_work() == ["done"]
        Work.objects.filter(pk=work.pk).update(state="pending")  # whoever did it was killed before it was recorded
        assert do_all_due_work() == ["done", "done"]
        assert [one.message for one in push_service.received] == [{"kind": "prompt", "prompt": str(prompt.id)}]

    @pytest.mark.parametrize("end", ["cancel", "deny", "expire"])
    def test_then_it_is_told_of_the_end(self, agent: Caller, user: User, push_service: PushService, end: str) -> None:
        auth_req_id = self.ask_and_notify(agent, user)
        self.end(end, agent, user, auth_req_id)
        assert do_all_due_work() == ["done"] and do_all_due_work() == ["done"]
        assert [one.message["kind"] for one in push_service.received] == ["prompt", "answered"]

    @pytest.mark.parametrize("end", ["cancel", "deny", "expire"])
    def test_what_ended_before_is_not_reported(
        self, agent: Caller, user: User, push_service: PushService, end: str
    ) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        self.end(end, agent, user, auth_req_id)
        while do_all_due_work():
            pass
        assert not push_service.received and Work.objects.get(kind=devices.NOTIFY).state == "withdrawn"

    def test_a_call_that_was_claimed_when_it_ended_calls_nobody(
        self, agent: Caller, user: User, push_service: PushService
    ) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        work = Work.objects.get(kind=devices.NOTIFY)
        self.end("cancel", agent, user, auth_req_id)
        devices.notify_by_mail(work.payload, timezone.now())
        assert not Work.objects.filter(kind=devices.PUSH, payload__message__kind="prompt").exists()

    def test_one_on_its_way_does_not_arrive_last(self, agent: Caller, user: User, push_service: PushService) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        assert do_all_due_work() == ["done"]
        pushes = Work.objects.filter(kind=devices.PUSH, payload__message__prompt=str(Prompt.objects.get().id))
        pushes.update(claimed_until=timezone.now() + timedelta(seconds=30), attempts=1)
        before = timezone.now()
        self.end("cancel", agent, user, auth_req_id)
        do_all_due_work()
        answered = pushes.get(payload__message__kind="answered")
        assert answered.due_at - before >= timedelta(seconds=2)

    def test_called_and_cancelled_at_once_nobody_is_left_called(self, agent: Caller, user: User) -> None:
        for _ in range(20):
            auth_req_id = agent.ask(user).json()["auth_req_id"]
            call = Work.objects.filter(kind=devices.NOTIFY).latest("created_at")
            at_once(
                lambda call=call: devices.notify_by_mail(call.payload, timezone.now()),
                lambda auth_req_id=auth_req_id: lifecycle.cancel(agent.agent, auth_req_id, timezone.now()),
            )
            devices.withdraw_late({"prompt": call.payload["prompt"]}, timezone.now())
            assert not Work.objects.filter(about=call.about, state="pending").exists()

    def ask_and_notify(self, agent: Caller, user: User) -> str:
        auth_req_id = str(agent.ask(user).json()["auth_req_id"])
        assert do_all_due_work() == ["done"] and do_all_due_work() == ["done"]
        return auth_req_id

    def end(self, how: str, agent: Caller, user: User, auth_req_id: str) -> None:
        match how:
            case "cancel":
                agent.post("/oauth/revoke", token=auth_req_id)
            case "deny":
                sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
            case _:
                BackchannelRequest.objects.update(expires_at=timezone.now())
                lifecycle.expire_due(timezone.now(), 10)


class TestTheTime:
    """Whatever is left of a difference is gone between two steps of the clock."""

    def view(self, seconds: float) -> Callable[..., HttpResponse]:
        def slow(request: Any) -> HttpResponse:
            time.sleep(seconds)
            return endpoints.json_response({})

        return endpoints.protocol_endpoint("tested", "POST", hides_users=True)(slow)

    def test_an_answer_waits_for_the_next_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoints, "ANSWER_STEP_S", 0.1)
        for seconds, steps in ((0, 1), (0.03, 1), (0.13, 2)):
            began = time.monotonic()
            self.view(seconds)(RequestFactory().post("/"))
            assert time.monotonic() - began >= steps * 0.1

    def test_the_front_keeps_it_without_a_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoints, "ANSWER_STEP_S", 60)
        began = time.monotonic()
        response = self.view(0)(RequestFactory().post("/", **{FRONT: True}))
        how = parked(response)
        assert isinstance(how, Pause) and time.monotonic() - began < 30 < how.until - began <= 61

    @pytest.mark.parametrize("path", ["/bc-authorize", "/oauth/revoke", "/bc-authorize/"])
    def test_refusals_too(self, agent: Caller, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoints, "ANSWER_STEP_S", 0.2)
        began = time.monotonic()
        assert agent.post(path).status_code == 400
        assert time.monotonic() - began >= 0.2

    def test_nobody_waits_where_users_are_not_hidden(self, agent: Caller, user: User, settings: Any) -> None:
        settings.HIDE_UNKNOWN_USERS = False
        response = self.view(0)(RequestFactory().post("/", **{FRONT: True}))
        assert parked(response) is None


@pytest.mark.parametrize("mode", ["ping", "push"])
def test_who_is_called_back_hears_of_the_end(
    mode: str, request: pytest.FixtureRequest, endpoint: AgentEndpoint, user: User
) -> None:
    caller: Caller = request.getfixturevalue(f"{mode}ed")
    for hint in (user.email, "nobody@example.com"):
        assert caller.ask(login_hint=hint, client_notification_token=TOKEN).status_code == 200
    assert lifecycle.expire_due(timezone.now() + timedelta(hours=1), 10) == 2
    assert do_due_work() == ["done", "done"]
    somebody, no_one = (sorted(set(one.json()) - {"auth_req_id"}) for one in endpoint.received)
    assert somebody == no_one
