"""What is due: plain functions that `manage.py sweeper` runs from PostgreSQL every second."""

from collections.abc import Callable
from datetime import datetime

from accounts import lifecycle as accounts
from ciba import delivery, repeats
from ciba import lifecycle as ciba
from clients import lifecycle as clients
from clients import registering
from credentials import rotation, taking_back
from devices import user_codes
from foundation import attempts, outbox
from oauth import lifecycle as grants
from oauth import signing_keys

BATCH = 100

Sweep = Callable[[datetime, int], int]
# Name → sweep(now, batch), which answers how much it did; a full batch is followed by another at once.
SWEEPS: dict[str, Sweep] = {
    "requests": ciba.expire_due,
    "undelivered secrets": delivery.erase_late,
    "answers kept for repeats": repeats.sweep,
    "spent assertions": clients.sweep,
    "unused registrations": registering.sweep,
    "sessions and sign-in attempts": accounts.sweep,
    "codes and refresh tokens": grants.sweep,
    "signing keys": signing_keys.sweep,
    "user code attempts": user_codes.sweep,
    "attempts at secrets": attempts.sweep,
    "finished work": outbox.clear,
}
# Beside them, each in a thread of its own: they speak to the outside, which may be slow.
OUTWARD: dict[str, Sweep] = {
    "work owed": outbox.sweep,
    "leases": taking_back.sweep,
    "interrupted rotations": rotation.settle_left_over,
}
