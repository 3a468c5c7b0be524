"""One counter of attempts, in PostgreSQL, so that the check fails closed when the database is unreachable.

It limits wrong passwords, user codes and bearer secrets, and registrations. Two uses:

Guesses. `is_exhausted` before the value is checked, `record_wrong` after a wrong one. Only wrong
values are counted, so any number of concurrent right ones pass. Concurrent guesses are checked
before any of them is counted. Each of them is counted afterwards, also beyond the limit. So within
a window at most `max_attempts` values are checked, plus those that the web threads were checking
when the limit was reached. An attempt that the limit refused is not counted: otherwise a client
that keeps trying would lock itself out for ever.

Rates. `record_attempt` counts every attempt before it is judged.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from foundation.attempt_limits import AttemptLimit, is_reached
from foundation.errors import ProtocolError
from foundation.handles import b64url, digest
from foundation.metrics import UNAUTHENTICATED
from foundation.models import Attempt
from foundation.networks import counted_address

log = logging.getLogger(__name__)

SECRET_WINDOW = timedelta(minutes=15)
MAX_FROM_ADDRESS = 50
MAX_FOR_BEGINNING = 10
BEGINNING = 8  # characters: too many to guess by chance, so an attacker cannot use up the holder's limit


@dataclass(frozen=True)
class AttemptCounter:
    """Counts the attempts of one kind within a sliding window."""

    kind: str
    window: timedelta

    def is_exhausted(self, limits: Sequence[AttemptLimit], now: datetime) -> bool:
        """Whether earlier attempts have reached one of the limits."""
        return is_reached(limits, self._counts(limits, now))

    def record_wrong(self, limits: Sequence[AttemptLimit], now: datetime) -> bool:
        """Counts a wrong value. True if other attempts had reached a limit: then tell nothing about the value.

        Commits the attempt before it counts the others, so of concurrent guesses no more than the
        limit allows are told that they were wrong. Call it outside a transaction.
        """
        attempt = self._store(limits, now)
        return is_reached(limits, self._counts(limits, now, besides=attempt))

    def record_attempt(self, limits: Sequence[AttemptLimit], now: datetime) -> bool:
        """Counts an attempt before it is judged. False if it is refused, and then not counted."""
        attempt = self._store(limits, now)
        if not is_reached(limits, self._counts(limits, now, besides=attempt)):
            return True
        attempt.delete()
        return False

    def clear(self, subject: str) -> None:
        """Deletes the attempts that were counted for this subject, also for their other subjects."""
        Attempt.objects.filter(subject_digests__contains=[self._digest(subject)]).delete()

    def _store(self, limits: Sequence[AttemptLimit], now: datetime) -> Attempt:
        digests = [self._digest(limit.subject) for limit in limits]
        return Attempt.objects.create(kind=self.kind, subject_digests=digests, expires_at=now + self.window)

    def _counts(self, limits: Sequence[AttemptLimit], now: datetime, besides: Attempt | None = None) -> dict[str, int]:
        digests = {limit.subject: self._digest(limit.subject) for limit in limits}
        attempts = Attempt.objects.filter(subject_digests__overlap=list(digests.values()), expires_at__gt=now)
        if besides is not None:
            attempts = attempts.exclude(pk=besides.pk)
        numbered = dict(enumerate(digests.values()))
        counts = attempts.aggregate(
            **{f"n{n}": Count("pk", filter=Q(subject_digests__contains=[one])) for n, one in numbered.items()}
        )
        return {subject: counts[f"n{n}"] for n, subject in enumerate(digests)}

    def _digest(self, subject: str) -> str:
        """Of the kind too, so that the kinds do not count each other's attempts."""
        return b64url(digest(f"{self.kind}\n{subject}"))


class TooManyAttempts(ProtocolError):
    """Too many wrong secrets came from this network, or with this beginning (RFC 6585 4)."""

    code = "temporarily_unavailable"
    status = 429
    default_description = "too many wrong secrets; try again later"
    default_retry_after = int(SECRET_WINDOW.total_seconds() // 4)
    advice = "Stop sending wrong handles or tokens, and wait as long as Retry-After says."


class SecretGuesses:
    """The guesses at one bearer secret: a wrapping handle, an invitation or a registration token.

    There are two limits: one per address, and one per beginning of a secret across all addresses,
    because the beginning of a secret may have leaked through a log.
    """

    def __init__(self, kind: str, unverified_secret: str, address: str, now: datetime) -> None:
        self.counter, self.address, self.now = AttemptCounter(kind, SECRET_WINDOW), address, now
        self.limits = [
            AttemptLimit(f"address {counted_address(address)}", MAX_FROM_ADDRESS),
            AttemptLimit(f"beginning {unverified_secret[:BEGINNING]}", MAX_FOR_BEGINNING),
        ]

    def check(self) -> None:
        """Raises TooManyAttempts if no other secret may be checked now."""
        if self.counter.is_exhausted(self.limits, self.now):
            self._refuse()

    def record_wrong(self) -> None:
        """Counts a wrong secret. Raises TooManyAttempts if concurrent guesses have reached a limit."""
        if self.counter.record_wrong(self.limits, self.now):
            self._refuse()

    def _refuse(self) -> None:
        UNAUTHENTICATED.labels(self.counter.kind, "too_many_attempts").inc()
        log.warning("too many wrong secrets (%s) from %s", self.counter.kind, self.address)
        raise TooManyAttempts()


@contextmanager
def limited(
    kind: str, unverified_secret: str, address: str, now: datetime, *, wrong: type[ProtocolError]
) -> Iterator[None]:
    """Context manager around the use of a secret. The body raises `wrong` for an unknown secret, which is counted.

    Raises TooManyAttempts.
    """
    guesses = SecretGuesses(kind, unverified_secret, address, now)
    guesses.check()
    try:
        yield
    except wrong:
        guesses.record_wrong()
        raise


def sweep(now: datetime, batch: int) -> int:
    """Deletes attempts outside their window, at most `batch`."""
    old = Attempt.objects.filter(expires_at__lte=now).order_by("expires_at").values("pk")[:batch]
    gone, _ = Attempt.objects.filter(pk__in=old).delete()
    return gone
