"""Limits on guessing a secret that opens something by itself: a wrapping handle, an invitation, a registration token.

In PostgreSQL, and so closed where it cannot be asked. An attempt is counted before the secret is looked at, so that
parallel guesses see each other; one with a right secret is forgotten again. Two limits: of one address, and of one
beginning of a secret whoever guesses on, because a beginning may have been seen in a log.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db.models import Count, Q

from foundation.errors import ProtocolError
from foundation.handles import digest
from foundation.metrics import UNAUTHENTICATED
from foundation.models import Attempt
from foundation.networks import counted_address

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=15)
MAX_FROM_ADDRESS = 50
MAX_FOR_BEGINNING = 10
BEGINNING = 8  # characters: nobody guesses those by chance, and so keeps the holder out


class TooManyAttempts(ProtocolError):
    """RFC 6585 4."""

    code = "temporarily_unavailable"
    status = 429
    default_description = "too many wrong secrets lately; try again later"
    default_retry_after = int(WINDOW.total_seconds() // 4)


def count_attempt(kind: str, unverified_secret: str, address: str, now: datetime) -> Attempt:
    """Counts one attempt at a secret of this kind. Raises TooManyAttempts."""
    network = counted_address(address)
    beginning = digest(unverified_secret[:BEGINNING])
    attempt = Attempt.objects.create(kind=kind, network=network, beginning_digest=beginning, at=now)
    from_here, same_beginning = Q(network=network), Q(beginning_digest=beginning)
    earlier = Attempt.objects.filter(from_here | same_beginning, kind=kind, at__gt=now - WINDOW).exclude(pk=attempt.pk)
    counts = earlier.aggregate(
        from_here=Count("pk", filter=from_here), same_beginning=Count("pk", filter=same_beginning)
    )
    if counts["from_here"] >= MAX_FROM_ADDRESS or counts["same_beginning"] >= MAX_FOR_BEGINNING:
        attempt.delete()  # else whoever keeps trying would be kept out for ever
        UNAUTHENTICATED.labels(kind, "too many attempts").inc()
        log.warning("too many wrong secrets (%s) from %s", kind, address)
        raise TooManyAttempts()
    return attempt


@contextmanager
def limited(
    kind: str, unverified_secret: str, address: str, now: datetime, *, wrong: type[ProtocolError]
) -> Iterator[None]:
    """Around the use of a secret, which raises `wrong` where there is no such secret. Raises TooManyAttempts."""
    attempt = count_attempt(kind, unverified_secret, address, now)
    try:
        yield
    except wrong:
        raise
    except ProtocolError:
        forget_attempt(attempt)
        raise
    forget_attempt(attempt)


def forget_attempt(attempt: Attempt) -> None:
    """The secret was right."""
    attempt.delete()


def sweep(now: datetime, batch: int) -> int:
    old = Attempt.objects.filter(at__lt=now - WINDOW).order_by("at")[:batch]
    gone, _ = Attempt.objects.filter(pk__in=old.values("pk")).delete()
    return gone
