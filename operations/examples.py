"""Example values of an operation, made from its schema: for the preview of a prompt. Pure.

A value of a field is its own example, or the first of some usual values that the field's schema accepts.
The other manners show what an agent could send: long values, a script that runs from right to left, and
text that imitates Countersign or HTML. A field that does not accept such a value keeps the plain one.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from operations import schemas

MAX_ITEMS = 10  # of a list in the manner `long`
_TEXTS = (
    "Example", "example", "EUR", "120.00", "120", "12", "1", "a", "A", "DE89370400440532013000", "2026-03-14",
    "2026-03-14T09:30:00Z", "09:30:00Z", "https://shop.example.com/orders/4711", "shop.example.com",
    "ada@example.com", "INV-2026-0042", "ORD-4711", "4711", "123456", "12345678", "1234567890", "AB12", "ABC", "ABC123",
    "1.4.2", "v1.4.2", "203.0.113.7", "2001:db8::7", "+4930123456", "3f0e6a8c-5a0b-4f0e-9a51-0c9d8a3f6b21",
    "3f0e6a8c5a0b4f0e9a510c9d8a3f6b21", "/reports/2026", "DE", "de", "en-GB", "main", "EXAMPLE", "12:30", "50%",
)  # fmt: skip
_LONG = "A long text that an agent could send, to see where it breaks on a phone, and whether the end is visible. "
_RIGHT_TO_LEFT = "دفع فاتورة شركة النور رقم ٤٢ הזמנה"
_INJECTED = (
    "<b>Approved.</b> <script>alert(1)</script> {amount} “Countersign: press Approve”",
    "<script>alert(1)</script>", "<b>OK</b>", "{amount}",
)  # fmt: skip


class Manner(StrEnum):
    PLAIN = "plain"
    LONG = "long"
    RIGHT_TO_LEFT = "right-to-left"
    INJECTED = "injected"


def example(schema: dict[str, Any], manner: Manner) -> tuple[dict[str, Any], list[str]]:
    """An operation without its `type`, with every field; and the fields for which no example was found."""
    missing: list[str] = []
    value = _value(schema, schema.get("$defs", {}), manner, "", missing)
    return value if isinstance(value, dict) else {}, missing


def _value(part: Any, definitions: dict[str, Any], manner: Manner, path: str, missing: list[str]) -> Any:
    """The first candidate that the schema accepts."""
    part = part if isinstance(part, dict) else {}
    alone = {"$defs": definitions, "type": "object", "properties": {"x": part}, "additionalProperties": False}
    for candidate in _candidates(part, definitions, manner, path, missing):
        if schemas.first_mismatch(alone, {"x": candidate}) is None:
            return candidate
    missing.append(path or "the object")
    return None


def _candidates(
    part: dict[str, Any], definitions: dict[str, Any], manner: Manner, path: str, missing: list[str]
) -> Iterator[Any]:
    if "$ref" in part:
        target = definitions.get(str(part["$ref"]).rpartition("/")[2], {})
        yield from _candidates(target | {k: v for k, v in part.items() if k != "$ref"}, definitions, manner, path,
                               missing)  # fmt: skip
        return
    if manner is not Manner.PLAIN and part.get("type") == "string":
        yield from _odd_texts(part, manner)
    yield from part.get("examples", [])
    yield from part.get("enum", [])
    if "const" in part:
        yield part["const"]
    for keyword in ("oneOf", "anyOf", "allOf"):
        for shape in part.get(keyword, []):
            yield from _candidates(shape, definitions, manner, path, missing)
    kinds = part.get("type")
    for kind in [kinds] if isinstance(kinds, str) else kinds or []:
        yield from _of_type(kind, part, definitions, manner, path, missing)


def _of_type(
    kind: str, part: dict[str, Any], definitions: dict[str, Any], manner: Manner, path: str, missing: list[str]
) -> Iterator[Any]:
    match kind:
        case "string":
            yield from _texts(part)
        case "integer" | "number":
            yield from _numbers(part, manner)
        case "boolean":
            yield True
        case "null":
            yield None
        case "object":
            inner = part.get("properties", {})
            prefix = f"{path}." if path else ""
            made = {name: _value(one, definitions, manner, prefix + name, missing) for name, one in inner.items()}
            yield {name: value for name, value in made.items() if prefix + name not in missing}
        case "array":
            least = max(2, part.get("minItems", 0))
            count = MAX_ITEMS if manner is Manner.LONG else least
            count = max(part.get("minItems", 0), min(count, part.get("maxItems", count)))
            item = _value(part.get("items", {}), definitions, manner, f"{path}: an item", missing)
            yield from ([item] * count, _different(part.get("items", {}), definitions, count), [item], [])


def _different(items: Any, definitions: dict[str, Any], count: int) -> list[Any]:
    """Items of which none is the same as another, for lists that demand it."""
    alone = {"$defs": definitions, "type": "object", "properties": {"x": items}, "additionalProperties": False}
    texts = [*(items.get("enum", []) if isinstance(items, dict) else []), *_TEXTS, *range(1, count + 1)]
    return [one for one in texts if schemas.first_mismatch(alone, {"x": one}) is None][:count]


def _odd_texts(part: dict[str, Any], manner: Manner) -> Iterator[str]:
    longest = min(part.get("maxLength", 2000), 2000)
    match manner:
        case Manner.LONG:
            yield (_LONG * (longest // len(_LONG) + 1))[:longest].strip()
            yield ("https://shop.example.com/" + "orders/" * 300)[: min(longest, 300)]
            yield from ("999999999.99", "W" * longest, "A" * min(longest, 64), "a" * min(longest, 64))
        case Manner.RIGHT_TO_LEFT:
            yield _RIGHT_TO_LEFT
            yield _RIGHT_TO_LEFT[:longest].strip()
        case _:
            yield from _INJECTED


def _texts(part: dict[str, Any]) -> Iterator[str]:
    least, label = part.get("minLength", 0), part.get("title")
    if isinstance(label, str) and "format" not in part and "pattern" not in part:
        yield f"Example of {label[:60]}"
    yield from _TEXTS
    yield "Example " * (least // 8 + 1)
    yield "Example"[: part.get("maxLength", 7)]
    for sign in "1aA":
        yield sign * max(least, 1)
    yield ""


def _numbers(part: dict[str, Any], manner: Manner) -> Iterator[int | float]:
    bounds = [part[name] for name in ("maximum", "minimum") if name in part]
    if manner is Manner.LONG:
        yield from (*bounds[:1], 999_999_999_999)
    yield from (12, 120, 1, *bounds, 0)
    for name, step in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1), ("exclusiveMinimum", 0.5)):
        if name in part:
            yield part[name] + step
    if "multipleOf" in part:
        yield part["multipleOf"]
