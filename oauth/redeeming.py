"""May this code, this refresh token be redeemed? Pure: facts in, verdict out.

RFC 6749 4.1.3, 6 and 10.5, RFC 7636 4.6, RFC 9700 4.14. What is presented a second time was stolen, or its
first answer was: nobody can tell which of the two holders is the agent, so the grant ends for both.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto


class Redemption(Enum):
    ISSUE = auto()
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


def judge_refresh(facts: RedemptionFacts | None, now: datetime) -> Redemption:
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
    verdict = judge_refresh(facts, now)
    if verdict is not Redemption.ISSUE:
        return verdict
    if not redirect_matches:
        return Redemption.WRONG_REDIRECT
    return Redemption.ISSUE if verifier_matches else Redemption.WRONG_VERIFIER
