"""A lease's states and the only ways between them. Pure.

wrapped    bought, and no account yet: it is made when the handle is unwrapped
creating   written down before the system is touched: whatever crashes now, the name is known and taken back
active     the account is there and its holder has the password
revoking   to be taken back; tried until it is confirmed gone
disabled   nobody can log in and no session is left, but its objects keep it from being dropped; still tried
stuck      several tries have failed: a person must look; still tried
revoked    a read on the system itself confirmed that the account is gone
forgotten  nobody could confirm it, and an administrator has answered for that: the system is gone, perhaps
"""

from enum import StrEnum


class State(StrEnum):
    WRAPPED = "wrapped"
    CREATING = "creating"
    ACTIVE = "active"
    REVOKING = "revoking"
    DISABLED = "disabled"
    STUCK = "stuck"
    REVOKED = "revoked"
    FORGOTTEN = "forgotten"


# Nothing leaves the state that is not a key here.
TRANSITIONS: dict[State, frozenset[State]] = {
    # Straight to revoked: there never was an account.
    State.WRAPPED: frozenset({State.CREATING, State.REVOKED}),
    State.CREATING: frozenset({State.ACTIVE, State.REVOKING}),
    State.ACTIVE: frozenset({State.REVOKING}),
    State.REVOKING: frozenset({State.DISABLED, State.STUCK, State.REVOKED, State.FORGOTTEN}),
    State.DISABLED: frozenset({State.STUCK, State.REVOKED, State.FORGOTTEN}),
    State.STUCK: frozenset({State.DISABLED, State.REVOKED, State.FORGOTTEN}),
}
# Nothing more is done about it. An account of a forgotten one that is found all the same is one without a lease.
FINISHED = frozenset({State.REVOKED, State.FORGOTTEN})
# An account may be there.
LIVE = frozenset(State) - {State.WRAPPED} - FINISHED
# It is being taken back.
ENDING = frozenset({State.REVOKING, State.DISABLED, State.STUCK})
# It counts against quotas of its backend: what is being taken back too, or a dead one would be filled without limit.
COUNTED = frozenset(State) - FINISHED


def sources(target: State) -> list[State]:
    """The states that `target` may be entered from: the WHERE of its UPDATE."""
    return [source for source, targets in TRANSITIONS.items() if target in targets]
