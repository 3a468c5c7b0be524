"""The states of a backend and of a role, and their transitions. Pure.

new        its preflight has not passed: it issues nothing
enabled    its preflight has passed: it issues leases
draining   an administrator drained it: it issues nothing, and its leases end in time. No preflight
           enables it before the administrator says so
"""

from enum import StrEnum

from foundation.state_machine import StateMachine


class BackendStatus(StrEnum):
    NEW = "new"
    ENABLED = "enabled"
    DRAINING = "draining"


BACKEND_STATES = StateMachine(
    {
        BackendStatus.NEW: frozenset({BackendStatus.ENABLED, BackendStatus.DRAINING}),
        BackendStatus.ENABLED: frozenset({BackendStatus.NEW, BackendStatus.DRAINING}),
        BackendStatus.DRAINING: frozenset({BackendStatus.NEW}),
    },
    field="status",
)
# A role is active or not. A role that is not active issues nothing.
ROLE_STATES = StateMachine({True: frozenset({False}), False: frozenset({True})}, field="is_active")
