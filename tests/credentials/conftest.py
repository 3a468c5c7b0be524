"""Backends, and an agent that requests leases."""

from tests.support.leases import holder, orders, role, routine_role
from tests.support.systems import mysql_server, mysql_system, postgres_server, redis_system

__all__ = [
    "holder",
    "mysql_server",
    "mysql_system",
    "orders",
    "postgres_server",
    "redis_system",
    "role",
    "routine_role",
]
