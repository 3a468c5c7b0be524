"""The limits on wrong passwords. Pure.

There are three limits, because an attacker can abuse each one alone. The limit per address and user
is low (guessing). The limit per user over all addresses is higher (a botnet). It is high enough
that a few requests of a stranger do not lock a user out, and it does not apply to a browser in
which the user has signed in before. The limit per address over all users stops spraying one
password.
"""

from datetime import timedelta

from foundation.attempt_limits import AttemptLimit

ATTEMPT_WINDOW = timedelta(minutes=15)
MAX_FROM_ADDRESS_FOR_USER = 5
MAX_FOR_USER = 50
MAX_FROM_ADDRESS = 100


def limits_of(email: str, address: str, *, in_known_browser: bool = False) -> list[AttemptLimit]:
    """The limits on one attempt. `address` is the network that counts as one sender (foundation/networks.py)."""
    return [
        AttemptLimit(from_address_for_user(email, address), MAX_FROM_ADDRESS_FOR_USER),
        AttemptLimit(for_user(email), None if in_known_browser else MAX_FOR_USER),
        AttemptLimit(f"address {address}", MAX_FROM_ADDRESS),
    ]


def for_user(email: str) -> str:
    """The subject of all attempts for this user."""
    return f"user {email}"


def from_address_for_user(email: str, address: str) -> str:
    """The subject of all attempts for this user from this address."""
    return f"address {address} user {email}"
