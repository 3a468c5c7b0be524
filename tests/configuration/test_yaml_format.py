"""YAML: what was written is read again, any text is a value or a problem with a line, and the schema is a schema."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from authserver.configuration import json_schema
from authserver.configuration.differences import Action, compare
from authserver.configuration.document import read_document
from authserver.configuration.problems import WrongFile
from authserver.configuration.yaml_format import dump, parse
from foundation.canonical import is_same_json
from tests.support.budget import examples
from tests.support.configuration import example

ROOT = Path(__file__).resolve().parents[2]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20) | st.sampled_from(
    [
        "1e5",
        "1.",
        ".5",
        "-0",
        "0o7",
        "+1",
        "1_0",
        "=",
        "<<",
        "*a",
        "&a",
        "!x",
        "? ",
        "- ",
        "#",
        "yes",
        "~",
        "null",
        "---",
        "...",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS
    | st.floats(-1e15, 1e15, allow_subnormal=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.soak
@examples(300, 20_000)
@given(JSON)
def test_what_is_written_is_read_again(value: Any) -> None:
    read = parse(dump(value).encode()).value
    assert is_same_json(read, value) and json.dumps(read) == json.dumps(value)


@pytest.mark.soak
@examples(300, 20_000)
@given(JSON)
def test_json_is_yaml(value: Any) -> None:
    """But for characters that YAML wants escaped, and half characters, which are written as such."""
    text = json.dumps(value, ensure_ascii=False)
    assume(text.isprintable())
    assert is_same_json(parse(text.encode()).value, value)


@pytest.mark.soak
@examples(300, 20_000)
@given(
    st.binary(max_size=60) | st.text("version:1{}[],&*!|>'\"\n\t -#%@`?\\<~a\u0085\ufeff", max_size=60).map(str.encode)
)
def test_any_content_is_a_document_or_a_problem(content: bytes) -> None:
    try:
        document = read_document(content)
    except WrongFile as error:
        lines = {problem.line for problem in error.problems}
    else:
        lines = {document.parsed.line_of(())}
    assert lines and all(0 <= line <= content.count(b"\n") + 60 for line in lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("2026-01-01", "2026-01-01"), ("0x1F", "0x1F"), ("012", "012"), ("12:30", "12:30"),
     ("1_000", "1_000"), ("true", True), ("True", True), ("null", None), ("~", None), ("", None), ("'true'", "true"),
     ("1", 1), ("-1", -1), ("1.5", 1.5), ("1e2", 100.0), (".inf", ".inf"), (".nan", ".nan"),
     ("|\n  a\n  b\n", "a\nb\n"), ("\ufeff1", 1)],
)  # fmt: skip
def test_scalars_are_those_of_json(text: str, value: Any) -> None:
    read = parse(text.encode()).value if text else parse(b"a:").value["a"]
    assert read == value and type(read) is type(value)


def test_a_value_that_is_one_object_is_written_out() -> None:
    one = {"a": [1]}
    assert "&" not in dump([one, one])


class TestDifferences:
    def test_numbers_are_compared_as_json_does(self) -> None:
        assert is_same_json({"a": 1}, {"a": 1.0}) and is_same_json({"a": 1, "b": 2}, {"b": 2, "a": 1})
        assert (
            not is_same_json({"a": 1}, {"a": True}) and not is_same_json([1, 2], [2, 1]) and not is_same_json("", None)
        )

    def test_each_object_has_one_change(self) -> None:
        wanted = {"a": {"n": 1, "on": True}, "b": {"n": 2, "on": True}, "c": {"n": 3, "on": True}}
        stored = {
            "a": {"n": 1, "on": True},
            "b": {"n": 1, "on": True},
            "d": {"n": 1, "on": True},
            "e": {"n": 1, "on": False},
        }
        for prune, action in ((False, Action.UNLISTED), (True, Action.RETIRE)):
            found = compare("x", wanted, stored, {"on": False}, prune=prune)
            assert [(one.key, one.action) for one in found] == [
                ("a", Action.KEEP), ("b", Action.CHANGE), ("c", Action.ADD), ("d", action),
            ]  # fmt: skip
            assert found[-1].values == {"n": 1, "on": False}, "and what is inactive already is left alone"


class TestTheSchema:
    def test_is_valid_and_is_printed(self) -> None:
        Draft202012Validator.check_schema(json_schema.file_schema())
        out = StringIO()
        call_command("export_config", "--schema", stdout=out)
        assert out.getvalue() == (ROOT / "docs" / "config.schema.json").read_text()

    def test_accepts_the_example_and_every_default(self) -> None:
        Draft202012Validator(json_schema.file_schema()).validate(yaml.safe_load(example()))
        for name, section in json_schema.file_schema()["properties"].items():
            for field in section.get("items", {}).get("properties", {}).values():
                if "default" in field:
                    Draft202012Validator(field).validate(field["default"])
                assert "description" in field, name
