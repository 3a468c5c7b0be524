"""Backends, roles, leases and recoveries in the administration. Django imports this package, which registers them.

preflighted.py   what the pages of backends and roles share
backends.py, roles.py, leases.py   one page each
"""

from credentials.admin import backends, leases, roles

__all__ = ["backends", "leases", "roles"]
