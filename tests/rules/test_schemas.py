"""Which schemas an administrator may give, and what fits one."""

from typing import Any

import pytest

from foundation.errors import InvalidAuthorizationDetails
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
        (closed(a={"type": ["object", "null"]}), "must be the only type"),
        (closed(a={"type": "array"}), "describe its items"),
        (closed(a={"type": "array", "items": True}), "has no type"),
        (closed(a=True), "has no type"),
        (closed(a={}), "has no type"),
        (closed(a={"anyOf": [{"type": "string"}, {}]}), "has no type"),
        (closed(a={"type": "nonsense"}), "not a JSON Schema"),
        (closed(type=ANY), "the name of the operation type"),
        (closed(**{f"a{n}": ANY for n in range(41)}), "more than 40 fields"),
        (closed(a={"type": "string", "description": "x" * 20_000}), "larger than"),
        (closed(a={"$ref": "https://evil.example.com/schema"}), "$ref must be"),
        (closed(a={"$ref": "#"}), "$ref must be"),
        (closed(a={"$ref": "#/properties/a"}), "$ref must be"),
        (closed(a={"$ref": "#/$defs/nothing"}), "there is no $defs/nothing"),
        (closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"$ref": "#/$defs/x"}}}, "$defs/x refers to itself"),
        (
            closed(a={"$ref": "#/$defs/x"})
            | {"$defs": {"x": {"anyOf": [{"$ref": "#/$defs/y"}]}, "y": {"allOf": [{"$ref": "#/$defs/x"}]}}},
            "refers to itself",
        ),
        (closed(a={"type": "string", "$id": "https://x.example"}), "$id is not supported"),
        (closed() | {"patternProperties": {".*": ANY}}, "patternProperties is not supported"),
        (closed(a={"type": "string", "format": "uri-template"}), "the format uri-template is not supported"),
        (closed(a=ANY | {"$schema": "http://[::1"}), "$schema is only allowed at the top"),
        (
            closed(a=ANY) | {"$schema": "http://json-schema.org/draft-04/schema#"},
            "must be https://json-schema.org/draft",
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

    @pytest.mark.parametrize("value", ["(" * 8000, "a{99999999999999999999}", "(a)\\1", "\ud800", r"\p{L}{50}"])
    def test_a_pattern_that_an_agent_sends_is_only_read(self, value: str) -> None:
        assert first_mismatch(closed(a={"type": "string", "format": "regex"}), {"a": value}) is not None


@pytest.mark.parametrize(
    ("value", "mismatch"),
    [
        ({"day": "2026-11-24"}, None),
        ({"day": "2026-02-30"}, "day must have the format date"),
        ({"day": 7}, "day must be a string"),
        ({"day": "2026-11-24", "secret": "x"}, "the object has an unknown field; the known fields are day"),
        ({"day": "x" * 9000}, "is larger than"),
        ({"day": True}, "day must be a string"),
    ],
)
def test_values(value: dict[str, Any], mismatch: str | None) -> None:
    found = first_mismatch(closed(day={"type": "string", "format": "date"}), value)
    assert found == mismatch if mismatch is None else str(found).startswith(mismatch)


def test_a_mismatch_never_repeats_the_value() -> None:
    found = first_mismatch(closed(a={"type": "integer"}, b={"enum": ["x"]}), {"a": "hunter2", "b": "hunter2"})
    assert found and "hunter2" not in found


POINT = closed(x={"type": "number"}) | {"required": ["x"]}
MISMATCHES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a missing field", closed(a=ANY) | {"required": ["a"]}, {}, "a is missing"),
    ("the second of two", closed(a=ANY, b=ANY) | {"required": ["a", "b"]}, {"a": "hunter2"}, "b is missing"),
    ("one inside an object", closed(a=POINT), {"a": {}}, "a/x is missing"),
    ("one inside a list", closed(a={"type": "array", "items": POINT}), {"a": [{"x": 1}, {}]}, "a/1/x is missing"),
    ("one behind a $ref", closed(a={"$ref": "#/$defs/p"}) | {"$defs": {"p": POINT}}, {"a": {}}, "a/x is missing"),
    (
        "one that another needs",
        closed(a=ANY, b=ANY) | {"dependentRequired": {"a": ["b"]}},
        {"a": "hunter2"},
        "b is missing: a requires it",
    ),
    (
        "an unknown field",
        closed(a=ANY, b=ANY),
        {"hunter2": 1},
        "the object has an unknown field; the known fields are a, b",
    ),
    (
        "an unknown field inside",
        closed(a=POINT),
        {"a": {"x": 1, "hunter2": 1}},
        "a has an unknown field; the known fields are x",
    ),
    (
        "a field where none is known",
        closed(),
        {"hunter2": 1},
        "the object has an unknown field; no field is known",
    ),
    ("no string", closed(a=ANY), {"a": 4711}, "a must be a string"),
    ("no integer", closed(a={"type": "integer"}), {"a": "hunter2"}, "a must be an integer"),
    ("no boolean", closed(a={"type": "boolean"}), {"a": "hunter2"}, "a must be true or false"),
    ("none of two types", closed(a={"type": ["string", "null"]}), {"a": 4711}, "a must be a string or null"),
    ("none of these", closed(a={"enum": ["EUR", "USD"]}), {"a": "hunter2"}, "a must be one of 'EUR', 'USD'"),
    ("none of these values", closed(a={"enum": [1, None, "x"]}), {"a": "hunter2"}, "a must be one of 1, null, 'x'"),
    (
        "none of many",
        closed(a={"enum": list(range(30))}),
        {"a": 99},
        f"a must be one of {', '.join(map(str, range(20)))}, ...",
    ),
    ("not this", closed(a={"const": "x"}), {"a": "hunter2"}, "a must be 'x'"),
    ("no date", closed(a={"type": "string", "format": "date"}), {"a": "hunter2"}, "a must have the format date"),
    (
        "another pattern",
        closed(a={"type": "string", "pattern": "^[0-9]+$"}),
        {"a": "hunter2"},
        "a must match the pattern ^[0-9]+$",
    ),
    (
        "a pattern that cannot be said",
        closed(a={"type": "string", "pattern": r"^\d+$"}),
        {"a": "hunter2"},
        "a must match the pattern that its schema has",
    ),
    ("too short", closed(a={"type": "string", "minLength": 1}), {"a": ""}, "a must have at least 1 character"),
    ("too long", closed(a={"type": "string", "maxLength": 3}), {"a": "hunter2"}, "a must have at most 3 characters"),
    ("too little", closed(a={"type": "number", "minimum": 5000}), {"a": 4711}, "a must be at least 5000"),
    ("too much", closed(a={"type": "number", "maximum": 100}), {"a": 4711}, "a must be at most 100"),
    ("not more", closed(a={"type": "number", "exclusiveMinimum": 0}), {"a": 0}, "a must be more than 0"),
    ("not less", closed(a={"type": "number", "exclusiveMaximum": 9}), {"a": 4711}, "a must be less than 9"),
    ("no multiple", closed(a={"type": "number", "multipleOf": 5}), {"a": 4711}, "a must be a multiple of 5"),
    (
        "too few items",
        closed(a={"type": "array", "items": ANY, "minItems": 2}),
        {"a": ["hunter2"]},
        "a must have at least 2 items",
    ),
    (
        "too many items",
        closed(a={"type": "array", "items": ANY, "maxItems": 1}),
        {"a": ["hunter2", "x"]},
        "a must have at most 1 item",
    ),
    (
        "an item too many",
        closed(a={"type": "array", "prefixItems": [ANY], "items": False}),
        {"a": ["x", "hunter2"]},
        "a has more items than are allowed",
    ),
    (
        "an item twice",
        closed(a={"type": "array", "items": ANY, "uniqueItems": True}),
        {"a": ["hunter2"] * 2},
        "a must not have the same item twice",
    ),
    ("too few fields", closed(a=ANY) | {"minProperties": 1}, {}, "the object must have at least 1 field"),
    (
        "no alternative",
        closed(a={"anyOf": [ANY, {"type": "null"}]}),
        {"a": 4711},
        "a must match one of the 2 alternatives in anyOf",
    ),
    (
        "both alternatives",
        closed(a={"oneOf": [ANY, ANY]}),
        {"a": "hunter2"},
        "a must match exactly one of the 2 alternatives in oneOf",
    ),
    ("nothing allowed", closed(a=False), {"a": "hunter2"}, "the object has a forbidden part"),
    (
        "nothing it must contain",
        closed(a={"type": "array", "items": ANY, "contains": {"const": "x"}}),
        {"a": ["hunter2"]},
        "a does not have the items that contains requires",
    ),
]


@pytest.mark.parametrize(("schema", "value", "reply"), [c[1:] for c in MISMATCHES], ids=[c[0] for c in MISMATCHES])
def test_a_mismatch_names_the_field_and_what_is_wanted(
    schema: dict[str, Any], value: dict[str, Any], reply: str
) -> None:
    assert first_mismatch(schema, value) == reply
    assert "hunter2" not in reply and "4711" not in reply


def test_every_mismatch_can_be_reported_on_the_wire() -> None:
    for _, schema, value, reply in MISMATCHES:
        error = InvalidAuthorizationDetails(first_mismatch(schema, value) or "")
        assert error.description == reply
