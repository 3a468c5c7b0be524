"""Counts that stop at a thousand: a page does not read a whole table to show one number."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from foundation.keyset import MAX_COUNTED, count_up_to


@dataclass(frozen=True)
class Figure:
    """A number of rows. `is_more`: there are more than `count`."""

    count: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"more than {self.count:,}" if self.is_more else f"{self.count:,}"

    def __bool__(self) -> bool:
        return self.count > 0

    def __add__(self, other: "Figure") -> "Figure":
        return Figure(self.count + other.count, self.is_more or other.is_more)


def make_figure(count: int) -> Figure:
    return Figure(min(count, MAX_COUNTED), count > MAX_COUNTED)


def count_rows(rows: QuerySet[Any]) -> Figure:
    return make_figure(count_up_to(rows, MAX_COUNTED))
