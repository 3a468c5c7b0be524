"""Grants: how they begin, what is issued under them, and how they end.

Owns: the use cases of grants, uses, codes and refresh tokens. Does not own: CIBA approvals (ciba),
leases (credentials), and issuing tokens (oauth/tokens).

lifecycle/      the use cases, one transaction each; the only writer of grants, uses, codes and
                refresh tokens
use_policy.py   whether a use may be spent (pure)
grant_tree.py   everything issued under a grant, shown and ended branch by branch
endpoints.py    POST /oauth/revoke: one table from the kind of token to its revocation (RFC 7009)
pages.py        a user's own grants
"""
