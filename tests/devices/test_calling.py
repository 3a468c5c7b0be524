"""A prompt reaches every device of its person, says nothing of the agent's, and is replaced when it is answered."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail as outbound_mail
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba import lifecycle as requests
from ciba.models import BackchannelRequest, Prompt
from devices import lifecycle, vapid
from devices.models import Device, VapidKey
from devices.subscriptions import parse_subscription
from foundation.models import Work
from foundation.outbound import Answer, retry_after
from tests.devices.conftest import do_owed, enrol
from tests.push_service import PushService
from tests.world import PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def ask(agent: Caller, person: User) -> Prompt:
    response = agent.ask(person, authorization_details=[PAYMENT], binding_message="Quick, approve this")
    assert response.status_code == 200
    return Prompt.objects.order_by("request__created_at").last()  # type: ignore[return-value]


class TestAPrompt:
    def test_it_reaches_every_device_encrypted_and_signed(
        self, agent: Caller, person: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        enrol(person, push_service, vapid_key, "Laptop")
        do_owed()  # the first was told of the second
        push_service.received.clear()
        prompt = ask(agent, person)
        assert do_owed() == ["done", "done"]
        assert len({pushed.browser.endpoint for pushed in push_service.received}) == 2
        for pushed in push_service.received:
            assert pushed.message == {"kind": "prompt", "prompt": str(prompt.id)}
            assert pushed.vapid_key == vapid_key.public_key
            assert pushed.claims["sub"] == "mailto:admin@example.com"
            assert 0 < pushed.claims["exp"] - timezone.now().timestamp() <= 3600
            assert 200 <= int(pushed.headers["TTL"]) <= 240, "until the prompt closes"
            assert pushed.headers["Urgency"] == "high"
            assert pushed.headers["Topic"] == prompt.id.hex and len(prompt.id.hex) == 32
            assert pushed.headers["Content-Encoding"] == "aes128gcm"
        device.refresh_from_db()
        assert device.last_reached_at is not None

    def test_strangers_and_removed_devices_are_not_told(
        self, agent: Caller, person: User, stranger: User, push_service: PushService, device: Device,
        vapid_key: VapidKey,
    ) -> None:  # fmt: skip
        enrol(stranger, push_service, vapid_key)
        lifecycle.remove(device, timezone.now())
        ask(agent, person)
        assert do_owed() == [] and not push_service.received

    def test_a_device_removed_meanwhile_is_not_told(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, person)
        lifecycle.remove(device, timezone.now())
        assert do_owed() == ["given up"]
        assert not push_service.received

    def test_a_disabled_person_is_not_told(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, person)
        User.objects.filter(pk=person.pk).update(is_active=False)
        assert do_owed() == ["given up"]

    def test_a_refused_request_tells_nobody(self, agent: Caller, person: User, device: Device) -> None:
        agent.ask(person, authorization_details=[PAYMENT, PAYMENT])
        assert not Work.objects.exists()


class TestWhenItIsAnswered:
    @pytest.mark.parametrize("how", ["approve", "deny", "expire", "stop"])
    def test_what_was_shown_is_replaced(
        self, agent: Caller, person: User, push_service: PushService, device: Device, how: str
    ) -> None:
        prompt = ask(agent, person)
        do_owed()
        if how == "expire":
            BackchannelRequest.objects.update(expires_at=timezone.now())
            requests.expire_due(timezone.now(), 10)
        elif how == "stop":
            requests.stop_agent(agent.agent, person, timezone.now())
        else:
            assert sign_in(person).post(f"/v1/prompts/{prompt.id}/{how}").status_code == 200
        assert do_owed() == ["done"]
        asked, answered = push_service.received
        assert answered.message == {"kind": "answered", "prompt": str(prompt.id)}
        assert asked.headers["Topic"] == answered.headers["Topic"]

    def test_what_was_not_sent_yet_is_not_sent(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        prompt = ask(agent, person)
        sign_in(person).post(f"/v1/prompts/{prompt.id}/deny")
        assert do_owed() == []
        assert Work.objects.get().state == "withdrawn" and not push_service.received

    def test_one_on_its_way_does_not_arrive_last(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        prompt = ask(agent, person)
        Work.objects.update(claimed_until=timezone.now() + timedelta(seconds=30), attempts=1)
        before = timezone.now()
        sign_in(person).post(f"/v1/prompts/{prompt.id}/deny")
        asked, answered = Work.objects.order_by("created_at")
        assert asked.state == "withdrawn"
        assert answered.payload["message"]["kind"] == "answered"
        assert answered.due_at - before >= timedelta(seconds=2)


class TestPushServices:
    def call(self, agent: Caller, person: User, push_service: PushService, *answer: Any) -> Work:
        push_service.answers = [answer]
        ask(agent, person)
        do_owed()
        return Work.objects.get()

    @pytest.mark.parametrize("status", [404, 410])
    def test_a_subscription_that_is_gone_is_pruned(
        self, agent: Caller, person: User, push_service: PushService, device: Device, status: int
    ) -> None:
        assert self.call(agent, person, push_service, status, {}).state == "given up"
        device.refresh_from_db()
        assert device.removed_at is not None and device.sealed_subscription is None
        assert Event.objects.filter(kind="device.removed").count() == 1

    def test_one_that_was_renewed_meanwhile_stays(
        self, person: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        old = lifecycle.open_subscription(device)
        assert old is not None
        new = parse_subscription(push_service.new_browser().subscription())
        assert lifecycle.renew(person, device.id, old.endpoint, new, vapid_key, timezone.now())
        lifecycle.prune(device, old, timezone.now())
        device.refresh_from_db()
        assert device.removed_at is None

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_busy_one_is_asked_again_when_it_says(
        self, agent: Caller, person: User, push_service: PushService, device: Device, status: int
    ) -> None:
        before = timezone.now()
        work = self.call(agent, person, push_service, status, {"Retry-After": "20"})
        assert work.state == "owed" and work.due_at - before >= timedelta(seconds=20)
        device.refresh_from_db()
        assert str(status) in device.last_problem and device.removed_at is None
        Work.objects.update(due_at=before)
        assert do_owed() == ["done"]
        device.refresh_from_db()
        assert not device.last_problem

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 413])
    def test_what_will_never_work_is_given_up(
        self, agent: Caller, person: User, push_service: PushService, device: Device, status: int
    ) -> None:
        work = self.call(agent, person, push_service, status, {"Location": f"http://{push_service.authority}/x"})
        assert work.state == "given up" and str(status) in work.problem
        assert not push_service.received, "no redirect is followed"

    def test_one_that_is_away_is_asked_again(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        push_service.stop()
        ask(agent, person)
        assert do_owed() == ["owed"]
        device.refresh_from_db()
        assert device.last_problem

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("20", 20), ("0", 0), ("", None), ("soon", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
    )
    def test_retry_after(self, text: str, seconds: float | None) -> None:
        assert retry_after(Answer(429, {"retry-after": text}, b""), timezone.now()) == seconds


class TestKeys:
    def test_an_old_key_signs_for_those_who_subscribed_with_it(
        self, agent: Caller, person: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        new = vapid.make_key(timezone.now())
        assert vapid.current_key() == new
        enrol(person, push_service, new, "Laptop")
        do_owed()
        push_service.received.clear()
        ask(agent, person)
        do_owed()
        assert {pushed.vapid_key for pushed in push_service.received} == {vapid_key.public_key, new.public_key}

    def test_nothing_that_can_be_sent_with_is_stored_in_the_clear(
        self, device: Device, push_service: PushService
    ) -> None:
        (browser,) = push_service.browsers.values()
        subscription = browser.subscription()
        stored = [bytes(device.sealed_subscription or b""), repr(Work.objects.values()).encode()]
        stored += [event.body.encode() for event in Event.objects.all()]
        for secret in (subscription["endpoint"], *subscription["keys"].values()):
            assert not any(secret.encode() in place for place in stored)
        key = VapidKey.objects.get()
        assert vapid.private_scalar(key) not in bytes(key.sealed_private_key)


class TestMail:
    @pytest.fixture(autouse=True)
    def mail_server(self, settings: Any) -> None:
        settings.EMAIL_HOST = "mail.example.com"  # Django's test runner keeps what is sent in memory

    def later(self) -> None:
        Work.objects.filter(kind="e-mail").update(due_at=timezone.now())

    def test_it_tells_where_no_device_was_reached(self, agent: Caller, person: User, push_service: PushService) -> None:
        ask(agent, person)
        assert do_owed() == ["owed"], "a device has its chance first"
        self.later()
        assert do_owed() == ["done"]
        (message,) = outbound_mail.outbox
        assert message.to == [person.email]
        assert "http" not in message.body and "Acme" not in message.body + message.subject

    def test_it_does_not_where_one_was(
        self, agent: Caller, person: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, person)
        do_owed()
        self.later()
        do_owed()
        assert not outbound_mail.outbox

    def test_nor_after_the_answer(self, agent: Caller, person: User, push_service: PushService) -> None:
        prompt = ask(agent, person)
        sign_in(person).post(f"/v1/prompts/{prompt.id}/approve")
        self.later()
        assert do_owed() == [] and not outbound_mail.outbox

    def test_without_a_mail_server_nothing_is_owed(
        self, agent: Caller, person: User, push_service: PushService, settings: Any
    ) -> None:
        settings.EMAIL_HOST = ""
        ask(agent, person)
        assert not Work.objects.exists()


def test_the_person_sees_when_it_was_reached_and_why_not(
    agent: Caller, person: User, push_service: PushService, device: Device, browser_of_person: Client
) -> None:
    assert b"Not reached yet" in browser_of_person.get("/devices").content
    push_service.answers = [(503, {})]
    ask(agent, person)
    do_owed()
    page = browser_of_person.get("/devices").content
    assert b"the push service answered 503" in page
    assert BackchannelRequest.objects.get().state == "pending"
