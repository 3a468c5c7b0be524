"""What every section of the file has: its fields, its rows, and how a row is read, checked and saved."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from audit.record import About
from authserver.configuration.differences import Values

REQUIRED: Any = object()
SECRET = "secret"  # noqa: S105 - the field whose value is a reference to a secret


@dataclass(frozen=True)
class Field:
    """One key of an object in the file."""

    name: str
    schema: Mapping[str, Any]  # JSON Schema of its value
    default: Any = REQUIRED
    attribute: str = ""  # of the row, if it has another name
    is_fixed: bool = False  # cannot change once the object exists
    is_set: bool = False  # a list whose order means nothing
    refers_to: str = ""  # the section whose keys its value or its items are

    @property
    def column(self) -> str:
        return self.attribute or self.name


def column(model: type[models.Model], name: str, **more: Any) -> Field:
    """A field as its column says: type, limits, choices, default, meaning."""
    found: Any = model._meta.get_field(name)
    schema = more.pop("schema", None) or _schema_of(found)
    meaning = str(found.help_text or found.verbose_name).rstrip(".")
    described = {"description": f"{meaning[:1].upper()}{meaning[1:]}."} | schema
    more.setdefault("default", _default_of(found))
    return Field(name, described, is_set=isinstance(found, ArrayField), **more)


def _schema_of(found: Any) -> dict[str, Any]:
    match found:
        case ArrayField():
            return {"type": "array", "uniqueItems": True, "items": _schema_of(found.base_field)}
        case models.BooleanField():
            return {"type": "boolean"}
        case models.IntegerField():
            limits = {"minimum": MinValueValidator, "maximum": MaxValueValidator}
            bounds = {name: [one.limit_value for one in found.validators if isinstance(one, kind)]
                      for name, kind in limits.items()}  # fmt: skip
            bound = {"minimum": max(bounds["minimum"]), "maximum": min(bounds["maximum"])}
            return {"type": ["integer", "null"] if found.null else "integer"} | bound
        case models.JSONField():
            return {"type": ["object", "null"] if found.null else "object"}
        case _:
            least = {} if found.blank or found.choices else {"minLength": 1}
            choices = {"enum": ([""] if found.blank else []) + [value for value, _ in found.flatchoices]}
            return {"type": "string"} | (choices if found.choices else {"maxLength": found.max_length, **least})


def _default_of(found: Any) -> Any:
    if found.has_default():
        value = found.get_default()
        return str(value) if isinstance(value, str) else value  # the text of an enumeration's member
    if found.null:
        return None
    return "" if found.blank else REQUIRED


class Rows(Protocol):
    """Finds the rows that an object refers to: stored ones, and in a check also unsaved ones of the file."""

    def find(self, section: str, key: str) -> Any: ...


@dataclass(frozen=True)
class Confirmations:
    """What the caller of apply_config confirmed, by the names of backends."""

    same_system: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # the new secrets


@dataclass(frozen=True)
class Context:
    """What a check or a save needs besides the object."""

    rows: Rows
    confirmed: Confirmations


@dataclass(frozen=True)
class Audit:
    """Who saves, and when."""

    about: About
    now: datetime


Finding = tuple[tuple[str | int, ...], str]  # below the object: where, and what is wrong


class Section(ABC):
    name: ClassVar[str]
    noun: ClassVar[str]
    model: ClassVar[type[models.Model]]
    key: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    # What --prune writes to an object that the file leaves out, and that in words.
    retired: ClassVar[Values]
    retirement: ClassVar[str] = "deactivate"
    # Fields that full_clean does not check: relations, which the file's references check, and
    # fields that the section reads and writes by itself.
    unchecked: ClassVar[frozenset[str]] = frozenset()

    def administered(self) -> models.QuerySet[Any]:
        """The rows that the file describes."""
        return self.model._default_manager.all()

    def referable_keys(self) -> set[str]:
        """The keys of stored rows that other objects may name."""
        return set(self.model._default_manager.values_list(self.key, flat=True))

    def find_row(self, key: str) -> Any:
        """The administered row with this key, or None."""
        return self.administered().filter(**{self.key: key}).first()

    def lock(self, keys: Iterable[str]) -> None:
        rows = self.model._default_manager.filter(**{f"{self.key}__in": list(keys)}).order_by("pk")
        list(rows.select_for_update(no_key=True).values_list("pk"))

    def read_stored(self) -> dict[str, Values]:
        """Key → the stored object, without secrets."""
        rows = self.administered().order_by(self.key)
        return {getattr(row, self.key): self._stored_values(self.read(row)) for row in rows}

    def _stored_values(self, values: Values) -> Values:
        return {one.name: _normal(one, values[one.name]) for one in self.fields if one.name != SECRET}

    def read(self, row: Any) -> Values:
        return {one.name: getattr(row, one.column) for one in self.fields if one.name != SECRET}

    def normalize(self, values: Mapping[str, Any]) -> Values:
        """All fields in the order of the section. A field that the file leaves out has its default."""
        return {
            one.name: _normal(one, values.get(one.name, deepcopy(one.default)))
            for one in self.fields
            if one.name in values or one.default is not REQUIRED
        }

    def assign(self, row: Any, name: str, value: Any, rows: Rows) -> None:
        """Writes one field to the row's attribute."""
        one = next(one for one in self.fields if one.name == name)
        setattr(row, one.column, rows.find(one.refers_to, value) if one.refers_to and value else value)

    def build(self, values: Values, names: Iterable[str], rows: Rows) -> Any:
        """The row, or a new one, with the named fields as in `values`; not saved."""
        row = self.find_row(values[self.key]) or self.model()
        for name in names:
            self.assign(row, name, values[name], rows)
        return row

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        """The problems of an object that is new or changes in the fields `changed`, whose references exist."""
        row = self.build(values, changed, context.rows)
        yield from self.find_model_problems(row)

    def find_model_problems(self, row: Any) -> Iterator[Finding]:
        checked = {one.column for one in self.fields} - self.unchecked
        try:
            row.full_clean(exclude={one.name for one in row._meta.get_fields()} - checked)
        except ValidationError as error:
            yield from self.findings(error)

    def findings(self, error: ValidationError) -> Iterator[Finding]:
        names = {one.column: one.name for one in self.fields}
        messages = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        for name, texts in messages.items():
            yield from (((names[name],) if name in names else (), text) for text in texts)

    def columns(self, names: Iterable[str]) -> set[str]:
        """The fields' names in the audit log: those of the columns, as in the administration."""
        return {one.column for one in self.fields if one.name in set(names)}

    @abstractmethod
    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        """Saves the object through its lifecycle, in the caller's transaction. Raises ValidationError."""


def _normal(one: Field, value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()  # as in the administration's forms
    if one.is_set and isinstance(value, list):
        return sorted(set(value))
    return value
