"""Systems to lend from, and an agent that buys."""

from tests.credentials.lending import buyer, orders, role, routine_role
from tests.credentials.systems import postgres_server

__all__ = ["buyer", "orders", "postgres_server", "role", "routine_role"]
