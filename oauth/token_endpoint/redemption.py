"""May this code or refresh token be redeemed?

Pure: facts in, verdict out.

RFC 6749 4.1.3, 6 and 10.5, RFC 7636 4.6, RFC 9700 4.14. A value that is presented twice was stolen,
or its first response was. The server cannot tell which holder is the agent, so it ends the grant
for both. The only exception is a refresh token that was rotated a moment ago: it returns its
successor again (docs/adr/0016).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

# How long a rotated refresh token still returns its successor.
REPEAT_WINDOW = timedelta(seconds=30)
# The successor is rotated at the earliest after this time. So it is still unused whenever the old
# token is repeated in time, even if servers' clocks differ.
MIN_SETTLING = 2 * REPEAT_WINDOW
# After MIN_SETTLING a successor is rotated only if no response carried it for REPEAT_WINDOW: a
# process that stores it late must not overwrite the next successor. After MAX_SETTLING it is
# rotated in any case.
MAX_SETTLING = timedelta(minutes=10)


class RedemptionVerdict(Enum):
    ISSUE = auto()
    REPEAT = auto()  # return its successor again
    UNKNOWN = auto()  # or another agent's: a stranger learns and changes nothing
    USED_AGAIN = auto()
    EXPIRED = auto()
    DEAD = auto()  # agent, user, resource or grant is no longer active
    WRONG_REDIRECT = auto()
    WRONG_VERIFIER = auto()
    WRONG_KEY = auto()  # bound to a key that its sender does not prove to hold


@dataclass(frozen=True)
class RedemptionFacts:
    is_own: bool
    is_used: bool
    expires_at: datetime
    is_alive: bool
    proves_key: bool  # its sender proves every key that it is bound to


@dataclass(frozen=True)
class RotationFacts:
    """A used refresh token: the time of its use, and the facts of its successor."""

    at: datetime
    successor: RedemptionFacts  # `proves_key`: the sender also proves the keys of the used token


def judge_refresh(facts: RedemptionFacts | None, rotation: RotationFacts | None, now: datetime) -> RedemptionVerdict:
    verdict = _judge(facts, now)
    if verdict is not RedemptionVerdict.USED_AGAIN or rotation is None or now >= rotation.at + REPEAT_WINDOW:
        return verdict
    verdict = _judge(rotation.successor, now)
    if verdict is RedemptionVerdict.ISSUE:
        return RedemptionVerdict.REPEAT
    # The first response went to another key, so this sender is a thief. It gets the answer for a
    # use after the window.
    return RedemptionVerdict.USED_AGAIN if verdict is RedemptionVerdict.WRONG_KEY else verdict


@dataclass(frozen=True)
class SettlingFacts:
    """A refresh token that replaced another: since when, and when a response last carried it."""

    followed_at: datetime
    given_at: datetime


def must_rotate(settling: SettlingFacts | None, now: datetime, *, profile_rotates: bool, changes_key: bool) -> bool:
    """Whether a valid refresh token is replaced.

    `settling` is None for the first token of a grant.
    """
    if not profile_rotates:
        return False
    if changes_key or settling is None or now >= settling.followed_at + MAX_SETTLING:
        return True
    return now >= settling.followed_at + MIN_SETTLING and now >= settling.given_at + REPEAT_WINDOW


def _judge(facts: RedemptionFacts | None, now: datetime) -> RedemptionVerdict:
    """`facts` is None if there is no such token.

    A wrong key does not use the token up, because its sender is a thief.
    """
    if facts is None or not facts.is_own:
        return RedemptionVerdict.UNKNOWN
    if facts.is_used:
        return RedemptionVerdict.USED_AGAIN
    if facts.expires_at <= now:
        return RedemptionVerdict.EXPIRED
    if not facts.is_alive:
        return RedemptionVerdict.DEAD
    return RedemptionVerdict.ISSUE if facts.proves_key else RedemptionVerdict.WRONG_KEY


def judge_code(
    facts: RedemptionFacts | None, now: datetime, *, redirect_matches: bool, verifier_matches: bool
) -> RedemptionVerdict:
    """A wrong verifier does not use the code up: otherwise anyone who found a code could spoil it
    for its agent.
    """
    verdict = _judge(facts, now)
    if verdict is not RedemptionVerdict.ISSUE:
        return verdict
    if not redirect_matches:
        return RedemptionVerdict.WRONG_REDIRECT
    return RedemptionVerdict.ISSUE if verifier_matches else RedemptionVerdict.WRONG_VERIFIER
