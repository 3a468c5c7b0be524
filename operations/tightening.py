"""Turns a common JSON Schema into one that this server accepts, and says what was changed. Pure.

Schemas from OpenAPI documents, MCP tools and code generators leave open what a prompt must display:
unknown fields, endless texts. This module closes objects, adds limits, resolves references and drops
annotations. It never guesses at a keyword that decides which values are valid: such a keyword stays,
and schemas.py refuses it with a sentence.
"""

import copy
from collections.abc import Callable
from typing import Any

from operations import formats
from operations.schemas import MAX_DEPTH

TEXT_LENGTH = 200
LIST_LENGTH = 20
_LENGTH_OF_FORMAT = {"uri": 2000, "email": 254, "idn-email": 254, "hostname": 253}
_SHORT_FORMATS = frozenset({"date", "date-time", "time", "ipv4", "ipv6", "uuid"})
# Keywords that describe and do not decide, except the few that a prompt or the builder uses.
_ANNOTATIONS = frozenset(
    {"$id", "$comment", "$anchor", "default", "example", "deprecated", "readOnly", "writeOnly", "xml", "externalDocs",
     "discriminator", "contentEncoding", "contentMediaType", "nullable", "$schema"}
)  # fmt: skip
_SECTIONS = ("$defs", "definitions", "components")
MAX_PARTS = 2000  # of a schema whose references are written out


class TooLarge(ValueError):
    """The schema is too large when its references are written out, or refers to itself."""


class _Tightening:
    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.changes: list[str] = []
        self.parts = 0

    def note(self, path: str, change: str) -> None:
        self.changes.append(f"{path or 'the schema'}: {change}")

    def part(self, part: Any, path: str, depth: int = 0, seen: tuple[str, ...] = ()) -> Any:
        if not isinstance(part, dict):
            return part
        self.parts += 1
        if self.parts > MAX_PARTS or depth > 2 * MAX_DEPTH:
            raise TooLarge("the schema is too large, or refers to itself. Paste only the part of this operation.")
        part = dict(part)
        while isinstance(part.get("$ref"), str) and (found := self._target(part["$ref"])) is not None:
            if part["$ref"] in seen:
                raise TooLarge(f"{path or 'the schema'}: {part['$ref']} refers to itself. Write out one level of it.")
            seen = (*seen, part.pop("$ref"))
            part = found | part
        part = self._unwrapped(part, path)
        if "$ref" in part and self._target(part["$ref"]) is not None:
            return self.part(part, path, depth, seen)
        for change in _CHANGES:
            change(self, part, path)
        return self._inside(part, path, depth, seen)

    def _target(self, reference: Any) -> dict[str, Any] | None:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        found: Any = self.document
        for step in reference[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, dict) else None
        return dict(found) if isinstance(found, dict) else None

    def _unwrapped(self, part: dict[str, Any], path: str) -> dict[str, Any]:
        """anyOf of one shape and null, as generators write optional fields; allOf of one."""
        for keyword in ("anyOf", "oneOf", "allOf"):
            shapes = part.get(keyword)
            if not isinstance(shapes, list):
                continue
            left = [shape for shape in shapes if keyword == "allOf" or shape != {"type": "null"}]
            if len(left) == 1 and isinstance(left[0], dict):
                if len(shapes) > 1:
                    self.note(path, "null is no longer allowed; leave the field out instead")
                return self._unwrapped(left[0] | {name: v for name, v in part.items() if name != keyword}, path)
        return self._merged(part, path)

    def _merged(self, part: dict[str, Any], path: str) -> dict[str, Any]:
        """allOf of objects with different fields, as OpenAPI documents write inheritance."""
        resolved = [self._resolved(shape) for shape in part.get("allOf") or [] if isinstance(shape, dict)]
        own: dict[str, Any] = {name: part[name] for name in ("properties", "required") if name in part}
        if not resolved or not all(_is_plain_object(shape) for shape in (own, *resolved)):
            return part
        whole: dict[str, Any] = {name: value for name, value in part.items() if name != "allOf"} | {"type": "object"}
        for shape in resolved:
            both = whole.get("properties", {}).keys() & shape.get("properties", {}).keys()
            if any(whole["properties"][name] != shape["properties"][name] for name in both):
                return part
            whole["properties"] = whole.get("properties", {}) | shape.get("properties", {})
            whole["required"] = list(dict.fromkeys([*whole.get("required", []), *shape.get("required", [])]))
        self.note(path, "the objects in allOf were joined into one")
        return whole

    def _resolved(self, shape: dict[str, Any]) -> dict[str, Any]:
        return self._target(shape["$ref"]) or shape if set(shape) == {"$ref"} else shape

    def _inside(self, part: dict[str, Any], path: str, depth: int, seen: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(part.get("properties"), dict):
            part["properties"] = {
                name: self.part(inner, f"{path}/{name}", depth + 1, seen) for name, inner in part["properties"].items()
            }
        for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            if isinstance(part.get(keyword), list):
                part[keyword] = [
                    self.part(one, f"{path}/{keyword}/{n}", depth + 1, seen) for n, one in enumerate(part[keyword])
                ]
        for keyword in ("items", "contains"):
            if keyword in part:
                part[keyword] = self.part(part[keyword], f"{path}/{keyword}", depth + 1, seen)
        return part


def _is_plain_object(shape: dict[str, Any]) -> bool:
    known = {"type", "properties", "required", "title", "description", "additionalProperties"}
    deciding = {name for name in shape if name not in _ANNOTATIONS and not name.startswith("x-")}
    return shape.get("type", "object") == "object" and deciding <= known and isinstance(
        shape.get("properties", {}), dict
    ) and isinstance(shape.get("required", []), list)  # fmt: skip


def _drop_annotations(run: _Tightening, part: dict[str, Any], path: str) -> None:
    for keyword in sorted(part):
        if keyword in _ANNOTATIONS or keyword.startswith("x-"):
            del part[keyword]
            if keyword == "default":
                run.note(path, "the default was removed: Countersign adds no value that the agent did not send")
    if not path:
        for keyword in ("title", "description", *_SECTIONS):
            part.pop(keyword, None)


def _drop_null(run: _Tightening, part: dict[str, Any], path: str) -> None:
    kinds = part.get("type")
    if isinstance(kinds, list) and "null" in kinds and len(kinds) > 1:
        left = [kind for kind in kinds if kind != "null"]
        part["type"] = left[0] if len(left) == 1 else left
        run.note(path, "null is no longer allowed; leave the field out instead")
    if isinstance(part.get("enum"), list) and None in part["enum"] and len(part["enum"]) > 1:
        part["enum"] = [one for one in part["enum"] if one is not None]
    if isinstance(kinds, list) and len(kinds) == 1:
        part["type"] = kinds[0]


def _close_object(run: _Tightening, part: dict[str, Any], path: str) -> None:
    if "type" not in part and isinstance(part.get("properties"), dict):
        part["type"] = "object"
        run.note(path, "“type”: “object” was added")
    if part.get("type") != "object":
        return
    if part.pop("unevaluatedProperties", None) is False or part.get("additionalProperties") is not False:
        part["additionalProperties"] = False
        run.note(path, "the object was closed: the prompt could not display a field that the schema does not list")


def _limit_text(run: _Tightening, part: dict[str, Any], path: str) -> None:
    if part.get("type") != "string" or part.keys() & {"maxLength", "enum", "const", "pattern"}:
        return
    if part.get("format") not in _SHORT_FORMATS:
        length = max(_LENGTH_OF_FORMAT.get(str(part.get("format")), TEXT_LENGTH), _count(part.get("minLength")))
        part["maxLength"] = length
        run.note(path, f"at most {length} characters")


def _limit_list(run: _Tightening, part: dict[str, Any], path: str) -> None:
    if part.get("type") != "array":
        return
    if "maxItems" not in part:
        part["maxItems"] = max(LIST_LENGTH, _count(part.get("minItems")))
        run.note(path, f"at most {part['maxItems']} items")
    if "items" not in part and "prefixItems" not in part:
        part["items"] = {"type": "string", "maxLength": TEXT_LENGTH}
        run.note(path, f"its items are texts of at most {TEXT_LENGTH} characters")


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _name_known_format(run: _Tightening, part: dict[str, Any], path: str) -> None:
    kind = part.get("format")
    if not isinstance(kind, str) or kind in formats.CHECKER.checkers:
        return
    known = {"url": "uri", "host": "hostname", "datetime": "date-time"}.get(kind)
    if known:
        part["format"] = known
        run.note(path, f"the format {kind} is written {known}")
    elif kind in {"int32", "int64", "float", "double", "decimal", "password", "byte", "binary"}:
        del part["format"]
        run.note(path, f"the format {kind} was removed: it says how a program stores the value")


def _write_bounds_as_numbers(run: _Tightening, part: dict[str, Any], path: str) -> None:
    """Draft 4 and OpenAPI 3.0 write exclusiveMinimum as true beside minimum."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if part.get(exclusive) is False:
            del part[exclusive]
        elif part.get(exclusive) is True and bound in part:
            part[exclusive] = part.pop(bound)
            run.note(path, f"{exclusive} holds the number itself")


_CHANGES: tuple[Callable[[_Tightening, dict[str, Any], str], None], ...] = (
    _drop_annotations, _drop_null, _write_bounds_as_numbers, _name_known_format, _close_object, _limit_text,
    _limit_list,
)  # fmt: skip


def tightened(schema: dict[str, Any], document: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The schema as this server accepts it, and what was changed, a sentence each. Raises TooLarge.

    `document`: where its references lead, if it is a part of a larger one. A schema that is accepted as it
    is comes back unchanged.
    """
    run = _Tightening(document if document is not None else schema)
    found: dict[str, Any] = run.part(copy.deepcopy(schema), "")
    return found, list(dict.fromkeys(run.changes))
