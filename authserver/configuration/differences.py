"""The difference between a file and the database, object by object. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundation.canonical import is_same_json

Values = dict[str, Any]


class Action(StrEnum):
    ADD = "add"
    CHANGE = "change"
    RETIRE = "retire"  # the file leaves it out, and --prune was given
    UNLISTED = "unlisted"  # the file leaves it out
    KEEP = "keep"


# The actions that write something.
WRITES = frozenset({Action.ADD, Action.CHANGE, Action.RETIRE})


@dataclass(frozen=True)
class FieldChange:
    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    section: str
    key: str
    action: Action
    values: Values  # what the object has afterwards
    fields: tuple[FieldChange, ...] = ()

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(one.name for one in self.fields)


def compare(
    section: str, wanted: Mapping[str, Values], stored: Mapping[str, Values], retired: Values, *, prune: bool
) -> list[Change]:
    """One change for each object of the file, in its order, and for each other stored one that `retired` changes."""
    found = [_compare_object(section, key, values, stored.get(key)) for key, values in wanted.items()]
    action = Action.RETIRE if prune else Action.UNLISTED
    for key in sorted(stored.keys() - wanted.keys()):
        values = stored[key] | retired
        if fields := find_field_changes(stored[key], values):
            found.append(Change(section, key, action, values, fields))
    return found


def _compare_object(section: str, key: str, wanted: Values, stored: Values | None) -> Change:
    if stored is None:
        added = tuple(FieldChange(name, None, value) for name, value in wanted.items())
        return Change(section, key, Action.ADD, wanted, added)
    fields = find_field_changes(stored, wanted)
    return Change(section, key, Action.CHANGE if fields else Action.KEEP, wanted, fields)


def find_field_changes(stored: Values, wanted: Values) -> tuple[FieldChange, ...]:
    """The fields of both whose values differ. A reference to a secret is in the file only, and is not compared."""
    return tuple(
        FieldChange(name, stored[name], wanted[name])
        for name in wanted
        if name in stored and not is_same_json(stored[name], wanted[name])
    )
