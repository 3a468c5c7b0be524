"""The database of the run: migrated as the owner, used as the application."""

import os
from collections.abc import Iterator
from typing import Any

import django.test.client
import psycopg
import pytest
from django.apps import apps
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.handlers.base import BaseHandler
from django.core.management import call_command
from django.core.signals import setting_changed
from django.db import connections
from django.test import TransactionTestCase
from django.test.client import ClientHandler
from psycopg import sql

from accounts.staff_roles import GROUP_NAMES
from authserver.handler import short_way
from authserver.management.commands.migrate import append_only_tables
from authserver.request import Request
from foundation.protocol_paths import ENDPOINTS
from oauth.metadata import serialized_metadata
from operations import listed_types

# Argon2 is slow on purpose, and the suite signs in a thousand times: the same algorithm, at its least.
Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost, Argon2PasswordHasher.parallelism = 1, 8, 1

# What migrations put there once, and no test changes.
STORED = {"django_migrations", "django_content_type", "auth_permission"}
# The groups of the roles of staff are there too, beside those of tests.
STORED |= {"auth_group", "auth_group_permissions"}
_DELETE_GROUPS = sql.SQL("""
    WITH made AS (SELECT id FROM auth_group WHERE name <> ALL ({}))
    , emptied AS (DELETE FROM auth_group_permissions WHERE group_id IN (SELECT id FROM made))
    DELETE FROM auth_group WHERE id IN (SELECT id FROM made)
""")


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's: tests/support/services.py has made the database already."""
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
    yield
    with django_db_blocker.unblock():
        for connection in connections.all():
            connection.close()
            if pool := getattr(connection, "pool", None):
                pool.close()


def clean_as_owner(_test_case: TransactionTestCase) -> None:
    """Empties every table. Only the owner can, and only with the audit triggers off inside the transaction.

    DELETE from the few tables that hold rows takes milliseconds. TRUNCATE would give each of some sixty tables and
    their indexes new files, which takes longer than most tests.
    """
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    # Not through Django's alias, which its test cases guard.
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        # A test that left a transaction open fails here, and does not hang the run.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        filled = connection.execute(" UNION ALL ".join(map(_if_filled, sorted(tables - STORED)))).fetchall()
        names = [sql.Identifier(name) for (name,) in filled]
        guarded = [name for name in map(sql.Identifier, append_only_tables()) if name in names]
        statements = [sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name) for name in guarded]
        statements += [sql.SQL("DELETE FROM {}").format(name) for name in names]
        statements += [_DELETE_GROUPS.format(sql.Literal(list(GROUP_NAMES)))]
        # Foreign keys are checked at the end, so any order will do; a trigger cannot change while a check is owed.
        statements += [sql.SQL("SET CONSTRAINTS ALL IMMEDIATE")]
        statements += [sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name) for name in guarded]
        connection.execute(sql.SQL("; ").join(statements))


def _if_filled(table: str) -> str:
    return f"SELECT '{table}' WHERE EXISTS (SELECT FROM \"{table}\")"  # noqa: S608 - our own tables


# The suite's clients make requests of the server's own class.
django.test.client.WSGIRequest = Request  # type: ignore[misc]

_loaded: list[ClientHandler] = []
_load_middleware = ClientHandler.load_middleware


def load_middleware_once(handler: ClientHandler, is_async: bool = False) -> None:
    """A test has several clients, and each would look for the static files anew. A changed setting starts afresh."""
    if not _loaded:
        _load_middleware(handler, is_async)
        handler._short_middleware_chain = short_way()  # type: ignore[attr-defined]
        _loaded.append(handler)
    vars(handler).update({name: value for name, value in vars(_loaded[0]).items() if "middleware" in name})


def get_response(handler: Any, request: Any) -> Any:
    """The suite's clients take the server's own way to protocol endpoints."""
    if request.path_info in ENDPOINTS:
        return handler._short_middleware_chain(request)
    return BaseHandler.get_response(handler, request)


setting_changed.connect(lambda **_: _loaded.clear(), weak=False)
ClientHandler.load_middleware = load_middleware_once  # type: ignore[method-assign]
ClientHandler.get_response = get_response  # type: ignore[method-assign]

# A process reads its settings once; a test may change them.
setting_changed.connect(lambda **_: serialized_metadata.cache_clear(), weak=False)


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """A test's operation types end with it, but its process goes on."""
    listed_types.clear_cache()


# One place: every test that commits (django_db(transaction=True)) is cleaned up after like this.
TransactionTestCase._fixture_teardown = clean_as_owner  # type: ignore[method-assign]
