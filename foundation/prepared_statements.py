"""Statements that PostgreSQL parses and plans once per connection, and then only executes.

A plan costs PostgreSQL several times as much as a row found by its key, and Django sends each
statement as text to be planned anew. A prepared statement is a name and its values.

Every value is sent as text without a type, as in a quoted literal, and PostgreSQL takes the type of
the column. So a statement is prepared once and not once per combination of types: psycopg would
send a small and a large number, or NULL, as values of different types.

Behind pgbouncer in transaction mode this needs pgbouncer 1.21 with `max_prepared_statements`.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from json import dumps
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import ClientCursor, RawCursor
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName
from psycopg.pq import TransactionStatus
from psycopg.sql import Literal
from psycopg.types.json import Jsonb


class Statement:
    """The text of a statement, with `%s` for each value and `%%` for a percent sign."""

    def __init__(self, sql: str) -> None:
        self.sql = sql

    @cached_property
    def numbered(self) -> bytes:
        """The statement as PostgreSQL reads it, with $1, $2, …"""
        numbers = iter(range(1, self.sql.count("%") + 1))
        return re.sub("%[s%]", lambda found: "%" if found[0] == "%%" else f"${next(numbers)}", self.sql).encode()


def execute(statement: Statement, values: Sequence[Any]) -> "RawCursor[Any]":
    """Executes the statement on Django's connection. Raises Django's exceptions.

    As with Django's own cursors, the wrappers of `connection.execute_wrapper` and the log of
    queries see each statement.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    sender = _Sender(statement, connection)
    if connection.queries_logged or connection.execute_wrappers:
        make = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
        make(sender).execute(statement.sql, values)  # type: ignore[arg-type] # all that they need of a cursor
    else:
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors:
            sender.execute(statement.sql, values)
    return sender.cursor


class _Sender:
    """The cursor as Django's wrappers see it."""

    def __init__(self, statement: Statement, connection: Any) -> None:
        connection.validate_thread_sharing()
        self._statement, self._connection = statement, connection

    @property
    def _query(self) -> SimpleNamespace:
        """The statement with its values, for the log of queries."""
        client = ClientCursor(self._connection.connection)
        return SimpleNamespace(query=client.mogrify(self._statement.sql, self._values).encode())

    def execute(self, _sql: str, values: Sequence[Any]) -> None:
        self._values = values
        texts = [None if value is None else text_of(value) for value in values]
        try:
            self._send(texts)
        except (FeatureNotSupported, InvalidSqlStatementName):
            # A migration has changed the type of a column since, or a pooler has forgotten the name. A
            # transaction is lost, and its ROLLBACK makes psycopg prepare everything again.
            if self._connection.connection.info.transaction_status is not TransactionStatus.IDLE:
                raise
            self._connection.connection.close()
            self._connection.close()
            self._connection.ensure_connection()
            self._send(texts)

    def _send(self, texts: Sequence[Any]) -> None:
        self.cursor: RawCursor[Any] = RawCursor(self._connection.connection)
        self.cursor.execute(self._statement.numbered, texts, prepare=True)


def literal(value: Any) -> str:
    """The value as Django writes it into the SQL of a statement."""
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    return Literal(value).as_string(connection.connection)


def text_of(value: Any) -> Any:
    """What PostgreSQL reads this value from. psycopg converts values of other types, for example intervals."""
    convert = _CONVERTERS.get(type(value))
    if convert is not None:
        return convert(value)
    for kind, convert in _CONVERTERS.items():
        if isinstance(value, kind):
            return convert(value)
    return value


def _array(values: Sequence[Any]) -> str:
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return _array(value)
    text: str = text_of(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(value: Jsonb) -> str:
    text: str | bytes = (value.dumps or dumps)(value.obj)
    return text if isinstance(text, str) else text.decode()


# In this order: a bool is an int, and a datetime is a date.
_CONVERTERS: "dict[type[Any], Callable[[Any], str]]" = {
    str: lambda value: str(value.value) if isinstance(value, Enum) else str(value),
    bool: lambda value: "t" if value else "f",
    int: lambda value: str(int(value)),
    float: repr,
    Decimal: str,
    UUID: str,
    datetime: lambda value: value.isoformat(),
    date: lambda value: value.isoformat(),
    bytes: lambda value: "\\x" + value.hex(),
    memoryview: lambda value: "\\x" + value.hex(),
    list: _array,
    tuple: _array,
    Jsonb: _json,
}
