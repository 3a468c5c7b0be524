"""Leases: requested, issued, renewed, revoked.

Owns: a lease's states and limits, its use cases, /v1/leases, a user's own leases. Does not own: the
connection to a backend (credentials/backends), and what is sent to it (credentials/engines).

states.py            a lease's states and transitions (pure)
limits.py            how long a lease lives, and which limit decides (pure)
policy.py            whether a lease may be requested or renewed (pure)
lifecycle/           the use cases, one transaction each; the only writer of `state`
issuance.py          creating the account, between two transactions of lifecycle
revocation.py        the sweeper's part: claim, revoke, read, record
retries.py           how long a claim lasts, and the pauses between attempts
branches.py          leases in the tree of their grant (oauth/grants/grant_tree.py)
api.py, serializers.py   /v1/leases: the endpoints; what they take and answer
api_authentication.py    the access token of a call to /v1/leases
requested_lease.py   the role of a lease request, and whether the token's grant is for it
pages.py             a user's own leases on /activity
bulk_revocation.py   an administrator revokes many leases at once
"""
