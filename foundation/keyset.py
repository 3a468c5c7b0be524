"""Pages of a large table by the key of a row: no OFFSET and no count of the whole table.

An order is a tuple of columns, all ascending or all descending ("-"), of which the last is unique. The key of a row is
its values in these columns. A page begins after a key, so rows that are inserted meanwhile move no other row.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.utils.functional import cached_property

from foundation.handles import b64url, from_b64url

Order = tuple[str, ...]
MAX_COUNTED = 1000  # a list counts no further
CHUNK = 1000  # rows of one statement of an export


def columns_of(order: Order) -> list[str]:
    return [name.removeprefix("-") for name in order]


def reverse(order: Order) -> Order:
    return tuple(name.removeprefix("-") if name.startswith("-") else f"-{name}" for name in order)


def after(queryset: QuerySet[Any], order: Order, key: Sequence[Any] | None) -> QuerySet[Any]:
    """The rows that follow `key` in `order`; from the first row on if there is no key.

    The condition on the first column stands alone, because PostgreSQL finds the first row by it in an index.
    """
    ordered = queryset.order_by(*order)
    if key is None:
        return ordered
    step = "lt" if order[0].startswith("-") else "gt"
    names = columns_of(order)
    beyond, equal = Q(), Q()
    for name, value in zip(names, key, strict=True):
        beyond |= equal & Q(**{f"{name}__{step}": value})
        equal &= Q(**{name: value})
    return ordered.filter(beyond, **{f"{names[0]}__{step}e": key[0]})


def key_of(row: Any, order: Order) -> list[Any]:
    return [getattr(row, name) for name in columns_of(order)]


def encode_key(key: Sequence[Any]) -> str:
    """The key as one word for a link."""
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in key]
    return b64url(json.dumps(texts).encode())


def decode_key(model: type[Model], order: Order, text: str) -> list[Any]:
    """Raises ValueError for anything but a key of this order."""
    try:
        texts = json.loads(from_b64url(text))
    except RecursionError as error:
        raise ValueError("not a key") from error
    names = columns_of(order)
    if not isinstance(texts, list) or len(texts) != len(names):
        raise ValueError("not a key of this order")
    return [_value(model, name, one) for name, one in zip(names, texts, strict=True)]


def _value(model: type[Model], name: str, text: Any) -> Any:
    if not isinstance(text, str) or not text.isprintable():  # PostgreSQL refuses NUL
        raise ValueError("not a value of a key")
    try:
        value = model._meta.get_field(name).to_python(text)  # type: ignore[union-attr]
        return value.astimezone(UTC) if isinstance(value, datetime) else value
    except (ValidationError, OverflowError) as error:
        raise ValueError("not a value of a key") from error


def count_up_to(queryset: QuerySet[Any], limit: int) -> int:
    """The number of rows, or `limit + 1` if there are more than `limit`."""
    return queryset.order_by().values_list("pk")[: limit + 1].count()


def rows_in_chunks(queryset: QuerySet[Any], order: Order, columns: Sequence[str], limit: int) -> Iterator[Any]:
    """The values of `columns` of the first `limit` rows, a chunk in memory at a time."""
    key, width = None, len(columns)
    while limit > 0:
        chunk = after(queryset, order, key).values_list(*columns, *columns_of(order))[: min(CHUNK, limit)]
        rows = list(chunk)
        yield from (row[:width] for row in rows)
        if len(rows) < CHUNK:
            return
        key, limit = rows[-1][width:], limit - len(rows)


class CappedPaginator(Paginator[Any]):
    """Counts no further than MAX_COUNTED. Autocomplete fields page through it."""

    @cached_property
    def count(self) -> int:
        return min(count_up_to(self.object_list, MAX_COUNTED), MAX_COUNTED)  # type: ignore[arg-type]
