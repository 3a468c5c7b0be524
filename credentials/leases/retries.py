"""How long a claim on a lease lasts, and when a revocation is retried.

There is no last attempt: a live account is never given up.
"""

from datetime import timedelta

from foundation import backoff

# For any call to a backend about a lease: longer than any call may take (credentials/engines). It
# is also the shortest delay after a crash of ours.
CLAIM_DURATION = timedelta(seconds=45)
BASE_PAUSE_S = 1.0  # seconds; doubled after each attempt
MAX_PAUSE_S = 300.0
MAX_REFUSED_PAUSE_S = 60.0  # between logins with a refused secret: too many would lock our administrator out
MAX_DISABLED_PAUSE_S = 900.0  # for an account that cannot log in any more
STUCK_AFTER_ATTEMPTS = 5  # attempts that the backend refused


def pause(attempts: int, *, harmless: bool = False) -> timedelta:
    """The pause before the next attempt to revoke a lease."""
    return backoff.pause(attempts, first_s=BASE_PAUSE_S, max_s=MAX_DISABLED_PAUSE_S if harmless else MAX_PAUSE_S)


def refused_pause(failures: int) -> timedelta:
    """The pause before our administrator's next login attempt, after so many earlier failures.

    An administrator must fix the secret.
    """
    return backoff.pause(failures + 1, first_s=BASE_PAUSE_S, max_s=MAX_REFUSED_PAUSE_S)


def is_stuck(attempts: int) -> bool:
    return attempts >= STUCK_AFTER_ATTEMPTS
