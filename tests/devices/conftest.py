"""A local push service, and a device of `user` that it reaches."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from devices import lifecycle, vapid
from devices.models import Device, VapidKey
from devices.subscriptions import parse_subscription
from foundation import outbox
from foundation.models import Work
from tests.support.push_service import PushService


@pytest.fixture
def push_service(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[PushService]:
    service = PushService()
    settings.OUTBOUND_EXCEPTIONS = [service.authority]
    monkeypatch.setattr(outbox, "NOTIFIERS", [])  # the tests do what is owed themselves
    yield service
    service.stop()


@pytest.fixture
def vapid_key(db: None) -> VapidKey:
    return vapid.make_key(timezone.now())


@pytest.fixture
def device(user: User, push_service: PushService, vapid_key: VapidKey) -> Device:
    return enrol(user, push_service, vapid_key)


def enrol(user: User, push_service: PushService, key: VapidKey, name: str = "Phone") -> Device:
    subscription = parse_subscription(push_service.new_browser().subscription())
    device = lifecycle.enrol(user, subscription, name, key, timezone.now())
    assert device is not None
    return device


def do_due_work() -> list[str]:
    """Does what is due, and answers what became of it."""
    due = list(Work.objects.filter(state="pending").order_by("created_at").values_list("id", flat=True))
    for work_id in due:
        outbox.do(work_id)
    return [Work.objects.get(pk=work_id).state for work_id in due]
