"""A backend to issue leases from, for the tests of every /v1 endpoint."""

from tests.support.leases import holder, orders, role, routine_role
from tests.support.systems import postgres_server

__all__ = ["holder", "orders", "postgres_server", "role", "routine_role"]
