"""The use cases of grants, one transaction each.

consents.py     a user's consent in the browser; a grant that needs no user
tokens.py       codes, refresh tokens and revoked access tokens
uses.py         the uses of a grant
revocation.py   the end of a grant

This is the only package that writes `uses_left`, `revoked_at`, `answered_at` and `used_at`. Each of
them changes by one conditional UPDATE or under a row lock; the row count decides which caller won.
"""

from oauth.grants.lifecycle.consents import (
    Proposal,
    consent,
    decline,
    find_consented,
    find_proposed,
    make_unasked_grant,
    propose,
    requested_digest,
    reuse_consent,
)
from oauth.grants.lifecycle.revocation import (
    end_grants_of,
    end_replayed,
    revoke_grant,
    revoke_grants_between,
    revoke_grants_of,
)
from oauth.grants.lifecycle.tokens import deny_token, issue_refresh_token, keep, rotate, sweep, use_code
from oauth.grants.lifecycle.uses import UseCall, lock_grant, refund_use, spend, spend_locked, use

__all__ = [
    "Proposal",
    "UseCall",
    "consent",
    "decline",
    "deny_token",
    "end_grants_of",
    "end_replayed",
    "find_consented",
    "find_proposed",
    "issue_refresh_token",
    "keep",
    "lock_grant",
    "make_unasked_grant",
    "propose",
    "refund_use",
    "requested_digest",
    "reuse_consent",
    "revoke_grant",
    "revoke_grants_between",
    "revoke_grants_of",
    "rotate",
    "spend",
    "spend_locked",
    "sweep",
    "use",
    "use_code",
]
