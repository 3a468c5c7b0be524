"""How many wrong passwords are too many. Pure: counts in, verdict out.

Three limits, because each alone can be turned against somebody: few per address and person (guessing),
more per person from everywhere (a botnet; high enough that a stranger cannot lock a person out with a
handful of requests, and not for a browser in which the person has signed in before), and some per address over
all people (spraying one password).
"""

from dataclasses import dataclass
from datetime import timedelta

WINDOW = timedelta(minutes=15)
MOST_FROM_ADDRESS_FOR_PERSON = 5
MOST_FOR_PERSON = 50
MOST_FROM_ADDRESS = 100


@dataclass(frozen=True)
class Attempts:
    """Earlier attempts within the window that did not end in a sign-in."""

    from_address_for_person: int
    for_person: int
    from_address: int
    in_known_browser: bool = False


def is_locked(attempts: Attempts) -> bool:
    return (
        attempts.from_address_for_person >= MOST_FROM_ADDRESS_FOR_PERSON
        or (attempts.for_person >= MOST_FOR_PERSON and not attempts.in_known_browser)
        or attempts.from_address >= MOST_FROM_ADDRESS
    )
