"""The use cases of devices: enrol, rename, renew, remove, prune; and calling a person to a prompt.

The only module that writes devices. A call is work owed (foundation/outbox.py), one per device, in the
transaction of the prompt that it tells of; where people are hidden, one in that transaction, which then owes the rest.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import User
from audit import events
from audit.record import About, record, record_revocation
from devices.models import Device, VapidKey
from devices.subscriptions import Subscription
from foundation import outbox
from foundation.handles import digest, new_id
from foundation.keyring import open_sealed, seal
from foundation.models import Work
from foundation.outbox import Done, Outcome

PUSH, MAIL = "push", "e-mail"
CALL, CALL_OFF = "call", "call off"  # where people are hidden: all that is owed at once, for whomever there is
# "Already answered" still reaches a phone that was off for a while.
CALL_OFF_LIFE = timedelta(hours=1)
NEWS_LIFE = timedelta(days=1)
# A call that is on its way when it is called off must not arrive last: longer than sending may take (push.py).
OVERTAKE = timedelta(seconds=6)
MOST_DEVICES = 20  # of one person
# So long a device may take to be reached before an e-mail is sent instead.
MAIL_AFTER = timedelta(seconds=20)


def live_devices(user: User) -> list[Device]:
    return list(Device.objects.filter(user=user, removed_at=None).order_by("created_at"))


def _place(device_id: UUID) -> str:
    return f"devices_device:sealed_subscription:{device_id}"


def open_subscription(device: Device) -> Subscription | None:
    """None once the device was removed."""
    if device.sealed_subscription is None:
        return None
    return Subscription(**json.loads(open_sealed(bytes(device.sealed_subscription), place=_place(device.id))))


def _sealed(device_id: UUID, subscription: Subscription) -> dict[str, object]:
    return {
        "sealed_subscription": seal(json.dumps(subscription.as_dict()).encode(), place=_place(device_id)),
        "endpoint_digest": digest(subscription.endpoint),
        "push_service": subscription.origin.partition("://")[2][:255],
    }


@transaction.atomic(durable=True)
def enrol(user: User, subscription: Subscription, name: str, key: VapidKey, now: datetime) -> Device | None:
    """Adds this browser, and tells the person's other devices. A browser belongs to one person at a time.

    None where the person has as many as anybody may have.
    """
    User.objects.select_for_update().get(pk=user.pk)  # a form that was sent twice is one after the other
    before = Device.objects.select_for_update().filter(endpoint_digest=digest(subscription.endpoint)).first()
    if before is not None:
        _end(before, now, "enrolled again")
    others = live_devices(user)
    if len(others) >= MOST_DEVICES:
        return None
    device_id = new_id()
    device = Device.objects.create(
        id=device_id, user=user, name=name, vapid_key=key, created_at=now, **_sealed(device_id, subscription)
    )
    record(events.DEVICE_ADDED, _about(device), now, device=str(device.id), name=name, push_service=device.push_service)
    for other in others:
        _owe_push(other, f"device:{device.id}", {"kind": "device_added"}, now, now + NEWS_LIFE)
    return device


@transaction.atomic(durable=True)
def rename(device: Device, name: str, now: datetime) -> None:
    Device.objects.filter(pk=device.pk, removed_at=None).update(name=name)
    record(events.DEVICE_CHANGED, _about(device), now, device=str(device.id), name=name)


@transaction.atomic(durable=True)
def renew(
    user: User, device_id: UUID, old_endpoint: str, subscription: Subscription, key: VapidKey, now: datetime
) -> bool:
    """The same browser with a new subscription. It proves that it is the same by knowing the old address."""
    device = Device.objects.select_for_update().filter(pk=device_id, user=user, removed_at=None).first()
    if device is None or bytes(device.endpoint_digest or b"") != digest(old_endpoint):
        return False
    if Device.objects.filter(endpoint_digest=digest(subscription.endpoint)).exclude(pk=device.pk).exists():
        return False
    Device.objects.filter(pk=device.pk).update(vapid_key=key, **_sealed(device.id, subscription))
    record(events.DEVICE_CHANGED, _about(device), now, device=str(device.id), name=device.name, renewed=True)
    return True


@transaction.atomic(durable=True)
def remove(device: Device, now: datetime) -> None:
    """The person's own removal."""
    _end(device, now, "removed by its person")


@transaction.atomic(durable=True)
def prune(device: Device, subscription: Subscription, now: datetime) -> None:
    """The push service says that the subscription is gone (RFC 8030 5: 404; 410), unless it was renewed meanwhile."""
    if Device.objects.select_for_update().filter(pk=device.pk, endpoint_digest=digest(subscription.endpoint)).exists():
        _end(device, now, "its push service no longer knows it")


def _end(device: Device, now: datetime, why: str) -> None:
    ended = Device.objects.filter(pk=device.pk, removed_at=None).update(
        removed_at=now, sealed_subscription=None, endpoint_digest=None
    )
    if ended:
        record_revocation(events.DEVICE_REMOVED, _about(device), now, device=str(device.id), name=device.name, why=why)


@transaction.atomic(durable=True)
def reseal_all() -> int:
    """Seals every subscription again, under the first key-encryption key of the file."""
    devices = list(Device.objects.select_for_update().filter(removed_at=None))
    for device in devices:
        if subscription := open_subscription(device):
            Device.objects.filter(pk=device.pk).update(**_sealed(device.id, subscription))
    return len(devices)


def note_reached(device: Device, now: datetime) -> None:
    Device.objects.filter(pk=device.pk).update(last_reached_at=now, last_problem="")


def note_problem(device: Device, problem: str) -> None:
    Device.objects.filter(pk=device.pk).update(last_problem=problem[:300])


@transaction.atomic(durable=True)
def test(device: Device, now: datetime) -> None:
    _owe_push(device, f"device:{device.id}", {"kind": "test"}, now, now + timedelta(minutes=2))


def call(user: User | None, prompt_id: UUID, now: datetime, until: datetime) -> None:
    """Tells every device of this person that a prompt waits. Takes part in the caller's transaction.

    Where people are hidden the agent waits for the answer of this very transaction, and asks many times at once: one
    statement, for somebody and for nobody, and the rest a second later (docs/adr/0015).
    """
    if settings.HIDE_UNKNOWN_USERS:
        payload = {"user": str(user.id) if user else None, "prompt": str(prompt_id), "until": until.isoformat()}
        outbox.owe(CALL, _about_prompt(prompt_id), payload, now, deadline=until, due=now)
    elif user is not None:
        _call(user, prompt_id, now, until)


def _call(user: User, prompt_id: UUID, now: datetime, until: datetime) -> None:
    for device in live_devices(user):
        _owe_push(device, _about_prompt(prompt_id), {"kind": "prompt", "prompt": str(prompt_id)}, now, until)
    if settings.EMAIL_HOST:
        payload = {"user": str(user.id), "about": _about_prompt(prompt_id)}
        outbox.owe(MAIL, _about_prompt(prompt_id), payload, now, deadline=until, due=now + MAIL_AFTER)


@transaction.atomic(durable=True)
def call_late(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler of CALL. `payload`: user, or None; prompt; until (ISO 8601)."""
    prompt_id = UUID(payload["prompt"])
    works = Work.objects.filter(about=_about_prompt(prompt_id))
    # Locked: whoever calls off waits, and nobody is called after that. Nor a second time.
    still_owed = works.select_for_update().filter(kind=CALL, state=Work.State.OWED).exists()
    user = User.objects.filter(pk=payload["user"], is_active=True).first() if payload["user"] else None
    if user is not None and still_owed and not works.filter(kind=PUSH).exists():
        _call(user, prompt_id, now, datetime.fromisoformat(payload["until"]))
    return Done()


def call_off(prompt_id: UUID, now: datetime) -> None:
    """Answered, expired or withdrawn: what was not sent is not, and what was is replaced.

    Takes part in the caller's transaction. Where people are hidden, what is replaced is replaced later (see call).
    """
    if settings.HIDE_UNKNOWN_USERS:
        outbox.withdraw(_about_prompt(prompt_id), now)
        deadline = now + CALL_OFF_LIFE
        outbox.owe(CALL_OFF, f"answered:{prompt_id}", {"prompt": str(prompt_id)}, now, deadline=deadline, due=now)
    else:
        _call_off(prompt_id, now)


def _call_off(prompt_id: UUID, now: datetime) -> None:
    about = _about_prompt(prompt_id)
    # Locked: whoever claims one waits, and then finds it withdrawn.
    called = list(Work.objects.select_for_update().filter(about=about, kind=PUSH).order_by("id"))
    outbox.withdraw(about, now)
    for work in called:
        on_its_way = work.claimed_until is not None and work.state in (Work.State.OWED, Work.State.WITHDRAWN)
        device = Device.objects.filter(pk=work.payload["device"], removed_at=None).first()
        if device and (on_its_way or work.state == Work.State.DONE):
            message = {"kind": "answered", "prompt": str(prompt_id)}
            due = now + OVERTAKE if on_its_way else None
            _owe_push(device, about, message, now, now + CALL_OFF_LIFE, due=due)


@transaction.atomic(durable=True)
def call_off_late(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler of CALL_OFF. `payload`: prompt."""
    _call_off(UUID(payload["prompt"]), now)
    return Done()


def tell(user: User, news: str, addresses: Sequence[str], now: datetime) -> None:
    """Tells a person on every device and by mail what happened to their account. In the caller's transaction."""
    for device in live_devices(user):
        _owe_push(device, f"device:{device.id}", {"kind": news}, now, now + NEWS_LIFE)
    if settings.EMAIL_HOST:
        for address in addresses:
            payload = {"user": str(user.id), "news": news, "address": address}
            outbox.owe(MAIL, f"user:{user.id}", payload, now, deadline=now + NEWS_LIFE)


def was_reached(about: str) -> bool:
    """Did a push about this reach a device?"""
    return Work.objects.filter(about=about, kind=PUSH, state=Work.State.DONE).exists()


def _about_prompt(prompt_id: UUID) -> str:
    return f"prompt:{prompt_id}"


def _owe_push(
    device: Device, about: str, message: dict[str, str], now: datetime, until: datetime, due: datetime | None = None
) -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("calling takes part in a transaction of its caller")
    payload = {"device": str(device.id), "message": message, "until": until.isoformat()}
    outbox.owe(PUSH, about, payload, now, deadline=until, due=due)


def _about(device: Device) -> About:
    return About(f"user:{device.user_id}", user_id=device.user_id)
