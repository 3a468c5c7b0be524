"""Queries that Django compiles to SQL once per process, and PostgreSQL plans once per connection.

For most of our queries, Django needs longer to build the SQL than PostgreSQL needs to answer it. A
compiled query is written like any other, with a `Parameter` for each value that a call supplies. So
each condition stays in one place (for example `GrantQuerySet.alive`), and the SQL is Django's own.

    _ALIVE = CompiledQuery(
        lambda: Grant.objects.alive(Parameter("now")).filter(pk=Parameter("grant")).values_list("pk")
    )
    _ALIVE.any(now=now, grant=grant_id)

A compared value is never None, because SQL's `= NULL` matches nothing. Values are sent without a
field's conversion, so they must be what PostgreSQL reads the column's type from. All other values of
a query are part of its SQL, so that PostgreSQL may plan with them.

This is the only module that knows Django's compiler. tests/foundation/test_compiled_shapes.py
compares it with Django, for each shape of a query.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getattr_static
from operator import itemgetter
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import BooleanField, Exists, Expression, F, Field, Func, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query import FlatValuesListIterable, ModelIterable, ValuesListIterable
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init
from django.db.models.sql import UpdateQuery

from foundation.prepared_statements import Statement, execute, literal

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


class ExistsByKey(Exists):
    """EXISTS that PostgreSQL answers by an index for each row.

    A statement that is planned while its tables are small may read all of the other table into a hash
    table instead, and keeps that plan while the table grows. OFFSET rules this out.
    """

    template = "EXISTS(%(subquery)s OFFSET 0)"


def is_any(column: str, name: str) -> Func:
    """`column__in` for a parameter that is a list."""
    # `= ANY` of an array, because IN has as many values as the statement has.
    return Func(
        F(column), Parameter(name), template="%(expressions)s)", arg_joiner=" = ANY(", output_field=BooleanField()
    )


@dataclass(frozen=True)
class _Compiled:
    """A statement and the names of its values, in order."""

    statement: Statement
    names: tuple[str, ...]

    def execute(self, given: Mapping[str, Any]) -> Any:
        """Raises KeyError for a value that the call did not supply."""
        return execute(self.statement, [given[name] for name in self.names])


def _compiled(sql: str, parameters: Iterable[Any]) -> _Compiled:
    parameters = tuple(parameters)
    texts = iter("%s" if isinstance(one, _Blank) else literal(one).replace("%", "%%") for one in parameters)
    filled = re.sub("%[s%]", lambda found: next(texts) if found[0] == "%s" else "%%", sql)
    return _Compiled(Statement(filled), tuple(one.name for one in parameters if isinstance(one, _Blank)))


class CompiledQuery(Generic[Row]):
    """A SELECT, compiled from the queryset that `build` returns. `build` is called once."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Row]]") -> None:
        self._build = build
        self._ready: _Ready | None = None

    def __call__(self, **given: Any) -> list[Row]:
        ready = self._ready = self._ready or self._compile()
        return ready.read(self._rows(ready, given))

    def first(self, **given: Any) -> Row | None:
        """The row of a query that finds at most one row."""
        found = self(**given)
        return found[0] if found else None

    def any(self, **given: Any) -> bool:
        ready = self._ready = self._ready or self._compile()
        return bool(self._rows(ready, given))

    def _rows(self, ready: "_Ready", given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if ready.locks and not connections[DEFAULT_DB_ALIAS].in_atomic_block:
            raise transaction.TransactionManagementError("a row is locked inside a transaction")
        rows: list[tuple[Any, ...]] = ready.compiled.execute(given).fetchall()
        return rows

    def _compile(self) -> "_Ready":
        queryset: Any = self._build()
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        compiled = _compiled(*compiler.as_sql())
        return _Ready(compiled, _reader(queryset, compiler), bool(queryset.query.select_for_update))


@dataclass(frozen=True)
class _Ready:
    compiled: _Compiled
    read: Callable[[list[tuple[Any, ...]]], list[Any]]
    locks: bool


class CompiledUpdate:
    """A conditional UPDATE of the rows that `build` selects. Returns the number of changed rows."""

    def __init__(self, build: "Callable[[], QuerySet[Any, Any]]", **values: Any) -> None:
        self._build, self._values = build, values
        self._compiled: _Compiled | None = None

    def __call__(self, **given: Any) -> int:
        self._compiled = self._compiled or self._compile()
        with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS):
            return int(self._compiled.execute(given).rowcount)

    def _compile(self) -> _Compiled:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._values)
        query.clear_ordering(force=True)
        query.clear_select_clause()
        return _compiled(*query.get_compiler(DEFAULT_DB_ALIAS).as_sql())


def _reader(queryset: Any, compiler: Any) -> Callable[[list[tuple[Any, ...]]], list[Any]]:
    """Makes of PostgreSQL's rows what the queryset would make of them."""
    if queryset._prefetch_related_lookups or queryset._known_related_objects or compiler.has_extra_select:
        raise TypeError("a compiled query has no prefetch_related, no related manager and no hidden columns")
    selected = [expression for expression, *_ in compiler.select]
    converters = [(at, *both) for at, both in compiler.get_converters(selected).items()]
    if queryset._iterable_class is ModelIterable:
        make: Any = _object_maker(compiler)
    else:
        makers: dict[Any, Any] = {ValuesListIterable: tuple, FlatValuesListIterable: itemgetter(0)}
        make = makers[queryset._iterable_class]

    def convert(row: Sequence[Any]) -> Sequence[Any]:
        columns, connection = list(row), connections[DEFAULT_DB_ALIAS]
        for at, functions, expression in converters:
            for function in functions:
                columns[at] = function(columns[at], expression, connection)
        return columns

    if converters:
        return lambda rows: [make(convert(row)) for row in rows]
    return lambda rows: [make(row) for row in rows]


def _object_maker(compiler: Any) -> Callable[[Sequence[Any]], Any]:
    make, annotations = _related_maker(compiler.klass_info, compiler.select), [*compiler.annotation_col_map.items()]
    if not annotations:
        return make

    def make_annotated(row: Sequence[Any]) -> Any:
        made = make(row)
        for name, at in annotations:
            setattr(made, name, row[at])
        return made

    return make_annotated


def _related_maker(info: Any, select: Any) -> Callable[[Sequence[Any]], Any]:
    """Makes an object of one model, and those that select_related adds to it."""
    start, end = info["select_fields"][0], info["select_fields"][-1] + 1
    names = [expression.target.attname for expression, *_ in select[start:end]]
    make, columns = _maker(info["model"], names), slice(start, end)
    related = []
    for one in info.get("related_klass_infos", ()):
        if one["from_parent"]:
            raise TypeError("a compiled query has no inherited tables")
        key = next(at for at in one["select_fields"] if select[at][0].target.primary_key)
        related.append((key, _related_maker(one, select), one["local_setter"], one["remote_setter"]))
    if not related:
        return lambda row: make(row[columns])

    def make_with_related(row: Sequence[Any]) -> Any:
        made = make(row[columns])
        for key, make_other, set_other, set_back in related:
            if row[key] is None:
                set_other(made, None)
            else:
                other = make_other(row)
                set_other(made, other)
                set_back(other, made)
        return made

    return make_with_related


def _maker(model: type[Model], names: list[str]) -> Callable[[Sequence[Any]], Model]:
    """`Model.from_db`; for a model whose objects are merely their columns, without the signals and setters of it."""
    if not _is_plain(model):
        return lambda values: model.from_db(DEFAULT_DB_ALIAS, names, values)

    def make(values: Sequence[Any]) -> Model:
        made = model.__new__(model)
        state = ModelState()
        state.adding, state.db = False, DEFAULT_DB_ALIAS
        attributes = made.__dict__
        attributes["_state"] = state
        attributes.update(zip(names, values, strict=True))
        return made

    return make


def _is_plain(model: Any) -> bool:
    setters = {type(getattr_static(model, field.attname)) for field in model._meta.concrete_fields}
    return (
        model.__init__ is Model.__init__
        and "from_db" not in {name for base in model.__mro__ if base is not Model for name in vars(base)}
        and setters <= {DeferredAttribute, ForeignKeyDeferredAttribute}
        and not any(signal.has_listeners(model) for signal in (pre_init, post_init))
    )


def names_of(model: type[Model], prefix: str = "") -> list[str]:
    """The names of all columns, for `only`."""
    return [f"{prefix}{field.name}" for field in model._meta.local_concrete_fields]
