"""The states of a lease and their transitions. Pure.

wrapped    requested, without an account: the account is made when the handle is unwrapped
creating   stored before the backend is called, so that after a crash the account's name is known
           and the account can be revoked
active     the account exists and its holder has the password
revoking   to be revoked; retried until a read confirms that the account is gone
disabled   the account cannot log in and has no session, but its objects prevent the drop; retried
stuck      several attempts failed: an administrator must look; still retried
revoked    a read on the backend confirmed that the account is gone
abandoned  no read confirmed it, and an administrator took responsibility: perhaps the backend is
           gone
"""

from enum import StrEnum

from foundation.state_machine import StateMachine


class State(StrEnum):
    WRAPPED = "wrapped"
    CREATING = "creating"
    ACTIVE = "active"
    REVOKING = "revoking"
    DISABLED = "disabled"
    STUCK = "stuck"
    REVOKED = "revoked"
    ABANDONED = "abandoned"


LEASE_STATES = StateMachine(
    {
        # Directly to revoked: there never was an account.
        State.WRAPPED: frozenset({State.CREATING, State.REVOKED}),
        State.CREATING: frozenset({State.ACTIVE, State.REVOKING}),
        State.ACTIVE: frozenset({State.REVOKING}),
        State.REVOKING: frozenset({State.DISABLED, State.STUCK, State.REVOKED, State.ABANDONED}),
        State.DISABLED: frozenset({State.STUCK, State.REVOKED, State.ABANDONED}),
        State.STUCK: frozenset({State.DISABLED, State.REVOKED, State.ABANDONED}),
    }
)
# No further action: revoked and abandoned. If the account of an abandoned lease is found later, it is an orphan.
FINAL_STATES = LEASE_STATES.final_states
# An account may exist.
LIVE_STATES = frozenset(State) - {State.WRAPPED} - FINAL_STATES
# The account is being revoked.
ENDING_STATES = frozenset({State.REVOKING, State.DISABLED, State.STUCK})
# States that count against the backend's quota. Leases that are being revoked count too: otherwise
# an unreachable backend would fill up without limit.
COUNTED_STATES = frozenset(State) - FINAL_STATES
