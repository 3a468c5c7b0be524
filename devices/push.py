"""Sends one push: pywebpush encrypts (RFC 8291) and signs (RFC 8292), `outbound` sends (RFC 8030)."""

import json
from datetime import datetime
from typing import Any

from django.conf import settings

from devices import lifecycle
from devices.models import Device
from devices.subscriptions import Subscription
from devices.vapid import private_scalar
from foundation.outbound import (
    Lane,
    OutboundAnswer,
    OutboundBusy,
    OutboundFailed,
    OutboundRefused,
    Trust,
    fetch,
    retry_after,
)
from foundation.outbox import Abandon, Completed, Outcome, Retry

PUSH_TIMEOUT_S = 5.0  # seconds for the whole call
LANE = Lane("pushes", Trust.SUPPLIED, per_host=8)  # one push service serves very many devices
VAPID_TOKEN_LIFETIME_S = 3600  # seconds; RFC 8292 2 allows at most one day


def send(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler of PUSH. `payload`: device, message, until (ISO 8601)."""
    device = Device.objects.select_related("vapid_key").filter(pk=payload["device"], user__is_active=True).first()
    subscription = lifecycle.open_subscription(device) if device else None
    if device is None or subscription is None:
        return Abandon("the device was removed")
    ttl = int((datetime.fromisoformat(payload["until"]) - now).total_seconds())
    try:
        answer = fetch(
            "POST", subscription.endpoint, lane=LANE,
            headers=headers(payload["message"], subscription, device, ttl, now),
            body=encrypted(payload["message"], subscription), timeout=PUSH_TIMEOUT_S, max_bytes=None,
        )  # fmt: skip
    except OutboundRefused as error:
        lifecycle.note_problem(device, str(error))
        return Abandon(str(error))
    except OutboundBusy as error:
        return Retry(str(error), after=1)
    except OutboundFailed as error:
        lifecycle.note_problem(device, str(error))
        return Retry(str(error))
    return _judge(answer, device, subscription, now)


def encrypted(message: dict[str, str], subscription: Subscription) -> bytes:
    """The message in aes128gcm (RFC 8188). The service worker has the texts; a push only names the text to display."""
    from pywebpush import WebPusher  # imported late: it takes half a second to load, and only senders need it

    keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
    pusher = WebPusher({"endpoint": subscription.endpoint, "keys": keys})
    body: bytes = pusher.encode(json.dumps(message).encode(), content_encoding="aes128gcm")["body"]
    return body


def headers(
    message: dict[str, str], subscription: Subscription, device: Device, ttl: int, now: datetime
) -> dict[str, str]:
    """RFC 8030 5.2 to 5.4: stored until the prompt closes, sent at once, replaced by the next push
    on the same topic.
    """
    from py_vapid import Vapid02

    claims = {
        "aud": subscription.origin,
        "sub": settings.VAPID_SUBJECT,
        "exp": int(now.timestamp()) + VAPID_TOKEN_LIFETIME_S,
    }
    signed: dict[str, str] = Vapid02.from_raw(private_scalar(device.vapid_key)).sign(claims)
    sent = {"TTL": str(max(ttl, 0)), "Urgency": "high", "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream"}  # fmt: skip
    if prompt := message.get("prompt"):
        sent["Topic"] = prompt.replace("-", "")  # at most 32 characters of base64url: the digits of a UUID
    return signed | sent


def _judge(answer: OutboundAnswer, device: Device, subscription: Subscription, now: datetime) -> Outcome:
    if 200 <= answer.status < 300:
        lifecycle.note_reached(device, now)
        return Completed()
    problem = f"the push service answered {answer.status}"
    if answer.status in (404, 410):
        lifecycle.prune(device, subscription, now)
        return Abandon(problem)
    lifecycle.note_problem(device, problem)
    if answer.status == 429 or answer.status >= 500:
        return Retry(problem, after=retry_after(answer, now))
    return Abandon(problem)
