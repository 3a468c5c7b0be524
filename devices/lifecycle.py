"""Use cases of devices: enrol, rename, renew, remove, prune; and notifying an approver of a prompt.

Only this module writes devices. A notification is outbox work (foundation/outbox.py), one piece per
device, written in the transaction of its prompt. If user enumeration protection is on, that
transaction writes one piece of work for every request, and its handler then writes the others.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import User
from audit import events
from audit.record import About, record, record_revocation
from devices.models import Device, VapidKey
from devices.subscriptions import Subscription
from foundation import outbox
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.handles import digest, new_id
from foundation.keyring import open_sealed, seal
from foundation.models import Work
from foundation.outbox import Completed, Outcome
from foundation.sealed_columns import place_of
from foundation.transactions import inside_transaction

PUSH, MAIL = "push", "e-mail"
# with user enumeration protection: one piece of work per prompt, for a user or a decoy
NOTIFY, WITHDRAW = "notification", "withdrawal"
# So "already answered" still reaches a phone that was switched off for a while.
WITHDRAWAL_LIFETIME = timedelta(hours=1)
NEWS_LIFETIME = timedelta(days=1)
# A notification that is being sent when it is withdrawn must not arrive after the withdrawal. So
# the delay is longer than sending may take (push.py).
WITHDRAWAL_DELAY = timedelta(seconds=6)
MAX_DEVICES_PER_USER = 20
# If no device has been reached after this time, an e-mail is sent.
MAIL_AFTER = timedelta(seconds=20)


_LIVE = CompiledQuery(lambda: Device.objects.filter(user=Parameter("user"), removed_at=None).order_by("created_at"))
_CALLED = CompiledQuery(
    lambda: Work.objects.select_for_update().filter(about=Parameter("about"), kind=PUSH).order_by("id")
)


def live_devices(user: User) -> list[Device]:
    return _LIVE(user=user.pk)


def _place(device_id: UUID) -> str:
    return place_of(Device, "sealed_subscription", device_id)


def open_subscription(device: Device) -> Subscription | None:
    """The subscription, or None if the device was removed."""
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
    """Adds this browser and notifies the user's other devices. A browser belongs to one user at a time.

    None if the user has MAX_DEVICES_PER_USER devices already.
    """
    User.objects.select_for_update().get(pk=user.pk)  # serializes a form that was submitted twice
    before = Device.objects.select_for_update().filter(endpoint_digest=digest(subscription.endpoint)).first()
    if before is not None:
        _end(before, now, "enrolled again")
    others = live_devices(user)
    if len(others) >= MAX_DEVICES_PER_USER:
        return None
    device_id = new_id()
    device = Device.objects.create(
        id=device_id, user=user, name=name, vapid_key=key, created_at=now, **_sealed(device_id, subscription)
    )
    record(events.DEVICE_ADDED, _about(device), now, device=str(device.id), name=name, push_service=device.push_service)
    for other in others:
        _enqueue_push(other, f"device:{device.id}", {"kind": "device_added"}, now, now + NEWS_LIFETIME)
    return device


@transaction.atomic(durable=True)
def rename(device: Device, name: str, now: datetime) -> None:
    Device.objects.filter(pk=device.pk, removed_at=None).update(name=name)
    record(events.DEVICE_CHANGED, _about(device), now, device=str(device.id), name=name)


@transaction.atomic(durable=True)
def renew(
    user: User, device_id: UUID, old_endpoint: str, subscription: Subscription, key: VapidKey, now: datetime
) -> bool:
    """Stores a new subscription of the same browser, which proves its identity with the endpoint of the old one."""
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
    """Removes a device at its user's request."""
    _end(device, now, "removed by its user")


@transaction.atomic(durable=True)
def prune(device: Device, subscription: Subscription, now: datetime) -> None:
    """Removes a device whose push service answered 404 or 410 (RFC 8030 5), unless it has been renewed since."""
    if Device.objects.select_for_update().filter(pk=device.pk, endpoint_digest=digest(subscription.endpoint)).exists():
        _end(device, now, "its push service no longer knows it")


def _end(device: Device, now: datetime, problem: str) -> None:
    ended = Device.objects.filter(pk=device.pk, removed_at=None).update(
        removed_at=now, sealed_subscription=None, endpoint_digest=None
    )
    if ended:
        record_revocation(
            events.DEVICE_REMOVED, _about(device), now, device=str(device.id), name=device.name, problem=problem
        )


def note_reached(device: Device, now: datetime) -> None:
    Device.objects.filter(pk=device.pk).update(last_reached_at=now, last_problem="")


def note_problem(device: Device, problem: str) -> None:
    Device.objects.filter(pk=device.pk).update(last_problem=problem[:300])


@transaction.atomic(durable=True)
def test(device: Device, now: datetime) -> None:
    _enqueue_push(device, f"device:{device.id}", {"kind": "test"}, now, now + timedelta(minutes=2))


def notify_approver(user: User | None, prompt_id: UUID, now: datetime, until: datetime) -> None:
    """Notifies all devices of this user of a new prompt. Runs in the caller's transaction.

    If user enumeration protection is on, the agent waits for this transaction and may measure it
    with many requests. So one statement runs for users and decoys alike, and a worker does the rest
    a second later (docs/adr/0015).
    """
    if settings.HIDE_UNKNOWN_USERS:
        payload = {"user": str(user.id) if user else None, "prompt": str(prompt_id), "until": until.isoformat()}
        outbox.enqueue(NOTIFY, _about_prompt(prompt_id), payload, now, deadline=until, due=now)
    elif user is not None:
        _call(user, prompt_id, now, until)


def _call(user: User, prompt_id: UUID, now: datetime, until: datetime) -> None:
    for device in live_devices(user):
        _enqueue_push(device, _about_prompt(prompt_id), {"kind": "prompt", "prompt": str(prompt_id)}, now, until)
    if settings.EMAIL_HOST:
        payload = {"user": str(user.id), "about": _about_prompt(prompt_id)}
        outbox.enqueue(MAIL, _about_prompt(prompt_id), payload, now, deadline=until, due=now + MAIL_AFTER)


@transaction.atomic(durable=True)
def notify_by_mail(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler of NOTIFY. `payload`: user, or None; prompt; until (ISO 8601)."""
    prompt_id = UUID(payload["prompt"])
    works = Work.objects.filter(about=_about_prompt(prompt_id))
    # The lock makes a concurrent withdrawal wait, so that no device is notified after it. It also
    # prevents a second notification.
    still_pending = works.select_for_update().filter(kind=NOTIFY, state=Work.State.PENDING).exists()
    user = User.objects.filter(pk=payload["user"], is_active=True).first() if payload["user"] else None
    if user is not None and still_pending and not works.filter(kind=PUSH).exists():
        _call(user, prompt_id, now, datetime.fromisoformat(payload["until"]))
    return Completed()


def withdraw_notification(prompt_id: UUID, now: datetime) -> None:
    """Withdraws the notifications of a prompt that was answered, expired or withdrawn, and replaces those already sent.

    Runs in the caller's transaction. If user enumeration protection is on, sent ones are replaced
    later (see notify_approver).
    """
    if settings.HIDE_UNKNOWN_USERS:
        outbox.withdraw(_about_prompt(prompt_id), now)
        deadline = now + WITHDRAWAL_LIFETIME
        outbox.enqueue(WITHDRAW, f"answered:{prompt_id}", {"prompt": str(prompt_id)}, now, deadline=deadline, due=now)
    else:
        _call_off(prompt_id, now)


def _call_off(prompt_id: UUID, now: datetime) -> None:
    about = _about_prompt(prompt_id)
    # The lock makes a concurrent claim wait; it then finds the work withdrawn.
    called = _CALLED(about=about)
    outbox.withdraw(about, now)
    for work in called:
        on_its_way = work.claimed_until is not None and work.state in (Work.State.PENDING, Work.State.WITHDRAWN)
        device = Device.objects.filter(pk=work.payload["device"], removed_at=None).first()
        if device and (on_its_way or work.state == Work.State.DONE):
            message = {"kind": "answered", "prompt": str(prompt_id)}
            due = now + WITHDRAWAL_DELAY if on_its_way else None
            _enqueue_push(device, about, message, now, now + WITHDRAWAL_LIFETIME, due=due)


@transaction.atomic(durable=True)
def withdraw_late(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler of WITHDRAW. `payload`: prompt."""
    _call_off(UUID(payload["prompt"]), now)
    return Completed()


def notify_account_change(user: User, news: str, addresses: Sequence[str], now: datetime) -> None:
    """Notifies a user on every device and by e-mail of a change to their account. Runs in the caller's transaction."""
    for device in live_devices(user):
        _enqueue_push(device, f"device:{device.id}", {"kind": news}, now, now + NEWS_LIFETIME)
    if settings.EMAIL_HOST:
        for address in addresses:
            payload = {"user": str(user.id), "news": news, "address": address}
            outbox.enqueue(MAIL, f"user:{user.id}", payload, now, deadline=now + NEWS_LIFETIME)


def was_reached(about: str) -> bool:
    """Whether a push about `about` reached a device."""
    return Work.objects.filter(about=about, kind=PUSH, state=Work.State.DONE).exists()


def _about_prompt(prompt_id: UUID) -> str:
    return f"prompt:{prompt_id}"


def _enqueue_push(
    device: Device, about: str, message: dict[str, str], now: datetime, until: datetime, due: datetime | None = None
) -> None:
    inside_transaction("notifying")
    payload = {"device": str(device.id), "message": message, "until": until.isoformat()}
    outbox.enqueue(PUSH, about, payload, now, deadline=until, due=due)


def _about(device: Device) -> About:
    return About(f"user:{device.user_id}", user_id=device.user_id)
