"""A prompt reaches every device of its user, says nothing of the agent's, and is replaced when it is answered."""

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
from foundation.outbound import OutboundAnswer, retry_after
from tests.devices.conftest import do_due_work, enrol
from tests.support.push_service import PushService
from tests.support.world import PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def ask(agent: Caller, user: User) -> Prompt:
    response = agent.ask(user, authorization_details=[PAYMENT], binding_message="Quick, approve this")
    assert response.status_code == 200
    return Prompt.objects.order_by("request__created_at").last()  # type: ignore[return-value]


class TestAPrompt:
    def test_it_reaches_every_device_encrypted_and_signed(
        self, agent: Caller, user: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        enrol(user, push_service, vapid_key, "Laptop")
        do_due_work()  # the first was told of the second
        push_service.received.clear()
        prompt = ask(agent, user)
        assert do_due_work() == ["done", "done"]
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

    def test_strangers_and_removed_devices_are_not_notified(
        self, agent: Caller, user: User, stranger: User, push_service: PushService, device: Device,
        vapid_key: VapidKey,
    ) -> None:  # fmt: skip
        enrol(stranger, push_service, vapid_key)
        lifecycle.remove(device, timezone.now())
        ask(agent, user)
        assert do_due_work() == [] and not push_service.received

    def test_a_device_removed_meanwhile_is_not_notified(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, user)
        lifecycle.remove(device, timezone.now())
        assert do_due_work() == ["abandoned"]
        assert not push_service.received

    def test_a_disabled_user_is_not_notified(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, user)
        User.objects.filter(pk=user.pk).update(is_active=False)
        assert do_due_work() == ["abandoned"]

    def test_a_refused_request_tells_nobody(self, agent: Caller, user: User, device: Device) -> None:
        agent.ask(user, authorization_details=[PAYMENT, PAYMENT])
        assert not Work.objects.exists()


class TestWhenItIsAnswered:
    @pytest.mark.parametrize("how", ["approve", "deny", "expire", "stop"])
    def test_what_was_shown_is_replaced(
        self, agent: Caller, user: User, push_service: PushService, device: Device, how: str
    ) -> None:
        prompt = ask(agent, user)
        do_due_work()
        if how == "expire":
            BackchannelRequest.objects.update(expires_at=timezone.now())
            requests.expire_due(timezone.now(), 10)
        elif how == "stop":
            requests.stop_agent(agent.agent, user, timezone.now())
        else:
            assert sign_in(user).post(f"/v1/prompts/{prompt.id}/{how}").status_code == 200
        assert do_due_work() == ["done"]
        sent, answered = push_service.received
        assert answered.message == {"kind": "answered", "prompt": str(prompt.id)}
        assert sent.headers["Topic"] == answered.headers["Topic"]

    def test_what_was_not_sent_yet_is_not_sent(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        prompt = ask(agent, user)
        sign_in(user).post(f"/v1/prompts/{prompt.id}/deny")
        assert do_due_work() == []
        assert Work.objects.get().state == "withdrawn" and not push_service.received

    def test_one_on_its_way_does_not_arrive_last(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        prompt = ask(agent, user)
        Work.objects.update(claimed_until=timezone.now() + timedelta(seconds=30), attempts=1)
        before = timezone.now()
        sign_in(user).post(f"/v1/prompts/{prompt.id}/deny")
        sent, answered = Work.objects.order_by("created_at")
        assert sent.state == "withdrawn"
        assert answered.payload["message"]["kind"] == "answered"
        assert answered.due_at - before >= timedelta(seconds=2)


class TestPushServices:
    def call(self, agent: Caller, user: User, push_service: PushService, *answer: Any) -> Work:
        push_service.answers = [answer]
        ask(agent, user)
        do_due_work()
        return Work.objects.get()

    @pytest.mark.parametrize("status", [404, 410])
    def test_a_subscription_that_is_gone_is_pruned(
        self, agent: Caller, user: User, push_service: PushService, device: Device, status: int
    ) -> None:
        assert self.call(agent, user, push_service, status, {}).state == "abandoned"
        device.refresh_from_db()
        assert device.removed_at is not None and device.sealed_subscription is None
        assert Event.objects.filter(kind="device.removed").count() == 1

    def test_one_that_was_renewed_meanwhile_stays(
        self, user: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        old = lifecycle.open_subscription(device)
        assert old is not None
        new = parse_subscription(push_service.new_browser().subscription())
        assert lifecycle.renew(user, device.id, old.endpoint, new, vapid_key, timezone.now())
        lifecycle.prune(device, old, timezone.now())
        device.refresh_from_db()
        assert device.removed_at is None

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_busy_one_is_asked_again_when_it_says(
        self, agent: Caller, user: User, push_service: PushService, device: Device, status: int
    ) -> None:
        before = timezone.now()
        work = self.call(agent, user, push_service, status, {"Retry-After": "20"})
        assert work.state == "pending" and work.due_at - before >= timedelta(seconds=20)
        device.refresh_from_db()
        assert str(status) in device.last_problem and device.removed_at is None
        Work.objects.update(due_at=before)
        assert do_due_work() == ["done"]
        device.refresh_from_db()
        assert not device.last_problem

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 413])
    def test_what_will_never_work_is_given_up(
        self, agent: Caller, user: User, push_service: PushService, device: Device, status: int
    ) -> None:
        work = self.call(agent, user, push_service, status, {"Location": f"http://{push_service.authority}/x"})
        assert work.state == "abandoned" and str(status) in work.problem
        assert not push_service.received, "no redirect is followed"

    def test_one_that_is_away_is_asked_again(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        push_service.stop()
        ask(agent, user)
        assert do_due_work() == ["pending"]
        device.refresh_from_db()
        assert device.last_problem

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("20", 20), ("0", 0), ("", None), ("soon", None), ("-5", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
    )
    def test_retry_after(self, text: str, seconds: float | None) -> None:
        assert retry_after(OutboundAnswer(429, {"retry-after": text}, b""), timezone.now()) == seconds


class TestKeys:
    def test_an_old_key_signs_for_those_who_subscribed_with_it(
        self, agent: Caller, user: User, push_service: PushService, device: Device, vapid_key: VapidKey
    ) -> None:
        new = vapid.make_key(timezone.now())
        assert vapid.current_key() == new
        enrol(user, push_service, new, "Laptop")
        do_due_work()
        push_service.received.clear()
        ask(agent, user)
        do_due_work()
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

    def test_it_tells_where_no_device_was_reached(self, agent: Caller, user: User, push_service: PushService) -> None:
        ask(agent, user)
        assert do_due_work() == ["pending"], "a device has its chance first"
        self.later()
        assert do_due_work() == ["done"]
        (message,) = outbound_mail.outbox
        assert message.to == [user.email]
        assert "http" not in message.body and "Acme" not in message.body + message.subject

    def test_it_does_not_where_one_was(
        self, agent: Caller, user: User, push_service: PushService, device: Device
    ) -> None:
        ask(agent, user)
        do_due_work()
        self.later()
        do_due_work()
        assert not outbound_mail.outbox

    def test_nor_after_the_answer(self, agent: Caller, user: User, push_service: PushService) -> None:
        prompt = ask(agent, user)
        sign_in(user).post(f"/v1/prompts/{prompt.id}/approve")
        self.later()
        assert do_due_work() == [] and not outbound_mail.outbox

    def test_without_a_mail_server_nothing_is_owed(
        self, agent: Caller, user: User, push_service: PushService, settings: Any
    ) -> None:
        settings.EMAIL_HOST = ""
        ask(agent, user)
        assert not Work.objects.exists()


def test_the_user_sees_when_it_was_reached_and_why_not(
    agent: Caller, user: User, push_service: PushService, device: Device, browser_of_user: Client
) -> None:
    assert b"Not reached yet" in browser_of_user.get("/devices").content
    push_service.answers = [(503, {})]
    ask(agent, user)
    do_due_work()
    page = browser_of_user.get("/devices").content
    assert b"the push service answered 503" in page
    assert BackchannelRequest.objects.get().state == "pending"
