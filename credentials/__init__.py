"""Leases: credentials that Countersign issues for minutes and then revokes.

Owns: Backend (a connected system and the administrator's secret for it), Role (what may be issued
from it; each role writes its own operation type `credential:<role>`), Lease (one issued credential)
and the engines. Does not own: who may request a lease (clients, operations), the approval and its
grant (ciba, oauth).

models.py     the tables; a lease stores everything that its revocation needs
leases/       requesting, issuing, renewing and revoking leases; /v1/leases
backends/     secrets, connections, circuit breaker, preflight, root rotation, orphans
engines/      one file per kind of backend, behind one small protocol
metrics.py    figures about leases for /metrics and /readyz
settings_inputs.py   the inputs of an engine's settings in the administration
admin/        backends, roles and leases in the administration
errors.py     the errors of /v1/leases
"""
