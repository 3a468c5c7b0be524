"""How long somebody has a lease in hand, and when it is tried again. There is no last attempt: an account that lives is
not given up."""

import random
from datetime import timedelta

# Whoever speaks to a system about a lease; longer than any call may take (credentials/engines), and the least that a
# crash of ours costs.
CLAIM = timedelta(seconds=45)
BASE = 1.0  # seconds; doubled with each attempt
MOST = 300.0
MOST_REFUSED = 60.0  # between logins with a secret that is not taken: too many would lock our administrator out
MOST_HARMLESS = 900.0  # nobody can log in any more
STUCK_AFTER = 5  # attempts that the system refused


def pause(attempts: int, *, harmless: bool = False) -> timedelta:
    """Doubled, capped, with jitter."""
    return _jittered(min(BASE * 2.0 ** min(attempts - 1, 16), MOST_HARMLESS if harmless else MOST))


def refused_pause(failures: int) -> timedelta:
    """Until our administrator tries to log in again; an administrator's hand has to mend it."""
    return _jittered(min(BASE * 2.0 ** min(failures, 16), MOST_REFUSED))


def is_stuck(attempts: int) -> bool:
    return attempts >= STUCK_AFTER


def _jittered(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(0.75, 1.0))  # noqa: S311 - spreads load, guards nothing
