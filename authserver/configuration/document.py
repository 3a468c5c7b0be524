"""A configuration file that was read: the objects of each section, with their lines.

`read_document` reports every problem that needs no database: YAML, unknown keys, types, keys that
two objects share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from authserver.configuration import json_schema, yaml_format
from authserver.configuration.differences import Values
from authserver.configuration.problems import Place, Problem, WrongFile
from authserver.configuration.sections import SECTIONS
from authserver.configuration.yaml_format import Parsed


@dataclass(frozen=True)
class Document:
    objects: dict[str, dict[str, Values]]  # section → key → the object; without the sections that the file leaves out
    parsed: Parsed

    def find(self, section: str, key: str) -> Values | None:
        return self.objects.get(section, {}).get(key)

    def problem(self, section: str, key: str, below: Sequence[str | int], text: str) -> Problem:
        """A problem of one object, with the line of the nearest value."""
        if key not in self.objects.get(section, {}):  # an object that --prune changes
            return Problem(0, (section,), f"{key}: {text}")
        place: Place = (section, list(self.objects[section]).index(key), *below)
        return Problem(self.parsed.line_of(place), place, text)


def read_document(content: bytes) -> Document:
    """Raises WrongFile."""
    parsed = yaml_format.parse(content)
    if problems := json_schema.find_mismatches(parsed) or _find_doubles(parsed):
        raise WrongFile(problems)
    objects = {name: _by_key(name, parsed.value[name]) for name in SECTIONS if name in parsed.value}
    return Document(objects, parsed)


def _by_key(name: str, objects: list[Values]) -> dict[str, Values]:
    section = SECTIONS[name]
    return {values[section.key]: values for values in map(section.normalize, objects)}


def _find_doubles(parsed: Parsed) -> list[Problem]:
    """Objects with a key that an earlier object of their section has."""
    found = []
    for name, section in SECTIONS.items():
        lines: dict[str, int] = {}
        for index, values in enumerate(parsed.value.get(name, [])):
            place, key = (name, index, section.key), values[section.key].strip()
            line = parsed.line_of(place)
            if key in lines:
                found.append(Problem(line, place, f"line {lines[key]} has the same {section.key}"))
            lines.setdefault(key, line)
    return found
