"""The states of a backchannel request and their transitions. Pure."""

from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REDEEMED = "redeemed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    DELIVERING = "delivering"  # push: tokens are minted and being sent
    FAILED = "failed"  # push: the tokens never arrived


# States that are not a key here are final.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED}),
    State.APPROVED: frozenset({State.REDEEMED, State.DELIVERING, State.EXPIRED, State.REVOKED}),
    State.DELIVERING: frozenset({State.REDEEMED, State.FAILED}),
}
FINAL_STATES = frozenset(State) - TRANSITIONS.keys()


def sources(target: State) -> list[State]:
    """The states that `target` may be entered from: the WHERE of its UPDATE."""
    return [source for source, targets in TRANSITIONS.items() if target in targets]


def state_at(state: State, expires_at: datetime, now: datetime) -> State:
    """The state as reported: an expired request is `expired`, whether or not it was already swept."""
    return State.EXPIRED if expires_at <= now and State.EXPIRED in TRANSITIONS.get(state, ()) else state
