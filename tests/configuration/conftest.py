"""A PostgreSQL whose accounts are leased, and an agent that requests leases."""

from tests.support.leases import holder, orders, role, routine_role
from tests.support.systems import postgres_server

__all__ = ["holder", "orders", "postgres_server", "role", "routine_role"]
