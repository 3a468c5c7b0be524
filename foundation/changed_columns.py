"""Saving a row that somebody changed: only the changed columns are written.

Other columns may be newer in the database than in the form or file that was changed. Saving the
whole row would undo every change committed meanwhile, for example a suspension, a rotated secret or
a count.
"""

from collections.abc import Iterable

from django.db import models


def save_changed(row: models.Model, changed: Iterable[str]) -> None:
    """Inserts a new row. Of an existing row, updates the columns among the fields that `changed` names."""
    row.save(update_fields=None if row._state.adding else _columns(row, set(changed)))


def _columns(row: models.Model, changed: set[str]) -> list[str]:
    """The changed columns, and the `auto_now` columns if any column changed."""
    fields = row._meta.concrete_fields
    columns = sorted(changed & {field.name for field in fields})
    auto_now = [field.name for field in fields if getattr(field, "auto_now", False)]
    return columns + (auto_now if columns else [])
