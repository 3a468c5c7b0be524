"""Queries that are put into SQL once: Django takes longer to say most of ours than PostgreSQL to answer them.

A query is written as everywhere else, with a `Given` where a value comes later; each call fills these in. The
condition stays said in one place (`GrantQuerySet.alive`), and what is sent is what Django itself would send.

    _ALIVE = Rows(lambda: Grant.objects.alive(Given("now")).filter(pk=Given("grant")).values_list("pk"))
    _ALIVE.any(now=now, grant=grant_id)

A value that is given is never None where it is compared (SQL's `= NULL` finds nothing), and fits the column as it is.
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
    """Where in the parameters of a statement a given value belongs."""

    name: str


class Given(Expression):
    """A value that each call names."""

    def __init__(self, name: str, output_field: "Field[Any, Any] | None" = None) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [_Blank(self.name)]


@dataclass(frozen=True)
class _Statement:
    sql: str
    parameters: tuple[Any, ...]

    def filled(self, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Raises KeyError for a value that was not given."""
        return self.sql, [given[one.name] if isinstance(one, _Blank) else one for one in self.parameters]


class Rows(Generic[Row]):
    """A SELECT: what `build` answers, which is called once."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Row]]") -> None:
        self._build = build
        self._ready: _Ready | None = None

    def __call__(self, **given: Any) -> list[Row]:
        ready = self._ready = self._ready or self._compile()
        here = connections[DEFAULT_DB_ALIAS]
        if ready.queryset.query.select_for_update and not here.in_atomic_block:
            raise transaction.TransactionManagementError("a row is locked inside a transaction")
        # Django's own way from rows to objects, with a compiler that has compiled already.
        queryset, compiler = ready.queryset._chain(), copy.copy(ready.compiler)
        filled = ready.statement.filled(given)
        compiler.connection = here
        compiler.as_sql = lambda *_, **__: filled
        compiler.get_converters = lambda _: ready.converters
        queryset.query.get_compiler = lambda *_, **__: compiler
        return list(queryset._iterable_class(queryset))

    def first(self, **given: Any) -> Row | None:
        """Of a query that finds one row at the most."""
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
    compiler: Any  # SQLCompiler; its connection is another thread's, perhaps
    converters: Mapping[int, Any]
    statement: _Statement


class Update:
    """A conditional UPDATE of what `build` finds; the answer is how many rows it changed."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Any]]", **values: Any) -> None:
        self._build, self._values = build, values
        self._statement: _Statement | None = None

    def __call__(self, **given: Any) -> int:
        self._statement = self._statement or self._compile()
        here = connections[DEFAULT_DB_ALIAS]
        with transaction.mark_for_rollback_on_error(using=here.alias), here.cursor() as cursor:
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
    """All columns, for `only`."""
    return [f"{prefix}{field.name}" for field in model._meta.local_concrete_fields]


def insert(rows: Sequence[Model], *, ignore_conflicts: bool = False) -> None:
    """Of one table, in one statement; a key that the database chooses is not read back."""
    here = connections[DEFAULT_DB_ALIAS]
    sql, values = _inserting(rows, here)
    with transaction.mark_for_rollback_on_error(using=here.alias), here.cursor() as cursor:
        cursor.execute(sql + (" ON CONFLICT DO NOTHING" if ignore_conflicts else ""), values)


def insert_or_roll_back(rows: Sequence[Model]) -> None:
    """As `insert`, in a savepoint: the caller may catch its DatabaseError, and the transaction goes on.

    One round trip for savepoint, rows and release.
    """
    here = connections[DEFAULT_DB_ALIAS]
    sql, values = _inserting(rows, here)
    with here.cursor() as cursor:
        try:
            cursor.execute(f"SAVEPOINT insert_rows; {sql}; RELEASE SAVEPOINT insert_rows", values)
        except DatabaseError:
            cursor.execute("ROLLBACK TO SAVEPOINT insert_rows; RELEASE SAVEPOINT insert_rows")
            raise


def _inserting(rows: Sequence[Model], here: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    fields, head, row = _insertion(type(rows[0]))
    values = [field.get_db_prep_save(field.pre_save(one, True), here) for one in rows for field in fields]
    return f"{head}{', '.join([row] * len(rows))}", values


@cache
def _insertion(model: type[Model]) -> "tuple[list[Field[Any, Any]], str, str]":
    fields = [field for field in model._meta.local_concrete_fields if not field.db_returning]
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 - names of our own models
    return fields, head, f"({', '.join(['%s'] * len(fields))})"
