"""Example values of an operation, made from its schema: for the preview of a prompt. Pure.

A value of a field is its own example, or the first of some usual values that the field's schema accepts.
The other manners show what an agent could send: long values, a script that runs from right to left, and
text that imitates Countersign or HTML. A field that does not accept such a value keeps the plain one.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from operations import schemas, wording

MAX_ITEMS = 10  # of a list in the manner `long`
MISSING = "…"  # in place of a value for which no example was found
MAX_PARTS = 300  # of a schema for which values are made
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
    """An operation without its `type`, with every field; and the fields for which no example was found.

    Such a field has the value MISSING.
    """
    maker = _Maker(schema.get("$defs", {}), manner)
    value = maker.value_of(schema, "")
    return value if isinstance(value, dict) else {}, maker.missing


class _Maker:
    """Makes one operation. `left` bounds the work: a few references to references can describe millions of fields."""

    def __init__(self, definitions: dict[str, Any], manner: Manner) -> None:
        self.definitions, self.manner = definitions, manner
        self.missing: list[str] = []
        self.left = MAX_PARTS

    def value_of(self, part: Any, path: str) -> Any:
        """The first candidate that the schema accepts."""
        part = part if isinstance(part, dict) else {}
        self.left -= 1
        known = len(self.missing)
        if self.left > 0:
            for candidate in self._candidates(part, path):
                # An object with a missing field is returned as it is: the field is named.
                if self._fits(part, candidate) or (isinstance(candidate, dict) and len(self.missing) > known):
                    return candidate
        self.missing.append(path or "the object")
        return MISSING

    def _fits(self, part: Any, candidate: Any) -> bool:
        alone = {
            "$defs": self.definitions, "type": "object", "properties": {"x": part}, "additionalProperties": False,
        }  # fmt: skip
        return schemas.first_mismatch(alone, {"x": candidate}) is None

    def _candidates(self, part: Any, path: str) -> Iterator[Any]:
        part = wording.resolved(part, self.definitions)
        if self.manner is not Manner.PLAIN and part.get("type") == "string":
            yield from _odd_texts(part, self.manner)
        yield from part.get("examples", [])
        yield from part.get("enum", [])
        if "const" in part:
            yield part["const"]
        for keyword in ("oneOf", "anyOf", "allOf"):
            for shape in part.get(keyword, []):
                yield from self._candidates(shape, path)
        kinds = part.get("type")
        for kind in [kinds] if isinstance(kinds, str) else kinds or []:
            yield from self._of_type(kind, part, path)

    def _of_type(self, kind: str, part: dict[str, Any], path: str) -> Iterator[Any]:
        match kind:
            case "string":
                yield from _texts(part)
            case "integer" | "number":
                yield from _numbers(part, self.manner)
            case "boolean":
                yield True
            case "null":
                yield None
            case "object":
                prefix = f"{path}." if path else ""
                made = {name: self.value_of(one, prefix + name) for name, one in part.get("properties", {}).items()}
                yield made
            case "array":
                yield from self._lists(part, path)

    def _lists(self, part: dict[str, Any], path: str) -> Iterator[list[Any]]:
        items, least = part.get("items", {}), part.get("minItems", 0)
        count = MAX_ITEMS if self.manner is Manner.LONG else max(2, least)
        count = max(least, min(count, part.get("maxItems", count)))
        if count > MAX_PARTS:
            return
        item = self.value_of(items, f"{path}: an item")
        texts = [*(items.get("enum", []) if isinstance(items, dict) else []), *_TEXTS, *range(1, count + 1)]
        different = [one for one in texts if self._fits(items, one)][:count] if part.get("uniqueItems") else []
        yield from ([item] * count, different, [item], [])


def _odd_texts(part: dict[str, Any], manner: Manner) -> Iterator[str]:
    longest = _characters(part, "maxLength", wording.MAX_VALUE)
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


def _characters(part: dict[str, Any], limit: str, default: int) -> int:
    """A limit of a text. Countersign refuses longer values, so no example is longer."""
    return int(min(part.get(limit, default), wording.MAX_VALUE))


def _texts(part: dict[str, Any]) -> Iterator[str]:
    least, label = _characters(part, "minLength", 0), part.get("title")
    if isinstance(label, str) and "format" not in part and "pattern" not in part:
        yield f"Example of {label[:60]}"
    yield from _TEXTS
    yield "Example " * (least // 8 + 1)
    yield "Example"[: _characters(part, "maxLength", 7)]
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
