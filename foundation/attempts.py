"""Limits on guessing a bearer secret: a wrapping handle, an invitation or a registration token.

Attempts are stored in PostgreSQL, so the check fails closed when the database is unreachable. An
attempt is counted before the secret is checked, so that parallel guesses see each other. A correct
secret deletes its attempt. There are two limits: one per address, and one per beginning of a secret
across all addresses, because the beginning of a secret may have leaked through a log.
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
BEGINNING = 8  # characters: too many to guess by chance, so an attacker cannot use up the holder's limit


class TooManyAttempts(ProtocolError):
    """Too many wrong secrets came from this network, or with this beginning (RFC 6585 4)."""

    code = "temporarily_unavailable"
    status = 429
    default_description = "too many wrong secrets lately; try again later"
    default_retry_after = int(WINDOW.total_seconds() // 4)
    advice = "Stop sending wrong handles or tokens, and wait as long as Retry-After says."


def count_attempt(kind: str, unverified_secret: str, address: str, now: datetime) -> Attempt:
    """Counts one attempt at a secret of this kind. Raises TooManyAttempts."""
    network = counted_address(address)
    beginning = digest(unverified_secret[:BEGINNING])
    attempt = Attempt.objects.create(kind=kind, network=network, beginning_digest=beginning, at=now)
    from_address, same_beginning = Q(network=network), Q(beginning_digest=beginning)
    earlier = Attempt.objects.filter(from_address | same_beginning, kind=kind, at__gt=now - WINDOW).exclude(
        pk=attempt.pk
    )
    counts = earlier.aggregate(
        from_address=Count("pk", filter=from_address), same_beginning=Count("pk", filter=same_beginning)
    )
    if counts["from_address"] >= MAX_FROM_ADDRESS or counts["same_beginning"] >= MAX_FOR_BEGINNING:
        attempt.delete()  # otherwise a client that keeps trying would lock itself out for ever
        UNAUTHENTICATED.labels(kind, "too_many_attempts").inc()
        log.warning("too many wrong secrets (%s) from %s", kind, address)
        raise TooManyAttempts()
    return attempt


@contextmanager
def limited(
    kind: str, unverified_secret: str, address: str, now: datetime, *, wrong: type[ProtocolError]
) -> Iterator[None]:
    """Context manager that counts an attempt around the use of a secret.

    The body raises `wrong` for an unknown secret; the attempt then stays counted. Raises
    TooManyAttempts.
    """
    attempt = count_attempt(kind, unverified_secret, address, now)
    try:
        yield
    except wrong:
        raise
    except ProtocolError:
        delete_attempt(attempt)
        raise
    delete_attempt(attempt)


def delete_attempt(attempt: Attempt) -> None:
    """Deletes the attempt after a correct secret."""
    attempt.delete()


def sweep(now: datetime, batch: int) -> int:
    old = Attempt.objects.filter(at__lt=now - WINDOW).order_by("at")[:batch]
    gone, _ = Attempt.objects.filter(pk__in=old.values("pk")).delete()
    return gone
