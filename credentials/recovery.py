"""After a restore from a backup: taking back is paused, the difference is reported, then a person lets it go on.

What the backup does not know is an account without a lease; what it still takes for active may be gone. Revoking
all of it unseen could end what people work with now.
"""

from datetime import datetime

from django.db import IntegrityError, transaction

from audit import events
from audit.record import About, record
from credentials.models import Recovery


def is_on() -> bool:
    return Recovery.objects.filter(ended_at=None).exists()


def start(actor: str, now: datetime) -> bool:
    """False where it is on already."""
    try:
        with transaction.atomic():
            Recovery.objects.create(started_at=now, started_by=actor)
            record(events.RECOVERY_STARTED, About(actor), now)
    except IntegrityError:
        return False
    return True


@transaction.atomic
def end(actor: str, now: datetime) -> bool:
    """What is due is taken back from now on, orphans too."""
    if not Recovery.objects.filter(ended_at=None).update(ended_at=now, ended_by=actor):
        return False
    record(events.RECOVERY_ENDED, About(actor), now)
    return True
