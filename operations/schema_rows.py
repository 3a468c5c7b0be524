"""The fields of an operation as rows: one row a field, and the JSON Schema that the rows mean. Pure.

A row holds what most operations need. A schema that says more than rows can hold stays JSON: rows_of
names the first part that no row can hold. What rows_of accepts, schema_of gives back with the same
meaning, because rows_of compares the two.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MONEY_PATTERN = r"^[0-9]{1,9}\.[0-9]{2}$"
ACCOUNT_PATTERN = "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"
KINDS = {
    "text": "Text",
    "money": "Money, such as 120.00",
    "date": "Date",
    "moment": "Date and time",
    "account": "Account (IBAN)",
    "host": "Host name",
    "url": "URL",
    "email": "E-mail address",
    "choice": "Choice",
    "list": "List",
    "integer": "Whole number",
    "number": "Number",
    "boolean": "Yes or no",
}
ITEM_KINDS = tuple(kind for kind in KINDS if kind != "list")
MAX_NESTING = 4
# The part of a kind that rows do not vary.
_FIXED: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "money": {"type": "string", "pattern": MONEY_PATTERN},
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "account": {"type": "string", "pattern": ACCOUNT_PATTERN},
    "host": {"type": "string", "format": "hostname"},
    "url": {"type": "string", "format": "uri"},
    "email": {"type": "string", "format": "email"},
    "choice": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
}
_LENGTHS = {"text", "host", "url", "email"}
_NUMBERS = {"integer", "number"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}")


class RowProblem(ValueError):
    """The rows contradict each other; the text names the row and says what to do."""


class NoRows(ValueError):
    """Rows cannot express the schema; the text says which part."""


@dataclass(frozen=True)
class Row:
    """One field. `name` may have dots: `creditor.name` is the field `name` of the object `creditor`.

    `minimum` and `maximum` are characters of a text, the value of a number, or items of a list.
    `of` is the kind of a list's items, and `longest` the characters of one of them.
    """

    name: str
    kind: str = "text"
    label: str = ""
    required: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    of: str = ""
    longest: int | None = None
    is_unique: bool = False
    note: str = ""
    example: str = ""


def schema_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The JSON Schema of these rows. Raises RowProblem."""
    schema = _new_object()
    for row in rows:
        steps = row.name.split(".")
        if len(steps) > MAX_NESTING or not all(map(_NAME.fullmatch, steps)):
            raise RowProblem(
                f"{row.name}: a name has letters, digits, _ and -, and begins with a letter or _. A dot leads into an "
                f"object, at most {MAX_NESTING - 1} deep: creditor.name"
            )
        _place(schema, steps, row)
    return schema


def _new_object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}, "required": []}


def _place(schema: dict[str, Any], steps: list[str], row: Row) -> None:
    for step in steps[:-1]:
        _require(schema, step, row)
        inner = schema["properties"].setdefault(step, _new_object())
        if inner.get("type") != "object":
            raise RowProblem(f"{row.name}: {step} is a field of its own already. Rename one of the two rows.")
        schema = inner
    if steps[-1] in schema["properties"]:
        raise RowProblem(f"{row.name} appears twice. Rename or remove one of the two rows.")
    _require(schema, steps[-1], row)
    schema["properties"][steps[-1]] = _part_of(row)


def _require(schema: dict[str, Any], step: str, row: Row) -> None:
    if row.required and step not in schema["required"]:
        schema["required"].append(step)


def _part_of(row: Row) -> dict[str, Any]:
    if row.kind == "list":
        items = _limited(row.of or "text", row, None, row.longest)
        limits = {"minItems": row.minimum, "maxItems": row.maximum, "uniqueItems": row.is_unique or None}
        part = {"type": "array", "items": items} | _present(limits)
    else:
        part = _limited(row.kind, row, row.minimum, row.maximum)
    described = {"title": row.label or None, "description": row.note or None}
    return _present(described) | part | ({"examples": [row.example]} if row.example else {})


def _limited(kind: str, row: Row, minimum: Any, maximum: Any) -> dict[str, Any]:
    part = dict(_FIXED[kind])
    if kind == "choice":
        if not row.choices:
            raise RowProblem(f"{row.name} has no choices. Write one choice on each line.")
        return part | {"enum": list(row.choices)}
    if kind in _LENGTHS:
        part |= _present({"minLength": minimum, "maxLength": maximum})
    if kind in _NUMBERS:
        part |= _present({"minimum": minimum, "maximum": maximum})
    return part | ({"pattern": row.pattern} if row.pattern and kind == "text" else {})


def _present(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


def rows_of(schema: Any) -> list[Row]:
    """The rows of this schema. Raises NoRows, which says why there are none."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise NoRows("The schema describes no object.")
    _refuse_others(schema, {"type", "additionalProperties", "properties", "required", "$schema"}, "The schema")
    rows = list(_rows_in(schema, ()))
    try:
        written = schema_of(rows)
    except RowProblem as problem:
        raise NoRows(f"Rows do not allow this: {problem}") from problem
    if not has_same_meaning(schema, written):
        raise NoRows("An object in it is required although none of its fields is, or the other way round.")
    return rows


def _rows_in(schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[Row]:
    """The required fields first, in the order of `required`: the database does not keep the order of properties."""
    required, properties = schema.get("required", []), schema.get("properties", {})
    if not _is_list(required) or not isinstance(properties, dict):
        raise NoRows("Its properties or its required fields are malformed.")
    for name in sorted(properties, key=lambda name: required.index(name) if name in required else len(required)):
        place_path, part = (*path, name), properties[name]
        place = ".".join(place_path)
        if not _NAME.fullmatch(name):
            raise NoRows(f"{place}: rows allow only letters, digits, _ and - in a name.")
        if isinstance(part, dict) and part.get("type") == "object":
            _refuse_others(part, {"type", "additionalProperties", "properties", "required"}, place)
            if not part.get("properties"):
                raise NoRows(f"{place} is an object without fields.")
            yield from _rows_in(part, place_path)
        else:
            yield _row_of(place, part, name in required)


def _row_of(place: str, part: Any, required: bool) -> Row:
    if not isinstance(part, dict):
        raise NoRows(f"{place} is only true or false.")
    common: dict[str, Any] = {
        "name": place, "required": required, "label": part.get("title", ""), "note": part.get("description", ""),
        "example": _example_in(part, place),
    }  # fmt: skip
    inner = {keyword: value for keyword, value in part.items() if keyword not in {"title", "description", "examples"}}
    if inner.get("type") != "array":
        return Row(**common, **_limits_in(inner, place))
    _refuse_others(inner, {"type", "items", "minItems", "maxItems", "uniqueItems"}, place)
    if not isinstance(inner.get("items"), dict) or inner["items"].get("type") == "array":
        raise NoRows(f"{place} is a list without one simple kind of items.")
    items = _limits_in(inner["items"], f"{place}: an item")
    if items.pop("minimum", None) is not None:
        raise NoRows(f"{place}: rows have no least length of an item.")
    if items["kind"] in _NUMBERS and items.get("maximum") is not None:
        raise NoRows(f"{place}: rows have no limits of a number in a list.")
    return Row(
        **common, kind="list", of=items.pop("kind"), longest=items.pop("maximum", None), **items,
        minimum=inner.get("minItems"), maximum=inner.get("maxItems"), is_unique=inner.get("uniqueItems", False),
    )  # fmt: skip


def _example_in(part: dict[str, Any], place: str) -> str:
    examples = part.get("examples", [])
    if not isinstance(examples, list) or len(examples) > 1 or not all(isinstance(one, str) for one in examples):
        raise NoRows(f"{place}: rows hold one example, a text.")
    return examples[0] if examples else ""


def _limits_in(part: dict[str, Any], place: str) -> dict[str, Any]:
    """Kind and limits of a simple part."""
    if "enum" in part:
        _refuse_others(part, {"type", "enum"}, place)
        choices = part["enum"] if _is_list(part["enum"]) else [None]
        if not all(isinstance(one, str) and one.strip() == one and one and "\n" not in one for one in choices):
            raise NoRows(f"{place}: rows hold only choices that are texts.")
        return {"kind": "choice", "choices": tuple(part["enum"])}
    kind = _kind_of(part, place)
    if kind in _NUMBERS:
        _refuse_others(part, {"type", "minimum", "maximum"}, place)
        return {"kind": kind, "minimum": part.get("minimum"), "maximum": part.get("maximum")}
    _refuse_others(part, {*_FIXED[kind], *(("minLength", "maxLength") if kind in _LENGTHS else ()),
                          *(("pattern",) if kind == "text" else ())}, place)  # fmt: skip
    pattern = part.get("pattern", "") if kind == "text" else ""
    return {"kind": kind, "minimum": part.get("minLength"), "maximum": part.get("maxLength"), "pattern": pattern}


def _kind_of(part: dict[str, Any], place: str) -> str:
    fixed = [kind for kind, given in _FIXED.items() if kind not in {"text", "choice"} and given.items() <= part.items()]
    if fixed and (fixed[0] not in {"money", "account"} or set(part) == set(_FIXED[fixed[0]])):
        return fixed[0]
    if part.get("type") != "string":
        raise NoRows(f"{place} has no simple type." if "type" in part else f"{place} has several shapes, or a $ref.")
    return "text"


def _refuse_others(part: dict[str, Any], known: set[str], place: str) -> None:
    if others := sorted(part.keys() - known):
        raise NoRows(f"{place}: rows have no {others[0]}.")


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def has_same_meaning(one: Any, other: Any) -> bool:
    """Whether two schemas that rows can express differ only in spelling."""
    return bool(_spelled_alike(one) == _spelled_alike(other))


def _spelled_alike(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    # A property may have the name of a keyword.
    alike = {
        keyword: {name: _spelled_alike(one) for name, one in value.items()}
        if keyword == "properties" and isinstance(value, dict)
        else _spelled_alike(value)
        for keyword, value in part.items()
        if keyword != "$schema"
    }
    if part.get("type") == "object":
        required = part.get("required", [])
        alike = (
            {"properties": {}} | alike | {"required": sorted(map(str, required)) if _is_list(required) else required}
        )
    if "enum" in part:
        alike = {"type": "string"} | alike
    return {k: v for k, v in alike.items() if not (k == "uniqueItems" and v is False)}
