"""Which schemas an administrator may give, and what fits one."""

import time
from typing import Any

import pytest

from operations.schemas import first_mismatch, problems_with


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


ANY = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "must describe an object"),
        ({"type": "string"}, "must describe an object"),
        ({"type": "object"}, "additionalProperties"),
        (closed(a={"type": "object"}), "additionalProperties"),
        (closed(a={"type": ["object", "null"]}), "may not share its type"),
        (closed(a={"type": "array"}), "describe its items"),
        (closed(a={"type": "array", "items": True}), "says nothing about its type"),
        (closed(a=True), "says nothing about its type"),
        (closed(a={}), "says nothing about its type"),
        (closed(a={"anyOf": [{"type": "string"}, {}]}), "says nothing about its type"),
        (closed(a={"type": "nonsense"}), "not a JSON Schema"),
        (closed(type=ANY), "the operation type's own name"),
        (closed(**{f"a{n}": ANY for n in range(41)}), "more than 40 fields"),
        (closed(a={"type": "string", "description": "x" * 20_000}), "larger than"),
        (closed(a={"$ref": "https://evil.example.com/schema"}), "$ref is"),
        (closed(a={"$ref": "#"}), "$ref is"),
        (closed(a={"$ref": "#/properties/a"}), "$ref is"),
        (closed(a={"$ref": "#/$defs/nothing"}), "there is no $defs/nothing"),
        (closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"$ref": "#/$defs/x"}}}, "$defs/x refers to itself"),
        (
            closed(a={"$ref": "#/$defs/x"})
            | {"$defs": {"x": {"anyOf": [{"$ref": "#/$defs/y"}]}, "y": {"allOf": [{"$ref": "#/$defs/x"}]}}},
            "refers to itself",
        ),
        (closed(a={"type": "string", "$id": "https://x.example"}), "$id is not supported"),
        (closed() | {"patternProperties": {".*": ANY}}, "patternProperties is not supported"),
        (closed(a={"type": "string", "format": "uri-template"}), "the format uri-template cannot be checked"),
        (closed(a={"type": "string", "pattern": "("}), "not a JSON Schema"),
        (closed(a={"type": "string", "pattern": "a" * 201}), "longer than 200"),
    ],
)
def test_schemas_that_are_not_accepted(schema: Any, problem: str) -> None:
    assert any(problem in found for found in problems_with(schema)), problems_with(schema)


def test_one_that_is_nested_without_end() -> None:
    schema: dict[str, Any] = closed()
    for _ in range(12):
        schema = closed(a=schema)
    assert any("nested more than" in found for found in problems_with(schema))


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(
            a=ANY, b={"type": "integer"}, c={"enum": ["x", "y"]}, d={"const": 1}, e={"type": "string", "format": "date"}
        ),
        closed(a={"type": "array", "items": closed(b=ANY)}),
        closed(a={"$ref": "#/$defs/x"}, b={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"type": "string"}}},
        closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"$ref": "#/$defs/y"}, "y": ANY}},
        closed(a={"type": "array", "prefixItems": [ANY], "items": False}),
    ],
)
def test_schemas_that_are(schema: Any) -> None:
    assert problems_with(schema) == []


class TestPatterns:
    @pytest.mark.parametrize(
        "pattern",
        [
            r"(a+)+$",
            r"((a+))+$",
            r"(?:(a*)b?)*c",
            r"(a|a)*$",
            r"(a|aa)+$",
            r"(?:x{1,9}){1,99}$",
            r"^(a?){30}a{30}$",
            r"(a)\1",
            r"(?=a)b",
            r"(?!a)b",
            r"(?<=a)b",
            r"(?P<x>a)(?P=x)",
        ],
    )
    def test_that_could_run_for_ever(self, pattern: str) -> None:
        assert any("run for ever" in found for found in problems_with(closed(a={"type": "string", "pattern": pattern})))

    @pytest.mark.parametrize(
        "pattern",
        [
            r"^[0-9]{1,9}\.[0-9]{2}$",
            r"^[^@ ]+@[^@ ]+$",
            r"^https://[^ ]+$",
            r"^([0-9]{3}-)+[0-9]$",
            r"^(a|b|cd)?$",
            r"^[a-z][a-z0-9-]{0,62}$",
            r"^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$",
        ],
    )
    def test_that_do_not(self, pattern: str) -> None:
        schema = closed(a={"type": "string", "pattern": pattern})
        assert problems_with(schema) == []
        start = time.monotonic()
        first_mismatch(schema, {"a": "a0-" * 600 + "!"})
        assert time.monotonic() - start < 1

    @pytest.mark.parametrize(
        ("pattern", "value", "fits"),
        [
            (r"^[0-9]+$", "12", True),
            (r"^[0-9]+$", "12\n", False),  # Python's own $ lets a last line break through
            (r"^\d+$", "12", True),
            (r"^\d+$", "١٢", False),  # JSON Schema's \d is 0 to 9
            (r"^\w+$", "naïve", False),
            (r"^[$]+$", "$$", True),
            (r"^\$[0-9]$", "$5", True),
            (r"^a$|^b$", "b", True),
            (r"^a$|^b$", "b\n", False),
        ],
    )
    def test_are_read_as_json_schema_reads_them(self, pattern: str, value: str, fits: bool) -> None:
        schema = closed(a={"type": "string", "pattern": pattern})
        assert problems_with(schema) == []
        assert (first_mismatch(schema, {"a": value}) is None) == fits


@pytest.mark.parametrize(
    ("value", "mismatch"),
    [
        ({"day": "2026-11-24"}, None),
        ({"day": "2026-02-30"}, "day does not fit the schema (format)"),
        ({"day": 7}, "day does not fit the schema (type)"),
        ({"day": "2026-11-24", "secret": "x"}, "the object does not fit the schema (additionalProperties)"),
        ({"day": "x" * 9000}, "is larger than"),
        ({"day": True}, "day does not fit the schema (type)"),
    ],
)
def test_values(value: dict[str, Any], mismatch: str | None) -> None:
    found = first_mismatch(closed(day={"type": "string", "format": "date"}), value)
    assert found == mismatch if mismatch is None else str(found).startswith(mismatch)


def test_a_mismatch_never_repeats_the_value() -> None:
    found = first_mismatch(closed(a={"type": "integer"}, b={"enum": ["x"]}), {"a": "hunter2", "b": "hunter2"})
    assert found and "hunter2" not in found
