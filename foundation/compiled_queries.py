"""Queries that Django compiles to SQL once per process.

For most of our queries, Django needs longer to build the SQL than PostgreSQL needs to answer it. A
compiled query is written like any other, with a `Parameter` for each value that a call supplies. So
each condition stays in one place (for example `GrantQuerySet.alive`), and the SQL is Django's own.

    _ALIVE = CompiledQuery(
        lambda: Grant.objects.alive(Parameter("now")).filter(pk=Parameter("grant")).values_list("pk")
    )
    _ALIVE.any(now=now, grant=grant_id)

A compared value is never None, because SQL's `= NULL` matches nothing. Values are sent without a
field's conversion, so they must already have the column's type.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.sql import UpdateQuery

Row = TypeVar("Row", covariant=True)


@dataclass(frozen=True)
class _Blank:
    """The position of a supplied value among a statement's parameters."""

    name: str


class Parameter(Expression):
    """A value that each call supplies by name."""

    def __init__(self, name: str, output_field: "Field[Any, Any] | None" = None) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, _compiler: Any, _connection: Any) -> Any:
        return "%s", [_Blank(self.name)]


@dataclass(frozen=True)
class _Statement:
    sql: str
    parameters: tuple[Any, ...]

    def filled(self, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The SQL and its parameters. Raises KeyError for a value that the call did not supply."""
        return self.sql, [given[one.name] if isinstance(one, _Blank) else one for one in self.parameters]


class CompiledQuery(Generic[Row]):
    """A SELECT, compiled from the queryset that `build` returns. `build` is called once."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Row]]") -> None:
        self._build = build
        self._ready: _Ready | None = None

    def __call__(self, **given: Any) -> list[Row]:
        ready = self._ready = self._ready or self._compile()
        connection = connections[DEFAULT_DB_ALIAS]
        if ready.queryset.query.select_for_update and not connection.in_atomic_block:
            raise transaction.TransactionManagementError("a row is locked inside a transaction")
        # Runs Django's own conversion from rows to objects, with a compiler that has compiled
        # already.
        queryset, compiler = ready.queryset._chain(), copy.copy(ready.compiler)
        filled = ready.statement.filled(given)
        compiler.connection = connection
        compiler.as_sql = lambda *_, **__: filled
        compiler.get_converters = lambda _: ready.converters
        queryset.query.get_compiler = lambda *_, **__: compiler
        return list(queryset._iterable_class(queryset))

    def first(self, **given: Any) -> Row | None:
        """The row of a query that finds at most one row."""
        found = self(**given)
        return found[0] if found else None

    def any(self, **given: Any) -> bool:
        return bool(self(**given))

    def _compile(self) -> "_Ready":
        queryset: Any = self._build()
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        selected = [expression for expression, *_ in compiler.select]
        return _Ready(queryset, compiler, compiler.get_converters(selected), _Statement(sql, tuple(parameters)))


@dataclass(frozen=True)
class _Ready:
    queryset: Any
    compiler: Any  # an SQLCompiler, possibly with another thread's connection
    converters: Mapping[int, Any]
    statement: _Statement


class CompiledUpdate:
    """A conditional UPDATE of the rows that `build` selects. Returns the number of changed rows."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Any]]", **values: Any) -> None:
        self._build, self._values = build, values
        self._statement: _Statement | None = None

    def __call__(self, **given: Any) -> int:
        self._statement = self._statement or self._compile()
        connection = connections[DEFAULT_DB_ALIAS]
        with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(*self._statement.filled(given))
            return int(cursor.rowcount)

    def _compile(self) -> _Statement:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._values)
        query.clear_ordering(force=True)
        query.clear_select_clause()
        sql, parameters = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        return _Statement(sql, tuple(parameters))


def names_of(model: type[Model], prefix: str = "") -> list[str]:
    """The names of all columns, for `only`."""
    return [f"{prefix}{field.name}" for field in model._meta.local_concrete_fields]


def insert(rows: Sequence[Model], *, ignore_conflicts: bool = False) -> None:
    """Inserts rows of one model in one statement. Does not read back keys that the database generates."""
    connection = connections[DEFAULT_DB_ALIAS]
    sql, values = _inserting(rows, connection)
    with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(sql + (" ON CONFLICT DO NOTHING" if ignore_conflicts else ""), values)


def insert_or_roll_back(rows: Sequence[Model]) -> None:
    """Like `insert`, inside a savepoint: the caller may catch DatabaseError and continue the transaction.

    Savepoint, rows and release take one round trip.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    sql, values = _inserting(rows, connection)
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SAVEPOINT insert_rows; {sql}; RELEASE SAVEPOINT insert_rows", values)
        except DatabaseError:
            cursor.execute("ROLLBACK TO SAVEPOINT insert_rows; RELEASE SAVEPOINT insert_rows")
            raise


def _inserting(rows: Sequence[Model], connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    fields, head, row = _insertion(type(rows[0]))
    values = [field.get_db_prep_save(field.pre_save(one, True), connection) for one in rows for field in fields]
    return f"{head}{', '.join([row] * len(rows))}", values


@cache
def _insertion(model: type[Model]) -> "tuple[list[Field[Any, Any]], str, str]":
    fields = [field for field in model._meta.local_concrete_fields if not field.db_returning]
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 - the names are those of our own models
    return fields, head, f"({', '.join(['%s'] * len(fields))})"
