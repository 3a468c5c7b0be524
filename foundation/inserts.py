"""INSERT of rows that the caller has made completely: without signals, and without reading anything back."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.models import Field, Model

from foundation.prepared_statements import Statement, execute


def insert(rows: Sequence[Model], *, ignore_conflicts: bool = False) -> None:
    """Inserts rows of one model in one statement. Does not read back keys that the database generates.

    One row is inserted by a prepared statement. Several are sent as text: each number of them would be a
    statement of its own.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    fields, statements = _insertion(type(rows[0]))
    with transaction.mark_for_rollback_on_error(using=connection.alias):
        if len(rows) == 1:
            execute(statements[ignore_conflicts], _values(fields, rows))
            return
        with connection.cursor() as cursor:
            conflicts = " ON CONFLICT DO NOTHING" if ignore_conflicts else ""
            cursor.execute(_inserting(fields, rows) + conflicts, _values(fields, rows))


def insert_or_roll_back(rows: Sequence[Model]) -> None:
    """Like `insert`, inside a savepoint: the caller may catch DatabaseError and continue the transaction.

    Savepoint, rows and release take one round trip.
    """
    fields, _ = _insertion(type(rows[0]))
    sql, values = _inserting(fields, rows), _values(fields, rows)
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        try:
            cursor.execute(f"SAVEPOINT insert_rows; {sql}; RELEASE SAVEPOINT insert_rows", values)
        except DatabaseError:
            cursor.execute("ROLLBACK TO SAVEPOINT insert_rows; RELEASE SAVEPOINT insert_rows")
            raise


_Fields = list[tuple["Field[Any, Any]", bool]]
# What these store is what the attribute holds, so nothing is asked of the field.
_STORED_AS_IS = frozenset(
    {
        models.BigIntegerField, models.BinaryField, models.BooleanField, models.CharField, models.DateTimeField,
        models.ForeignKey, models.IntegerField, models.PositiveIntegerField, models.PositiveSmallIntegerField,
        models.SmallIntegerField, models.TextField, models.UUIDField,
    }
)  # fmt: skip


def _values(fields: _Fields, rows: Sequence[Model]) -> list[Any]:
    connection = connections[DEFAULT_DB_ALIAS]
    return [
        getattr(row, field.attname) if as_is else field.get_db_prep_save(field.pre_save(row, True), connection)
        for row in rows
        for field, as_is in fields
    ]


def _inserting(fields: _Fields, rows: Sequence[Model]) -> str:
    model, quote = type(rows[0]), connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field, _ in fields)
    row = f"({', '.join(['%s'] * len(fields))})"
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES {', '.join([row] * len(rows))}"  # noqa: S608 - the names are those of our own models


@cache
def _insertion(model: type[Model]) -> tuple[_Fields, tuple[Statement, Statement]]:
    """The columns to write, and the statement for one row: as it is, and where a conflict is ignored."""
    fields = [
        (
            field,
            type(field) in _STORED_AS_IS
            and not getattr(field, "auto_now", False)
            and not getattr(field, "auto_now_add", False),
        )
        for field in model._meta.local_concrete_fields
        if not isinstance(field, models.AutoField)
    ]
    sql = _inserting(fields, [model()])
    return fields, (Statement(sql), Statement(f"{sql} ON CONFLICT DO NOTHING"))
