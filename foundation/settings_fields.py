"""A typed description of settings that administrators enter: written once, read by forms, checks and docs. Pure.

From the same description come the inputs of a form (settings_form.py), the JSON Schema that checks a
stored value, and the tables of the documents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = ("text", "long text", "integer", "boolean", "choice", "choices", "lines", "rows")


class Undescribed(ValueError):
    """A JSON Schema that no description can express; the text says which part."""


@dataclass(frozen=True)
class Field:
    """One setting. `default` is what applies without a value; it is never stored.

    `minimum` and `maximum`: the value of an integer, the characters of a text, the number of lines or
    rows. `longest`: the characters of a line. `fields` are the inputs of a row. A secret is never part of
    the settings: it has an input of its own and is sealed.
    """

    name: str
    kind: str = "text"
    label: str = ""
    help: str = ""
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    longest: int | None = None
    is_unique: bool = False
    fields: tuple["Field", ...] = ()
    is_secret: bool = False

    @property
    def title(self) -> str:
        words = self.name.replace("_", " ")
        return self.label or words[:1].upper() + words[1:]


def schema_of(fields: Sequence[Field]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the settings, closed."""
    plain = [field for field in fields if not field.is_secret]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [field.name for field in plain if field.required],
        "properties": {field.name: _part_of(field) for field in plain},
    }


def _part_of(field: Field) -> dict[str, Any]:
    described: dict[str, Any] = {"title": field.title, "description": field.help or None}
    text: dict[str, Any] = {"type": "string", "pattern": field.pattern or None}
    counted: dict[str, Any] = {
        "minItems": field.minimum,
        "maxItems": field.maximum,
        "uniqueItems": field.is_unique or None,
    }
    part: dict[str, Any]
    match field.kind:
        case "integer":
            part = {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}
        case "boolean":
            part = {"type": "boolean"}
        case "choice":
            part = {"enum": list(field.choices)}
        case "choices":
            part = {"type": "array", "items": {"enum": list(field.choices)}, "minItems": field.minimum,
                    "uniqueItems": True}  # fmt: skip
        case "lines":
            line = _present(text | {"minLength": 1, "maxLength": field.longest})
            part = {"type": "array", "items": line, **counted}
        case "rows":
            part = {"type": "array", "items": schema_of(field.fields), **counted}
        case _:
            part = text | {"minLength": field.minimum, "maxLength": field.maximum}
    return _present(described | part)


def _present(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


def fields_of(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The description of settings that have only a JSON Schema. Raises Undescribed."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        raise Undescribed("it describes no object with properties")
    required = schema.get("required", [])
    return tuple(_field_of(name, part, name in required) for name, part in properties.items())


_KNOWN = frozenset({"title", "description", "default", "type", "enum", "pattern", "minLength", "maxLength", "minimum",
                    "maximum", "items", "minItems", "maxItems", "uniqueItems", "format"})  # fmt: skip


def _field_of(name: str, part: Any, required: bool) -> Field:
    if not isinstance(part, Mapping) or part.keys() - _KNOWN:
        raise Undescribed(
            f"{name} has {', '.join(sorted(set(part) - _KNOWN)) if isinstance(part, Mapping) else 'no type'}"
        )
    described: dict[str, Any] = {
        "label": str(part.get("title", "")), "help": str(part.get("description", "")), "required": required,
        "default": part.get("default"),
    }  # fmt: skip
    if "enum" in part and all(isinstance(one, str) for one in part["enum"]):
        return Field(name, "choice", choices=tuple(part["enum"]), **described)
    match part.get("type"):
        case "array":
            return _list_of(name, part, described)
        case "integer":
            return Field(name, "integer", minimum=part.get("minimum"), maximum=part.get("maximum"), **described)
        case "boolean" if not part.get("default"):  # what is left empty and what is off are stored alike
            return Field(name, "boolean", **described)
        case "string":
            length = part.get("maxLength")
            return Field(name, "long text" if length and length > 2000 else "text", pattern=part.get("pattern", ""),
                         minimum=part.get("minLength"), maximum=length, **described)  # fmt: skip
    raise Undescribed(f"{name} has no simple type")


def _list_of(name: str, part: Mapping[str, Any], described: dict[str, Any]) -> Field:
    items = part.get("items")
    counted: dict[str, Any] = {"minimum": part.get("minItems"), "maximum": part.get("maxItems")}
    if isinstance(items, Mapping) and isinstance(items.get("enum"), list):
        return Field(name, "choices", choices=tuple(map(str, items["enum"])), **counted, **described)
    if isinstance(items, Mapping) and items.get("type") == "string":
        return Field(name, "lines", longest=items.get("maxLength"), pattern=items.get("pattern", ""),
                     is_unique=bool(part.get("uniqueItems")), **counted, **described)  # fmt: skip
    if isinstance(items, Mapping) and items.get("type") == "object":
        inner = fields_of(items)
        if all(one.kind != "rows" for one in inner):
            return Field(name, "rows", fields=inner, **counted, **described)
    raise Undescribed(f"{name} is a list without simple items")
