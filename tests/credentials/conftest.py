"""Systems to lend from, and an agent that buys."""

from tests.credentials.lending import buyer, orders, role, routine_role
from tests.credentials.systems import mysql_server, mysql_system, postgres_server, redis_system

__all__ = [
    "buyer",
    "mysql_server",
    "mysql_system",
    "orders",
    "postgres_server",
    "redis_system",
    "role",
    "routine_role",
]
