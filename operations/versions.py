"""The differences between two versions of an operation type, field by field, in plain text. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMES = {
    "title": "Title", "summary": "Summary", "risk": "Risk", "assurance": "Assurance", "uses": "Uses",
    "lifetime": "Lifetime (seconds)",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """`before` or `after` is None where the version has no such thing."""

    name: str
    before: str | None
    after: str | None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Both are the fields of a version (OperationTypeVersion.MEANING)."""
    found = [
        Difference(title, str(before[name]), str(after[name]))
        for name, title in NAMES.items()
        if before[name] != after[name]
    ]
    old, new = dict(_lines(before["schema"], "")), dict(_lines(after["schema"], ""))
    changed = [place for place in dict.fromkeys([*old, *new]) if old.get(place) != new.get(place)]
    return [*found, *(Difference(place, old.get(place), new.get(place)) for place in changed)]


def _lines(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every keyword of a schema with its value: `field amount, maxLength` → `70`."""
    if not isinstance(schema, dict):
        yield path or "schema", _text(schema)
        return
    prefix = f"{path}, " if path else ""
    for keyword, value in schema.items():
        if keyword in {"properties", "$defs"} and isinstance(value, dict):
            for name, part in value.items():
                inner = f"{path}.{name}" if path else f"field {name}" if keyword == "properties" else f"$defs {name}"
                yield from _lines(part, inner)
        elif keyword == "required" and isinstance(value, list):
            for name in value:
                yield f"{path}.{name}, required" if path else f"field {name}, required", "yes"
        elif isinstance(value, dict):
            yield from _lines(value, f"{prefix}{keyword}")
        else:
            yield f"{prefix}{keyword}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
