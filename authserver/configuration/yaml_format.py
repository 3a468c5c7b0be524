"""Configuration files as YAML: a value with the line of each of its parts, and a value as text.

A file is read by events and not by PyYAML's constructors, so that every value has a line and no tag
can make an object. The scalars are those of JSON (YAML 1.2's core schema): `no` and `2026-01-01` are
texts. Anchors and aliases are refused, because an alias has no line of its own and a few of them
expand to gigabytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from authserver.configuration.problems import Place, Problem, WrongFile
from foundation.forms import MAX_NUMBER, NOT_STORABLE

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50  # the deepest schema of an operation type, and the sections around it
MAX_DIGITS = 30
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    value: Any
    lines: dict[Place, int]

    def line_of(self, place: Place) -> int:
        """The line of the value there, or of the nearest value around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)


def parse(content: bytes) -> Parsed:
    """Raises WrongFile."""
    if len(content) > MAX_BYTES:
        raise WrongFile([Problem(0, (), f"the file has more than {MAX_BYTES} bytes")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrongFile([Problem(line, (), "the file is not UTF-8")]) from error
    try:
        return _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise WrongFile([Problem(line, (), f"this is not YAML: {error.problem or error.context}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise WrongFile([Problem(line, (), f"YAML allows no character U+{int(error.character):04X}")]) from error


class _Reader:
    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def read(self) -> Parsed:
        value: Any = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._note(event, (), "the file has a second document: write one document")
                    break
                value = self._value(next(self.events), ())
        if self.problems:
            raise WrongFile(self.problems)
        return Parsed(value, self.lines)

    def _note(self, event: Any, place: Place, text: str) -> None:
        self.problems.append(Problem(event.start_mark.line + 1, place, text))

    def _value(self, event: Any, place: Place) -> Any:
        self.lines.setdefault(place, event.start_mark.line + 1)
        if len(place) > MAX_DEPTH:
            self._note(event, place[:1], f"values are nested more than {MAX_DEPTH} deep")
            raise WrongFile(self.problems)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._note(event, place, "anchors (&) and aliases (*) are not allowed: write the value out")
        elif event.tag is not None:
            self._note(event, place, "tags (!) are not allowed")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(place)
            case yaml.SequenceStartEvent():
                return self._sequence(place)
            case yaml.ScalarEvent():
                return self._scalar(event, place)
        return None  # an alias, which was noted

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, place)
            inner = (*place, key)
            if key in found:
                self._note(event, inner, f"line {self.lines[inner]} has the same key")
            self.lines.setdefault(inner, event.start_mark.line + 1)
            found[key] = self._value(next(self.events), inner)
        return found

    def _key(self, event: Any, place: Place) -> str:
        key = self._value(event, (*place, "?"))
        del self.lines[(*place, "?")]
        if not isinstance(key, str):
            self._note(event, place, "a key must be text: quote it")
        return str(key)

    def _sequence(self, place: Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found))))
        return found

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Any:
        value = _resolve(event.value) if event.style is None else event.value
        if isinstance(value, str) and NOT_STORABLE.search(value):
            self._note(event, place, "has a character that cannot be stored")
        elif not isinstance(value, str) and value is not None and not abs(value) < MAX_NUMBER:
            self._note(event, place, "has a number that is too large")
        return value


def _resolve(text: str) -> Any:
    """The value of a plain scalar, which is written without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else float("inf")
    return float(text) if _FLOAT.fullmatch(text) else text


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back: without aliases, and with quotes around text that looks like a number."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - likewise
        """Indents the items of a list below its key."""
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In every other style PyYAML would fold these line breaks into a space.
    style = '"' if not {"\r", "\x85", "\u2028", "\u2029"}.isdisjoint(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"{_FLOAT.pattern}\Z"), list("-0123456789"))


def dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
