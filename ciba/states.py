"""The states of a backchannel request and their transitions. Pure."""

from datetime import datetime
from enum import StrEnum

from foundation.state_machine import StateMachine


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


REQUEST_STATES = StateMachine(
    {
        State.PENDING: frozenset({State.APPROVED, State.DENIED, State.EXPIRED, State.CANCELLED}),
        State.APPROVED: frozenset({State.REDEEMED, State.DELIVERING, State.EXPIRED, State.REVOKED}),
        State.DELIVERING: frozenset({State.REDEEMED, State.FAILED}),
    }
)


def state_at(state: State, expires_at: datetime, now: datetime) -> State:
    """The state as reported: an expired request is `expired`, whether or not it was already swept."""
    return State.EXPIRED if expires_at <= now and REQUEST_STATES.allows(state, State.EXPIRED) else state
