"""The use cases of a lease, one transaction each. The only code that writes a lease's `state`.

requests.py      request a lease, unwrap it, activate it
renewal.py       a new password; a renewal
endings.py       end a lease: nobody may use it from then on
revocation.py    claim a lease for revocation, record what a read on the backend says, abandon it
statements.py    the statements of every issue and every revocation, compiled to SQL once
audit_facts.py   why a lease ended, and what every event of a lease says

A state changes by one conditional UPDATE whose WHERE is the transition table (LEASE_STATES). No transaction is
open while an engine speaks to a backend: issuance.py and revocation.py of credentials/leases do
that, between two use cases of this package. Lock order: grant, then backend, then agent and user,
then lease.

Nothing blocks the end of a lease. An event that cannot be written is set aside (record_revocation).
Nothing here needs Redis. If the backend does not answer, the lease ends all the same, and
Countersign keeps revoking the account.
"""

from credentials.leases.lifecycle.audit_facts import EndReason, refuse
from credentials.leases.lifecycle.endings import end, end_all, end_due, fail
from credentials.leases.lifecycle.renewal import finish_password, finish_renewal, release, start_password, start_renewal
from credentials.leases.lifecycle.requests import (
    AlreadyUnwrapped,
    LeaseRequest,
    RequestedLease,
    activate,
    find_backend_of_unopened,
    request_lease,
    unwrap,
)
from credentials.leases.lifecycle.revocation import (
    abandon,
    claim_due,
    claim_this,
    note_left_behind,
    record_not_revocable,
    record_revocation_result,
    release_claims,
    retry_now,
)

__all__ = [
    "AlreadyUnwrapped",
    "EndReason",
    "LeaseRequest",
    "RequestedLease",
    "abandon",
    "activate",
    "claim_due",
    "claim_this",
    "end",
    "end_all",
    "end_due",
    "fail",
    "find_backend_of_unopened",
    "finish_password",
    "finish_renewal",
    "note_left_behind",
    "record_not_revocable",
    "record_revocation_result",
    "refuse",
    "release",
    "release_claims",
    "request_lease",
    "retry_now",
    "start_password",
    "start_renewal",
    "unwrap",
]
