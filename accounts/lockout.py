"""The limits on wrong passwords. Pure: counts in, verdict out.

There are three limits, because an attacker can abuse each one alone. The limit per address and user
is low (guessing). The limit per user over all addresses is higher (a botnet). It is high enough
that a few requests of a stranger do not lock a user out, and it does not apply to a browser in
which the user has signed in before. The limit per address over all users stops spraying one
password.
"""

from dataclasses import dataclass
from datetime import timedelta

ATTEMPT_WINDOW = timedelta(minutes=15)
MAX_FROM_ADDRESS_FOR_USER = 5
MAX_FOR_USER = 50
MAX_FROM_ADDRESS = 100


@dataclass(frozen=True)
class Attempts:
    """Earlier attempts within the window that did not end in a sign-in."""

    from_address_for_user: int
    for_user: int
    from_address: int
    in_known_browser: bool = False


def is_locked(attempts: Attempts) -> bool:
    return (
        attempts.from_address_for_user >= MAX_FROM_ADDRESS_FOR_USER
        or (attempts.for_user >= MAX_FOR_USER and not attempts.in_known_browser)
        or attempts.from_address >= MAX_FROM_ADDRESS
    )
