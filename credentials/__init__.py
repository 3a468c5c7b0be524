"""Accounts on lease: made just in time, for minutes, and taken back for certain.

Owns: Backend (a connected system and our administrator's secret for it), Role (what may be lent from it; it
writes its own operation type `credential:<role>`), Lease (one loan), and the engines that speak to such systems.
Does not own: who may ask for a lease (clients, operations), the yes and its grant (ciba, oauth).

models.py       the tables; a lease holds everything that taking it back needs
states.py       a lease's states and the only ways between them (pure)
limits.py       how long a lease lives, and which limit said so (pure)
policy.py       may it be bought, renewed (pure)
branches.py     leases as branches of their grant (oauth/tree.py)
lifecycle/      the use cases, one transaction each; the only writer of `state`
statements.py   its statements that every issue and revoke sends, put into SQL once
lending.py      giving: what happens between two of them, where an engine speaks to a system
taking_back.py  the sweeper's part: claim, revoke, read, record
retrying.py     how long a claim lasts, and the pauses between attempts, of which none is the last
breaker.py      a system that does not answer is asked by the sweepers alone
orphans.py      accounts that no lease accounts for
recovery.py     after a restore: taking back is paused, and the difference reported (differences.py)
preflight.py    a probe is made, used and taken back before a backend lends
rotation.py     a new administrator secret: stored, told, verified by a login, committed
roles.py        a role writes its operation type
backends.py     secrets opened, our own Resource; links.py keeps ways in open
api.py          /v1/leases; pages.py: a person's own
ending.py       an administrator ends many: one action, one record, a page that shows what is left
metrics.py      leases in figures
engines/        one file per kind of system, behind one small protocol; those of others are guarded (third_party.py)
"""
