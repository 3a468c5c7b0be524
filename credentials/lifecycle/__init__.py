"""The use cases of a lease, one transaction each. The only code that writes a lease's `state`.

buying.py     from the purchase to the account
holding.py    while it lasts: a new password, a renewal
ending.py     nobody may use it any more
returning.py  its account is taken back, and confirmed gone by a read
told.py       what every event of a lease says

A state changes by one conditional UPDATE whose WHERE is the transition table. No transaction is open while an
engine speaks to a system: lending.py and taking_back.py do that, between two use cases of this package. Lock order:
grant, then backend, then agent and person, then lease.

Ending is never held back: not by audit (record_revocation), not by Redis (which nothing here asks), and not by the
backend, whose account goes on being taken back after the lease has ended.
"""

from credentials.lifecycle.buying import (
    AlreadyUnwrapped,
    Bought,
    Wanted,
    activate,
    buy,
    find_backend_of_unopened,
    unwrap,
)
from credentials.lifecycle.ending import end, end_all, end_due, fail
from credentials.lifecycle.holding import finish_password, finish_renewal, release, start_password, start_renewal
from credentials.lifecycle.returning import (
    claim_this,
    claim_to_take_back,
    forget,
    let_go,
    note_left_behind,
    note_not_revocable,
    note_taken_back,
    retry_now,
)
from credentials.lifecycle.told import Why, refuse

__all__ = [
    "AlreadyUnwrapped", "Bought", "Wanted", "Why", "activate", "buy", "claim_this", "claim_to_take_back", "end",
    "end_all", "end_due", "fail", "find_backend_of_unopened", "finish_password", "finish_renewal", "forget", "let_go",
    "note_left_behind",
    "note_not_revocable", "note_taken_back", "refuse", "release", "retry_now", "start_password", "start_renewal",
    "unwrap",
]  # fmt: skip
