"""Backends: connected systems, the administrator's secret for each, and their health.

Owns: everything about a backend that does not belong to one lease. Does not own: the state of a
lease (credentials/leases), and what is sent to a backend (credentials/engines).

states.py         the states of a backend and of a role (pure)
lifecycle.py      the only writer of a backend's status, and of whether a role is active
secrets.py        sealing and opening a backend's secret; our own API as a Resource
links.py          connections to backends, kept open for a while
breaker.py        a circuit breaker per backend, in PostgreSQL
preflight.py      the test of a backend and its roles before it may issue
connection_rungs.py   how far that test came, in words
rotation.py       a new administrator secret: stored, set, verified by a login, committed
roles.py          a role writes its own operation type
orphans.py        accounts on a backend that belong to no lease
recovery.py       after a restore: revocation is paused until an administrator resumes it
drift_report.py   the difference between the backends and the table of leases
"""
