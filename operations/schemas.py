"""JSON Schemas of operation types: which schemas are accepted, and validating a value. Pure.

An administrator writes a schema, and it runs on an agent's input. So a schema may not fetch
anything (`$ref` points only to its own `$defs`, and not in a circle), must be small, and may not
contain a pattern with unbounded running time. Every object in it must be closed, because the prompt
cannot display a field that the schema does not know.
"""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend

from operations import formats, mismatches, patterns

MAX_SCHEMA_BYTES = 16_384
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_DEPTH = 8
MAX_FIELDS = 40
MAX_VALUE_BYTES = 8_192

_REFUSED_KEYWORDS = frozenset(
    {"$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$vocabulary", "patternProperties",
     "propertyNames", "unevaluatedProperties", "not", "dependentSchemas", "if", "then", "else"}
)  # fmt: skip
# Keyword → what to write instead. Any other refused keyword is removed.
_INSTEAD = {
    "patternProperties": "list each field in properties",
    "propertyNames": "list each field in properties",
    "unevaluatedProperties": 'write "additionalProperties": false',
    "if": "make an operation type for each case",
    "then": "make an operation type for each case",
    "else": "make an operation type for each case",
    "dependentSchemas": "make an operation type for each case",
    "not": "list the values that are allowed, by enum or pattern",
    "$dynamicRef": "write $ref to a part of $defs",
}
_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
_REFERENCE = re.compile(r"#/\$defs/[A-Za-z0-9_-]+")
# The JSON Schema meta-schema uses the format `regex`, which jsonschema reads as Python syntax.
# _walk checks patterns in the syntax in which they run.
_NO_FORMATS = FormatChecker(formats=())


def problems_with(schema: Any) -> list[str]:
    """The reasons why this cannot be the schema of an operation type; empty if there are none."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return ['the schema must describe an object: begin with {"type": "object", "properties": {...}}']
    if is_larger(schema, MAX_SCHEMA_BYTES):
        return [f"the schema is larger than {MAX_SCHEMA_BYTES} bytes: shorten descriptions and lists of choices"]
    try:
        Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
    except SchemaError as error:
        return [_not_a_schema(error)]
    found = list(_walk(schema, "", 0)) or list(_circles(schema))
    if "type" in schema.get("properties", {}):
        found.append(
            "/type: every request has `type` already, the name of the operation type. Remove it from properties,"
            " or rename it, for example to kind"
        )
    if len(schema.get("properties", {})) > MAX_FIELDS:
        found.append(f"the schema has more than {MAX_FIELDS} fields, too many for a prompt: make two operation types")
    return found


def is_larger(value: Any, limit: int) -> bool:
    """Whether this has more than about so many characters as text. Builds no text: parts may be shared many times."""
    size, left = 0, [value]
    while left and size <= limit:
        part = left.pop()
        if isinstance(part, dict):
            size += 2
            left += [*part, *part.values()]
        elif isinstance(part, list):
            size += 2
            left += part
        else:
            size += len(part) + 4 if isinstance(part, str) else len(str(part)) + 2
    return size > limit


def _not_a_schema(error: SchemaError) -> str:
    """The place in the schema, the wrong value, and what is allowed there."""
    path = [str(step) for step in error.absolute_path]
    where = "/".join(path) or "the schema"
    if path[-1:] == ["type"]:
        return (
            f"not a JSON Schema (2020-12): {where} is {error.instance!r}"[:200] + f". Write one of {', '.join(_TYPES)}"
        )
    return f"not a JSON Schema (2020-12): {where}: {error.message[:200]}. Correct or remove this keyword"


def _walk(schema: Any, path: str, depth: int) -> Iterator[str]:
    where = path or "the schema"
    if not isinstance(schema, dict):
        if schema is not False:
            yield f'{where} has no type: write {{"type": "string"}} instead of true'
        return
    if depth > MAX_DEPTH:
        yield f"{where} is nested more than {MAX_DEPTH} deep: move its fields up"
        return
    for problem in (*_problems_with_keywords(schema, is_top=not path), *_problems_with_type(schema)):
        yield f"{where}: {problem}"
    if "pattern" in schema:
        try:
            patterns.check(schema["pattern"])
        except patterns.PatternError as error:
            yield f"{where}: {error}"
    for name, part in _parts(schema):
        yield from _walk(part, f"{path}/{name}", depth + 1)


def _problems_with_keywords(schema: dict[str, Any], *, is_top: bool) -> Iterator[str]:
    for keyword in sorted(_REFUSED_KEYWORDS & schema.keys()):
        yield f"{keyword} is not supported: {_INSTEAD.get(keyword, 'remove it')}"
    if "$schema" in schema and not (is_top and schema["$schema"] == DIALECT):
        yield f"$schema is only allowed at the top, and must be {DIALECT}"
    if "$ref" in schema and not _REFERENCE.fullmatch(str(schema["$ref"])):
        yield "$ref must be #/$defs/ and a name: copy the schema that it leads to into $defs"
    if "format" in schema and schema["format"] not in formats.CHECKER.checkers:
        known = ", ".join(sorted(formats.CHECKER.checkers))
        yield f"the format {schema['format']} is not supported (supported: {known}); use a pattern"


def _problems_with_type(schema: dict[str, Any]) -> Iterator[str]:
    if not schema.keys() & {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}:
        yield 'has no type: add one, for example "type": "string"'
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield 'every object must have "additionalProperties": false, because a prompt displays only known fields'
    if isinstance(kinds := schema.get("type"), list) and "object" in kinds:
        yield 'the type object must be the only type: write "type": "object", and leave the field out if it is empty'
    if schema.get("type") == "array" and "items" not in schema:
        yield 'an array must describe its items: add for example "items": {"type": "string"}'


def _circles(schema: dict[str, Any]) -> Iterator[str]:
    """Every $ref that points to nothing, and every $ref that leads back to itself."""
    definitions = schema.get("$defs", {})
    leads_to = {name: set(_references(part)) for name, part in definitions.items()}
    for name in sorted(set(_references(schema)) - definitions.keys()):
        yield f"there is no $defs/{name}: add it, or correct the $ref"
    for name in sorted(definitions):
        reached: set[str] = set()
        ahead = set(leads_to[name])
        while ahead:
            reached |= ahead
            ahead = {further for one in ahead for further in leads_to.get(one, ())} - reached
        if name in reached:
            yield f"$defs/{name} refers to itself: write out as many levels as an operation needs"


def _references(schema: Any) -> Iterator[str]:
    """The names in $defs that any part of this schema refers to."""
    if isinstance(schema, dict):
        if _REFERENCE.fullmatch(str(schema.get("$ref"))):
            yield str(schema["$ref"]).rpartition("/")[2]
        for _, part in _parts(schema):
            yield from _references(part)


def _check_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not patterns.matches(pattern, value):
        yield ValidationError("does not match the pattern")


_Validator = extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in ("properties", "$defs"):
        yield from schema.get(keyword, {}).items()
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, part in enumerate(schema.get(keyword, [])):
            yield f"{keyword}/{index}", part
    for keyword in ("items", "contains"):
        if keyword in schema:
            yield keyword, schema[keyword]


def first_mismatch(schema: dict[str, Any], value: dict[str, Any]) -> str | None:
    """Why `value` (without its `type`) does not match, or None. Names field and requirement, never the value."""
    if len(repr(value)) > MAX_VALUE_BYTES:
        return f"is larger than {MAX_VALUE_BYTES} bytes"
    try:
        for error in _Validator(schema, format_checker=formats.CHECKER).iter_errors(value):
            return mismatches.describe(error)
    except patterns.PatternError:
        # The schema was stored when another engine ran the patterns. The list of operation types
        # shows the same problem.
        return "cannot be checked: its schema has a pattern that this server no longer supports"
    return None
