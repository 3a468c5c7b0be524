"""The answer to a poll (CIBA Core 11). Pure: facts in, verdict out."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import assert_never

from ciba.states import State


@dataclass(frozen=True)
class PollFacts:
    """One poll. `state` is None if no request has this auth_req_id."""

    state: State | None
    is_own: bool  # this agent's request
    is_alive: bool  # agent, user and grant are still active
    expires_at: datetime | None
    too_early: bool


class PollVerdict(Enum):
    ISSUE = auto()
    PENDING = auto()
    SLOW_DOWN = auto()
    DENIED = auto()
    EXPIRED = auto()
    UNKNOWN = auto()  # invalid_grant
    POLLED_AGAIN = auto()  # invalid_grant, and an event


def judge_poll(facts: PollFacts, now: datetime) -> PollVerdict:
    """Checks the owner first: a stranger gets the answer for "unknown"."""
    if facts.state is None or facts.expires_at is None or not facts.is_own:
        return PollVerdict.UNKNOWN
    match facts.state:
        case State.REDEEMED:
            # The first response may have been lost in transit, so nothing is revoked.
            return PollVerdict.POLLED_AGAIN
        case State.DENIED:
            return PollVerdict.DENIED
        case State.EXPIRED:
            return PollVerdict.EXPIRED
        case State.CANCELLED | State.REVOKED | State.DELIVERING | State.FAILED:
            return PollVerdict.UNKNOWN
        case State.PENDING | State.APPROVED:
            pass
        case _:
            assert_never(facts.state)
    if not facts.is_alive:
        return PollVerdict.UNKNOWN
    if facts.expires_at <= now:
        return PollVerdict.EXPIRED
    if facts.state is State.APPROVED:
        return PollVerdict.ISSUE
    return PollVerdict.SLOW_DOWN if facts.too_early else PollVerdict.PENDING
