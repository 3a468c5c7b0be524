"""Due work: plain functions that `manage.py sweeper` runs from PostgreSQL."""

from collections.abc import Callable
from datetime import datetime

from accounts import lifecycle as accounts
from ciba import lifecycle as ciba
from ciba import repeats
from ciba.callbacks import state as callbacks
from clients import lifecycle as clients
from clients import registration
from credentials.backends import rotation
from credentials.leases import revocation
from foundation import attempts, outbox
from oauth.grants import lifecycle as grants
from oauth.tokens import signing_keys

SWEEP_BATCH = 100
CLEANING_PAUSE_S = 15.0  # seconds

Sweep = Callable[[datetime, int], int]
# Name → sweep(now, batch), which returns how much it did. After a full batch it runs again at once.
# Every second: somebody may wait for it, or a secret is to be erased.
SWEEPS: dict[str, Sweep] = {
    "requests": ciba.expire_due,
    "undelivered secrets": callbacks.erase_late,
}
# Every CLEANING_PAUSE_S: rows that nothing reads any more, because every query looks at their times.
CLEANING: dict[str, Sweep] = {
    "responses for repeated requests": repeats.sweep,
    "spent assertions": clients.sweep,
    "unused registrations": registration.sweep,
    "registrations under changed demands": clients.recheck_registrations,
    "sessions": accounts.sweep,
    "codes and refresh tokens": grants.sweep,
    "signing keys": signing_keys.sweep,
    "counted attempts": attempts.sweep,
    "finished work": outbox.clear,
}
# Every second, in a thread each, because they call other systems, which may be slow.
OUTWARD: dict[str, Sweep] = {
    "outbox": outbox.sweep,
    "leases": revocation.sweep,
    "interrupted rotations": rotation.settle_left_over,
}
