"""Explains to an agent why its value does not match the schema. Pure.

The explanation names the field and the schema's requirement. The schema is public: GET
/v1/operation-types lists it. The value may be secret, so the explanation repeats neither the value
nor the names of unknown fields.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from jsonschema import ValidationError

MAX_LISTED = 20  # maximum of values or fields that one sentence lists
_TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
# Keyword → its requirement in words.
_WANTS: dict[str, Callable[[Any], str]] = {
    "type": lambda wanted: f"must be {_types(wanted)}",
    "enum": lambda wanted: f"must be one of {_list(map(_display, wanted))}",
    "const": lambda wanted: f"must be {_display(wanted)}",
    "format": lambda wanted: f"must have the format {wanted}",
    "pattern": lambda wanted: f"must match the pattern {_spelled(wanted)}",
    "minLength": lambda wanted: f"must have at least {_count(wanted, 'character')}",
    "maxLength": lambda wanted: f"must have at most {_count(wanted, 'character')}",
    "minimum": lambda wanted: f"must be at least {wanted}",
    "maximum": lambda wanted: f"must be at most {wanted}",
    "exclusiveMinimum": lambda wanted: f"must be more than {wanted}",
    "exclusiveMaximum": lambda wanted: f"must be less than {wanted}",
    "multipleOf": lambda wanted: f"must be a multiple of {wanted}",
    "minItems": lambda wanted: f"must have at least {_count(wanted, 'item')}",
    "maxItems": lambda wanted: f"must have at most {_count(wanted, 'item')}",
    "uniqueItems": lambda _: "must not have the same item twice",
    "minProperties": lambda wanted: f"must have at least {_count(wanted, 'field')}",
    "maxProperties": lambda wanted: f"must have at most {_count(wanted, 'field')}",
    "anyOf": lambda wanted: f"must match one of the {len(wanted)} alternatives in anyOf",
    "oneOf": lambda wanted: f"must match exactly one of the {len(wanted)} alternatives in oneOf",
    "items": lambda _: "has more items than are allowed",
    "contains": lambda _: "does not have the items that contains requires",
}


def describe(error: ValidationError) -> str:
    """One sentence, such as `items/0/amount is missing`."""
    place, problem = locate(error)
    return f"{'/'.join(map(str, place)) or 'the object'} {problem}"


def locate(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """The keys and list positions of the mismatch, and the rest of the sentence about it."""
    keyword, place = str(error.validator), tuple(error.absolute_path)
    wanted: Any = error.validator_value
    value: Any = error.instance
    schema: Any = error.schema
    if keyword == "required":
        return (*place, _missing(wanted, value)), "is missing"
    if keyword == "dependentRequired":
        name, others = next((name, others) for name, others in wanted.items() if name in value and {*others} - {*value})
        return (*place, _missing(others, value)), f"is missing: {name} requires it"
    if keyword == "additionalProperties":
        return place, f"has an unknown field; {_known(schema.get('properties', {}))}"
    if error.validator is None:  # the schema `false`: jsonschema does not report which field
        return place, "has a forbidden part"
    wants = _WANTS.get(keyword)
    return place, wants(wanted) if wants else f"does not match the schema ({keyword})"


def _missing(names: Iterable[str], value: Any) -> str:
    return next(name for name in names if name not in value)


def _known(names: Iterable[str]) -> str:
    listed = _list(names)
    return f"the known fields are {listed}" if listed else "no field is known"


def _types(wanted: str | list[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    return " or ".join(_TYPES.get(name, name) for name in names)


def _spelled(pattern: str) -> str:
    """error_description cannot contain a backslash or a quote (RFC 6749 5.2), and half a pattern would mislead."""
    return "that its schema has" if {"\\", '"'} & {*pattern} else pattern


def _list(names: Iterable[str]) -> str:
    all_names = list(names)
    more = ", ..." if len(all_names) > MAX_LISTED else ""
    return ", ".join(all_names[:MAX_LISTED]) + more


def _display(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
