"""Which schemas an administrator may give, and what fits one."""

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
        (closed(a=ANY | {"$schema": "http://[::1"}), "$schema stands at the top alone"),
        (
            closed(a=ANY) | {"$schema": "http://json-schema.org/draft-04/schema#"},
            "and is https://json-schema.org/draft",
        ),
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


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "fits", "does_not"),
        [
            (
                "uri",
                ["https://bank.example.com/a?b#c", "urn:isbn:1", "http://[::1]:8443/"],
                ["a", "http://[::1", "a b:"],
            ),
            (
                "date-time",
                ["2026-11-24T09:30:00Z", "2026-11-24T09:30:00.25+02:00"],
                [
                    "2026-11-24",
                    "2026-02-30T09:30:00Z",
                    "2026-11-24 09:30:00Z",
                    "2026-11-24T09:30:00",
                    "0000-01-01T00:00:00Z",
                ],
            ),
            ("time", ["09:30:00Z", "23:59:59.9-05:00"], ["09:30", "24:00:00Z", "09:30:00"]),
            ("ipv4", ["10.0.0.6", "255.255.255.255"], ["10.0.0", "010.0.0.6", "10.0.0.256", "\u0661.2.3.4"]),
            ("ipv6", ["::1", "::ffff:10.0.0.6", "2001:db8::"], ["1::2::3", "::1%eth0", "[::1]", "10.0.0.6"]),
            (
                "hostname",
                ["localhost", "bank.example.com", "xn--bnk-6cd.example.com"],
                ["-a.example", "a_b.example", "", "b\u0430nk.example", "\u017f.example", "\u212a.example", "a" * 64],
            ),
        ],
    )
    def test_that_are_checked(self, name: str, fits: list[str], does_not: list[str]) -> None:
        schema = closed(a={"type": "string", "format": name})
        assert problems_with(schema) == []
        for value in fits:
            assert first_mismatch(schema, {"a": value}) is None, value
            for almost in (value + "\n", " " + value, value + "\x00", value + "\u200b", value + "\ud800"):
                assert first_mismatch(schema, {"a": almost}) is not None, almost
        for value in does_not:
            assert first_mismatch(schema, {"a": value}) is not None, value

    @pytest.mark.parametrize("name", ["uri", "date-time", "time", "ipv4", "ipv6", "hostname"])
    def test_speak_of_strings_alone(self, name: str) -> None:
        assert first_mismatch(closed(a={"type": ["string", "null"], "format": name}), {"a": None}) is None

    @pytest.mark.parametrize("value", ["(" * 8000, "a{99999999999999999999}", "(a)\\1", "\ud800"])
    def test_a_pattern_that_an_agent_sends_is_only_read(self, value: str) -> None:
        assert first_mismatch(closed(a={"type": "string", "format": "regex"}), {"a": value}) is not None


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
