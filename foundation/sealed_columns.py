"""The columns whose values are sealed (foundation/keyring.py). The one list of them: every SealedField of a model.

A sealed value belongs to its place: table, column and row. So a value that was copied to another
row cannot be opened there.
"""

from collections.abc import Mapping
from typing import Any, cast

from django.apps import apps
from django.db import models, transaction
from django.db.models import Q

from foundation.keyring import KeyringError, open_sealed, seal


class SealedField(models.BinaryField):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A column of sealed values. `identified_by` names the field whose value identifies the row in their place."""

    def __init__(self, *args: Any, identified_by: str = "pk", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.identified_by = identified_by

    def deconstruct(self) -> Any:
        """For migrations it is an ordinary binary column."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.BinaryField", args, kwargs

    def place_in(self, row: models.Model) -> str:
        return place_of(self.model, self.name, getattr(row, self.identified_by))

    def open_in(self, row: models.Model) -> bytes | None:
        """The value in clear; None if the column is empty. Raises KeyringError."""
        sealed = getattr(row, self.name)
        return None if sealed is None else open_sealed(bytes(sealed), place=self.place_in(row))


def place_of(model: type[models.Model], column: str, row: object) -> str:
    """The place of a value, for `seal` and `open_sealed`. `row` is the value of the field `identified_by`."""
    if not isinstance(model._meta.get_field(column), SealedField):
        raise TypeError(f"{model.__name__}.{column} is no SealedField: its values would not be sealed again")
    return f"{model._meta.db_table}:{column}:{row}"


def sealed_fields(model: type[models.Model]) -> list[SealedField]:
    return [field for field in model._meta.concrete_fields if isinstance(field, SealedField)]


def sealed_columns() -> dict[type[models.Model], list[SealedField]]:
    """Every model that has sealed columns, with these."""
    found = {model: sealed_fields(model) for model in apps.get_models()}
    return {model: fields for model, fields in found.items() if fields}


def rows_with_values(model: type[models.Model], database: str | None = None) -> models.QuerySet[models.Model]:
    """The rows of which at least one sealed column has a value."""
    has_value = Q()
    for field in sealed_fields(model):
        has_value |= Q(**{f"{field.name}__isnull": False})
    return model._default_manager.using(database).filter(has_value)


def find_unopenable(
    model: type[models.Model], keys: Mapping[str, bytes], database: str
) -> tuple[int, dict[str, tuple[int, str]]]:
    """Opens every sealed value of this model with these keys.

    Returns how many were opened, and for each column how many were not, and why the first was not.
    """
    opened = 0
    refused: dict[str, tuple[int, str]] = {}
    for row in rows_with_values(model, database).iterator():
        for field in sealed_fields(model):
            if (value := getattr(row, field.name)) is None:
                continue
            try:
                open_sealed(bytes(value), place=field.place_in(row), keys=keys)
                opened += 1
            except KeyringError as error:
                column = f"{model._meta.db_table}.{field.name}"
                count, first = refused.get(column, (0, str(error)))
                refused[column] = (count + 1, first)
    return opened, refused


@transaction.atomic(durable=True)
def reseal(model: type[models.Model]) -> int:
    """Seals every value of this model again, under the first key-encryption key of the file.

    Returns the number of rows.
    """
    fields = sealed_fields(model)
    rows = list(rows_with_values(model).select_for_update())
    for row in rows:
        values = {field.name: _resealed(field, row) for field in fields if getattr(row, field.name) is not None}
        model._default_manager.filter(pk=row.pk).update(**values)
    return len(rows)


def _resealed(field: SealedField, row: models.Model) -> bytes:
    place = field.place_in(row)
    return seal(open_sealed(bytes(cast(bytes, getattr(row, field.name))), place=place), place=place)
