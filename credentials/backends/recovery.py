"""Recovery after a restore from a backup: revocation is paused, the differences are reported, then
an administrator resumes it.

Accounts that are newer than the backup have no lease, and leases that the backup holds as active
may be gone. Revoking all of them without a review could end accounts in use.
"""

from datetime import datetime

from django.db import IntegrityError, transaction

from audit import events
from audit.record import About, record
from credentials.models import Recovery


def is_on() -> bool:
    return Recovery.objects.filter(ended_at=None).exists()


def start(actor: str, now: datetime) -> bool:
    """Starts a recovery. False if one is already on."""
    try:
        with transaction.atomic():
            Recovery.objects.create(started_at=now, started_by=actor)
            record(events.RECOVERY_STARTED, About(actor), now)
    except IntegrityError:
        return False
    return True


@transaction.atomic
def end(actor: str, now: datetime) -> bool:
    """Ends the recovery. Due leases and orphans are revoked from now on."""
    if not Recovery.objects.filter(ended_at=None).update(ended_at=now, ended_by=actor):
        return False
    record(events.RECOVERY_ENDED, About(actor), now)
    return True
