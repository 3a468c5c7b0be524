"""The JSON Schema of the file, and whether a parsed file matches it.

`manage.py export_config --schema` prints the schema. `make docs` writes it to docs/config.schema.json.
"""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from authserver.configuration.problems import Place, Problem
from authserver.configuration.section import REQUIRED, Section
from authserver.configuration.sections import SECTIONS
from authserver.configuration.yaml_format import Parsed
from operations import mismatches, schemas

VERSION = 1


def render() -> str:
    return json.dumps(file_schema(), indent=2, ensure_ascii=False) + "\n"


def file_schema() -> dict[str, Any]:
    lists = {
        name: {"type": "array", "items": _object_schema(section), "description": _description(section)}
        for name, section in SECTIONS.items()
    }
    return {
        "$schema": schemas.DIALECT,
        "title": "Countersign configuration",
        "description": "What manage.py apply_config reads and manage.py export_config writes (docs/config.md).",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": {"version": {"const": VERSION, "description": "The version of this format."}, **lists},
    }


def _description(section: Section) -> str:
    return f"Every {section.noun}. Its key is {section.key}. Without this list the file says nothing about any of them."


def _object_schema(section: Section) -> dict[str, Any]:
    properties = {}
    for one in section.fields:
        default = {} if one.default is REQUIRED or one.default is None else {"default": one.default}
        properties[one.name] = dict(one.schema) | default
    required = [one.name for one in section.fields if one.default is REQUIRED]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def find_mismatches(parsed: Parsed) -> list[Problem]:
    """Every place at which the file does not match. No text repeats a value: it may be a secret."""
    errors = Draft202012Validator(file_schema()).iter_errors(parsed.value)
    return [Problem(parsed.line_of(place), place, text) for error in errors for place, text in _describe(error)]


def _describe(error: ValidationError) -> Iterator[tuple[Place, str]]:
    instance: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    if error.validator == "additionalProperties":
        known = list(schema["properties"])
        for name in instance:
            if name not in known:
                yield (*error.absolute_path, name), _unknown_key(name, known)
    elif error.validator == "required":  # jsonschema reports each missing key by itself, in this text only
        missing = next(name for name in wanted if error.message.startswith(repr(name)))
        yield (*error.absolute_path, missing), "is missing"
    else:
        yield mismatches.locate(error)


def _unknown_key(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"is no known key: did you mean {close[0]}?" if close else f"is no known key: {', '.join(known)}"
