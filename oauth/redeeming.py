"""May this code, this refresh token be redeemed? Pure: facts in, verdict out.

RFC 6749 4.1.3, 6 and 10.5, RFC 7636 4.6, RFC 9700 4.14. What is presented a second time was stolen, or its
first answer was: nobody can tell which of the two holders is the agent, so the grant ends for both. Only a refresh
token that was rotated a moment ago brings its successor again (docs/adr/0016).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

# How long a rotated refresh token still brings its successor.
REPEAT_WINDOW = timedelta(seconds=30)
# The successor itself is rotated at the earliest after this: then it is unused whenever the old token is repeated in
# time, also where servers' clocks differ.
MIN_SETTLING = 2 * REPEAT_WINDOW
# And only when it was in no answer for REPEAT_WINDOW: a process that stores it late must not overwrite its successor.
# After this it is rotated in any case.
MAX_SETTLING = timedelta(minutes=10)


class Redemption(Enum):
    ISSUE = auto()
    REPEAT = auto()  # its successor, again
    UNKNOWN = auto()  # or another agent's: a stranger learns and changes nothing
    USED_AGAIN = auto()
    EXPIRED = auto()
    DEAD = auto()  # agent, person, resource or grant
    WRONG_REDIRECT = auto()
    WRONG_VERIFIER = auto()
    WRONG_KEY = auto()  # bound to one that its sender does not prove to hold


@dataclass(frozen=True)
class RedemptionFacts:
    is_own: bool
    is_used: bool
    expires_at: datetime
    is_alive: bool
    holds_key: bool  # its sender proves every key that it is bound to


@dataclass(frozen=True)
class RotationFacts:
    """Of a refresh token that was used: when, and the facts of its successor."""

    at: datetime
    successor: RedemptionFacts  # `holds_key`: the sender proves what the used one is bound to as well


def judge_refresh(facts: RedemptionFacts | None, rotation: RotationFacts | None, now: datetime) -> Redemption:
    verdict = _judge(facts, now)
    if verdict is not Redemption.USED_AGAIN or rotation is None or now >= rotation.at + REPEAT_WINDOW:
        return verdict
    verdict = _judge(rotation.successor, now)
    if verdict is Redemption.ISSUE:
        return Redemption.REPEAT
    # Another key did not get the first answer: it is a thief's, and learns no more than after the window.
    return Redemption.USED_AGAIN if verdict is Redemption.WRONG_KEY else verdict


@dataclass(frozen=True)
class SettlingFacts:
    """Of a refresh token that came in the place of another: since when, and when it was last in an answer."""

    followed_at: datetime
    given_at: datetime


def must_rotate(settling: SettlingFacts | None, now: datetime, *, profile_rotates: bool, changes_key: bool) -> bool:
    """Whether a good refresh token is replaced. None: it is the first of its grant."""
    if not profile_rotates:
        return False
    if changes_key or settling is None or now >= settling.followed_at + MAX_SETTLING:
        return True
    return now >= settling.followed_at + MIN_SETTLING and now >= settling.given_at + REPEAT_WINDOW


def _judge(facts: RedemptionFacts | None, now: datetime) -> Redemption:
    """None: there is no such token. A wrong key uses nothing up: it is a thief's."""
    if facts is None or not facts.is_own:
        return Redemption.UNKNOWN
    if facts.is_used:
        return Redemption.USED_AGAIN
    if facts.expires_at <= now:
        return Redemption.EXPIRED
    if not facts.is_alive:
        return Redemption.DEAD
    return Redemption.ISSUE if facts.holds_key else Redemption.WRONG_KEY


def judge_code(
    facts: RedemptionFacts | None, now: datetime, *, redirect_matches: bool, verifier_matches: bool
) -> Redemption:
    """A wrong verifier uses nothing up: whoever found a code could else spoil it for its agent."""
    verdict = _judge(facts, now)
    if verdict is not Redemption.ISSUE:
        return verdict
    if not redirect_matches:
        return Redemption.WRONG_REDIRECT
    return Redemption.ISSUE if verifier_matches else Redemption.WRONG_VERIFIER
