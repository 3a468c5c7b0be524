"""The fields of an operation as rows, and tightening: what goes in comes out with the same meaning."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authserver import demo
from operations import api_documents, examples, schemas, wording
from operations.examples import Manner
from operations.schema_rows import (
    ITEM_KINDS,
    KINDS,
    NoRows,
    Row,
    RowProblem,
    has_same_meaning,
    rows_of,
    schema_of,
)
from operations.tightening import TooLarge, tightened

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "type")
texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
counts = st.integers(0, 9)


@st.composite
def a_row(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(list(KINDS)))
    of = draw(st.sampled_from(ITEM_KINDS)) if kind == "list" else ""
    has_limits = kind in {"text", "host", "url", "email", "integer", "number", "list"}
    return {
        "kind": kind, "of": of, "label": draw(st.just("") | texts), "note": draw(st.just("") | texts),
        "required": draw(st.booleans()), "example": draw(st.just("") | texts),
        "minimum": draw(st.none() | counts) if has_limits else None,
        "maximum": draw(st.none() | st.integers(10, 99)) if has_limits else None,
        "choices": tuple(draw(st.lists(texts, min_size=1, max_size=3, unique=True))) if "choice" in {kind, of} else (),
        "pattern": draw(st.sampled_from(["", "^[A-Z]{3}$"])) if "text" in {kind, of} else "",
        "longest": draw(st.none() | st.integers(1, 99)) if of in {"text", "host", "url", "email"} else None,
        "is_unique": draw(st.booleans()) if kind == "list" else False,
    }  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(names, a_row(), max_size=8))
def test_rows_to_schema_and_back(described: dict[str, dict[str, Any]]) -> None:
    rows = [Row(name=name, **more) for name, more in described.items()]
    schema = schema_of(rows)
    assert schemas.problems_with(schema) == []
    back = rows_of(schema)
    assert {row.name: row for row in back} == {row.name: row for row in rows}
    required = [row.name for row in rows if row.required]
    assert [row.name for row in back][: len(required)] == required  # jsonb keeps only the order of `required`
    assert schema_of(back) == schema


@settings(max_examples=50)
@given(st.dictionaries(names, a_row(), max_size=6), st.sampled_from(list(Manner)))
def test_examples_fit_the_schema(described: dict[str, dict[str, Any]], manner: Manner) -> None:
    schema = schema_of([Row(name=name, **more) for name, more in described.items()])
    value, missing = examples.example(schema, manner)
    if not missing:
        assert schemas.first_mismatch(schema, value) is None
        assert value.keys() == described.keys()


DEMO_TYPES = {one["name"]: one for one in demo.configuration()["operation_types"]}


@pytest.mark.parametrize("name", DEMO_TYPES)
@pytest.mark.parametrize("manner", Manner)
def test_the_types_of_the_demo_are_rows_and_have_examples(name: str, manner: Manner) -> None:
    schema = DEMO_TYPES[name]["schema"]
    assert has_same_meaning(schema_of(rows_of(schema)), schema)
    value, missing = examples.example(schema, manner)
    assert missing == [] and schemas.first_mismatch(schema, value) is None


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


TEXT = {"type": "string", "maxLength": 9}


def test_a_field_without_an_example_is_named_and_the_others_are_there() -> None:
    odd = {"type": "string", "pattern": "^[QX]{9}$"}
    schema = closed(("a", "to"), a=TEXT, to=closed(("b", "c"), b=odd, c=TEXT))
    assert examples.example(schema, Manner.PLAIN) == ({"a": "Example", "to": {"b": "…", "c": "Example"}}, ["to.b"])


def test_an_object_is_a_name_with_a_dot() -> None:
    schema = closed(("to",), to=closed(("name",), name=TEXT, iban=TEXT))
    assert [(row.name, row.required) for row in rows_of(schema)] == [("to.name", True), ("to.iban", False)]
    assert schema_of(rows_of(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string"}, "describes no object"),
        (closed(a={"anyOf": [TEXT, {"type": "integer"}]}), "a has several shapes"),
        (closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": TEXT}}, "rows have no $defs"),
        (closed(a={"type": "integer", "multipleOf": 5}), "a: rows have no multipleOf"),
        (closed(a={"enum": [1, 2]}), "a: rows hold only choices that are texts"),
        (closed(a={"type": ["string", "integer"]}), "a has no simple type"),
        (closed(a={"type": "array", "items": closed(b=TEXT)}), "a: an item has no simple type"),
        (closed(a=closed()), "a is an object without fields"),
        (closed(**{"a b": TEXT}), "a b: rows allow only"),
        (closed(("a",), a=closed(b=TEXT)), "required although none of its fields is"),
        (closed(a=TEXT | {"examples": ["x", "y"]}), "rows hold one example"),
    ],
)
def test_the_sentence_about_a_schema_without_rows(schema: Any, said: str) -> None:
    with pytest.raises(NoRows, match=r".") as problem:
        rows_of(schema)
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([Row("a"), Row("a")], "a appears twice"),
        ([Row("a"), Row("a.b")], "a is a field of its own already"),
        ([Row("a.b"), Row("a")], "a appears twice"),
        ([Row("a b")], "a name has letters"),
        ([Row("a.")], "a name has letters"),
        ([Row("a.b.c.d.e")], "at most 3 deep"),
        ([Row("a", "choice")], "a has no choices"),
    ],
)
def test_rows_that_contradict_each_other(rows: list[Row], said: str) -> None:
    with pytest.raises(RowProblem) as problem:
        schema_of(rows)
    assert said in str(problem.value)


# --- tightening

FROM_A_GENERATOR = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "RefundInput",
    "type": "object",
    "properties": {
        "order": {"type": "string", "title": "Order"},
        "reason": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "amount": {"$ref": "#/definitions/Amount"},
        "tags": {"type": "array"},
        "site": {"type": "string", "format": "url"},
    },
    "required": ["order", "amount"],
    "definitions": {"Amount": {"type": "object", "required": ["value"], "properties": {"value": {"type": "number"}}}},
}


def test_a_common_schema_is_tightened_and_every_change_is_named() -> None:
    schema, changes = tightened(FROM_A_GENERATOR)
    assert schemas.problems_with(FROM_A_GENERATOR) and schemas.problems_with(schema) == []
    assert [row.name for row in rows_of(schema)] == ["order", "amount.value", "reason", "tags", "site"]
    for said in (
        "the schema: the object was closed", "/amount: the object was closed", "/order: at most 200 characters",
        "/reason: null is no longer allowed", "/reason: the default was removed", "/tags: at most 20 items",
        "/tags: its items are texts", "/site: the format url is written uri",
    ):  # fmt: skip
        assert any(change.startswith(said) for change in changes), (said, changes)


def test_tightening_twice_changes_nothing_more() -> None:
    once, _ = tightened(FROM_A_GENERATOR)
    assert tightened(once) == (once, [])


@pytest.mark.parametrize("keyword", ["if", "not", "patternProperties", "dependentSchemas"])
def test_a_keyword_that_decides_is_never_dropped(keyword: str) -> None:
    schema, _ = tightened({"type": "object", "properties": {"a": TEXT}, keyword: {}})
    assert any(f"{keyword} is not supported" in problem for problem in schemas.problems_with(schema))


def test_a_schema_that_refers_to_itself() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/tree"}}}
    with pytest.raises(TooLarge, match="refers to itself"):
        tightened(tree | {"$defs": {"tree": tree}})


def test_a_schema_that_grows_when_its_references_are_written_out() -> None:
    parts = {f"p{n}": {"type": "object", "properties": {x: {"$ref": f"#/$defs/p{n + 1}"} for x in "abcdefgh"}}
             for n in range(12)}  # fmt: skip
    with pytest.raises(TooLarge, match="too large"):
        tightened({"type": "object", "properties": {"x": {"$ref": "#/$defs/p0"}}, "$defs": {**parts, "p12": TEXT}})


def test_a_schema_that_describes_millions_of_fields_is_bounded() -> None:
    parts = {f"p{n}": closed(tuple("abcdefgh"), **{x: {"$ref": f"#/$defs/p{n + 1}"} for x in "abcdefgh"})
             for n in range(12)}  # fmt: skip
    schema = closed(("x",), x={"$ref": "#/$defs/p0"}) | {"$defs": {**parts, "p12": TEXT}}
    assert schemas.problems_with(schema) == []
    _, missing = examples.example(schema, Manner.PLAIN)
    assert missing
    assert len(wording.placeholders(schema)) < 5000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from(["string", "object", "#/$defs/a", "uri", "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "$ref", "$defs", "a", "anyOf", "allOf", "required", "enum",
                         "format", "default", "maxLength", "minItems", "exclusiveMinimum", "minimum", "inputSchema",
                         "paths", "/x", "post", "parameters", "requestBody", "content", "schema", "tools"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50)
@given(json_values)
def test_any_document_is_read_or_refused(document: Any) -> None:
    """Never another exception: the text comes from an administrator's clipboard."""
    try:
        for found in api_documents.operations_in(document):
            schema, _ = api_documents.read(found)
            if not schemas.problems_with(schema):
                rows_of(schema)
                examples.example(schema, Manner.PLAIN)
    except (api_documents.NoOperation, NoRows):
        pass


OPEN_API = {
    "openapi": "3.0.3",
    "paths": {
        "/orders/{order}/refunds": {
            "parameters": [{"name": "order", "in": "path", "required": True, "schema": {"type": "string"}}],
            "post": {
                "summary": "Refund an order",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refund"}}}},
            },
        }
    },
    "components": {
        "schemas": {
            "Refund": {
                "type": "object",
                "required": ["amount"],
                "properties": {
                    "amount": {"type": "number", "format": "double"},
                    "currency": {"type": "string", "enum": ["EUR", "USD"], "nullable": True},
                },
            }
        }
    },
}


def test_an_operation_of_an_open_api_document() -> None:
    (found,) = api_documents.operations_in(OPEN_API)
    assert (found.key, found.title) == ("POST /orders/{order}/refunds", "Refund an order")
    schema, changes = api_documents.read(found)
    assert schemas.problems_with(schema) == []
    assert [(row.name, row.kind, row.required) for row in rows_of(schema)] == [
        ("order", "text", True), ("amount", "number", True), ("currency", "choice", False),
    ]  # fmt: skip
    assert any("joined" in change for change in changes)


@pytest.mark.parametrize(
    "wrap", [lambda tool: tool, lambda tool: {"tools": [tool]}, lambda t: {"result": {"tools": [t]}}]
)
def test_a_tool_of_an_mcp_server(wrap: Any) -> None:
    document = wrap({"name": "refund", "title": "Refund", "inputSchema": FROM_A_GENERATOR})
    (found,) = api_documents.operations_in(document)
    # Its references lead into the tool's own schema, not into the document around it.
    schema, _ = api_documents.read(found)
    assert found.key == "tool refund" and schemas.problems_with(schema) == []
