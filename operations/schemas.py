"""JSON Schemas of operation types: which ones we accept, and checking a value against one. Pure.

A schema is written by an administrator and run on what an agent sends. So it may not fetch anything
(`$ref` only into its own `$defs`), must be small, may hold no pattern that runs for ever, and every
object in it must be closed: a field that the schema does not know could not be shown to the person.
"""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

MAX_SCHEMA_BYTES = 16_384
MAX_DEPTH = 8
MAX_PATTERN = 200
MAX_FIELDS = 40
MAX_VALUE_BYTES = 8_192

_REFUSED_KEYWORDS = frozenset(
    {"$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$vocabulary", "patternProperties",
     "propertyNames", "unevaluatedProperties", "not", "dependentSchemas", "if", "then", "else"}
)  # fmt: skip
# A quantified group that holds a quantifier: the shape of catastrophic backtracking.
_NESTED_QUANTIFIER = re.compile(r"\([^)]*[+*}][^)]*\)\s*[+*{]")
_BACKREFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?[=!<]")


def problems_with(schema: Any) -> list[str]:
    """What stands against using this as an operation type's schema; empty where nothing does."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return ['the schema must describe an object ("type": "object")']
    if len(repr(schema)) > MAX_SCHEMA_BYTES:
        return [f"the schema is larger than {MAX_SCHEMA_BYTES} bytes"]
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return [f"not a JSON Schema (2020-12): {error.message[:200]}"]
    found = list(_walk(schema, "", 0))
    if "type" in schema.get("properties", {}):
        found.append("`type` is the operation type's own name; leave it out of properties")
    if len(schema.get("properties", {})) > MAX_FIELDS:
        found.append(f"more than {MAX_FIELDS} fields cannot be shown to a person")
    return found


def _walk(schema: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    where = path or "the schema"
    if depth > MAX_DEPTH:
        yield f"{where} is nested more than {MAX_DEPTH} deep"
        return
    for keyword in sorted(_REFUSED_KEYWORDS & schema.keys()):
        yield f"{where}: {keyword} is not supported"
    if "$ref" in schema and not str(schema["$ref"]).startswith("#/$defs/"):
        yield f"{where}: $ref may only point into #/$defs/"
    if not schema.keys() & {"type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"}:
        yield f"{where}: says nothing about its type"
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield f'{where}: every object must say "additionalProperties": false'
    if isinstance(kinds := schema.get("type"), list) and "object" in kinds:
        yield f"{where}: an object may not share its type with others"
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{where}: an array must describe its items"
    if "pattern" in schema:
        yield from _pattern_problems(schema["pattern"], where)
    for name, part in _parts(schema):
        yield from _walk(part, f"{path}/{name}", depth + 1)


def _pattern_problems(pattern: str, where: str) -> Iterator[str]:
    if len(pattern) > MAX_PATTERN:
        yield f"{where}: the pattern is longer than {MAX_PATTERN} characters"
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"{where}: the pattern does not compile: {error}"
    if _NESTED_QUANTIFIER.search(pattern) or _BACKREFERENCE.search(pattern):
        yield f"{where}: the pattern could run for ever (nested quantifier, backreference or look-around)"


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
    """Why `value` (without its `type`) does not fit; names the place, never repeats the value."""
    if len(repr(value)) > MAX_VALUE_BYTES:
        return f"is larger than {MAX_VALUE_BYTES} bytes"
    for error in Draft202012Validator(schema).iter_errors(value):
        place = "/".join(str(part) for part in error.absolute_path) or "the object"
        return f"{place} does not fit the schema ({error.validator})"
    return None
