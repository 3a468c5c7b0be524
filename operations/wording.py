"""Wording: the text that a user reads, composed from validated fields only. Pure.

`Pay {amount|money:currency} to {creditor.name}`: a placeholder names a field of the schema and
optionally a formatter. The language is our own and very small. It is no template engine, so stored
text can access only the fields of the operation.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from foundation.canonical import canonical_json
from foundation.plaintext import problem_with

# The permissions of OpenID Connect's own scopes, in words.
IDENTITY_WORDS = {
    "openid": "Know which account is yours",
    "profile": "See your name",
    "email": "See your e-mail address",
}
OFFLINE_ACCESS_TEXT = (
    "Keep this access while you are away, without asking you again"  # text of the scope offline_access
)
WORDING_VERSION = 3  # raise it when rendering changes: it is part of the prompt's digest
MAX_TEXT = 300
MAX_PLACEHOLDER_DEPTH = 3  # of the objects whose fields are offered
MAX_VALUE = 2000  # characters of one string

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# Stricter than Decimal: 1e9 is easy to misread, 1E999999999 fills the memory, and ١٢ is not the
# text that will be sent.
_MONEY = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?", re.ASCII)
_JOINT = re.compile(r"[,;:“”]| and ")
_FRACTION = re.compile(r"[.,]([0-9]+)")
_INSIDE = re.compile(r"(?P<field>\w+(?:\.\w+)*)(?:\|(?P<formatter>[a-z]+)(?::(?P<other>\w+(?:\.\w+)*))?)?")


class WordingError(ValueError):
    """The formatter cannot display the wording or the value."""


@dataclass(frozen=True)
class Field:
    """One displayed field: its label and its value as text."""

    label: str
    value: str


def _plain(value: Any, _other: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_item(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{label(name)}: {_item(item)}" for name, item in value.items()) or "none"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return canonical_json(value).decode()  # exactly the number under the digest
    return "none" if value is None else str(value) or "(empty)"


def _item(value: Any, part: dict[str, Any] | None = None) -> str:
    """One item of a list, in quotes if its text contains the separator of items."""
    text = _formatted(value, part or {})
    return f"“{text}”" if isinstance(value, str) and _JOINT.search(text) else text


def _money(value: Any, currency: Any) -> str:
    text = _scalar(value)
    if not _MONEY.fullmatch(text):
        raise WordingError("money needs a decimal number")
    content = f"{Decimal(text):,f}"
    return f"{currency} {content}" if currency else content


def _date(value: Any, _other: Any) -> str:
    try:
        return f"{date.fromisoformat(str(value)):%-d %B %Y}"
    except ValueError as error:
        raise WordingError("date needs YYYY-MM-DD") from error


def _time(value: Any, _other: Any) -> str:
    """A date and time, or a time alone, displayed completely: another second may be another operation."""
    text = str(value).upper()
    try:
        at = time.fromisoformat(text) if ":" in text[:3] else datetime.fromisoformat(text)
    except ValueError as error:
        raise WordingError("time needs an ISO 8601 time, or date and time") from error
    fraction = _FRACTION.search(text)
    seconds = f"{at:%S}.{fraction[1]}" if fraction else f"{at:%S}" if at.second else ""
    day = f"{at:%-d %B %Y}, " if isinstance(at, datetime) else ""
    return f"{day}{at:%H:%M}{':' if seconds else ''}{seconds} {at:%Z}".strip()


def _host(value: Any, _other: Any) -> str:
    text = str(value)
    try:
        host = urlsplit(text).hostname
    except ValueError as error:
        raise WordingError("host needs a URL") from error
    # A browser reads \\ as / and skips white space, so it would open another host than the
    # displayed one.
    if not host or "\\" in text or any(character.isspace() for character in text):
        raise WordingError("host needs a URL")
    return ".".join(map(_network_label, host.split(".")))


def _network_label(text: str) -> str:
    """A label as the network uses it, so that a look-alike appears as xn--. No mapping: ß is not ss."""
    return text if text.isascii() else "xn--" + text.encode("punycode").decode()


def _list(value: Any, _other: Any) -> str:
    if not isinstance(value, list):
        raise WordingError("list needs an array")
    items = [_item(item) for item in value]
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items) or "none"


def _uri(value: Any, _other: Any) -> str:
    """The URI unchanged, followed by its host if the URI misleads: https://bank.example@evil.example/."""
    parts = urlsplit(str(value))
    host = parts.hostname
    return f"{value} (leads to {host})" if host and parts.netloc.lower() != host else str(value)


# Format → how the list of all fields displays its values. Other values are displayed unchanged.
_BY_FORMAT: dict[str, Callable[[Any, Any], str]] = {
    "date": _date, "date-time": _time, "time": _time, "uri": _uri,
}  # fmt: skip

FORMATTERS: dict[str, Callable[[Any, Any], str]] = {
    "plain": _plain, "money": _money, "date": _date, "time": _time, "host": _host, "list": _list,
}  # fmt: skip


def label(name: str) -> str:
    """`creditor_name` → `Creditor name`."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def problems_with(text: str, schema: dict[str, Any]) -> list[str]:
    """The problems of a wording for this schema; empty if there are none."""
    if not text.strip():
        return ["the wording is empty"]
    if len(text) > MAX_TEXT:
        return [f"the wording is longer than {MAX_TEXT} characters"]
    found = []
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        found.append("the wording has a single brace: write { and } only around a field, such as {amount}")
    for inside in _PLACEHOLDER.findall(text):
        match = _INSIDE.fullmatch(inside)
        if match is None:
            found.append(f"{{{inside}}} is not {{field}} or {{field|formatter}}: write for example {{amount|money}}")
            continue
        if match["formatter"] and match["formatter"] not in FORMATTERS:
            found.append(f"the formatter {match['formatter']} does not exist (formatters: {', '.join(FORMATTERS)})")
        missing = [
            _not_required(schema, field.split("."))
            for field in filter(None, (match["field"], match["other"]))
            if not _required_in(schema, field.split("."))
        ]
        found += missing or _unfit(match["field"], match["formatter"], schema)
    return found


def _required_in(schema: dict[str, Any], path: list[str]) -> bool:
    """Whether each step of the path is a required property, so that a placeholder always has a value."""
    definitions = schema.get("$defs", {})
    for step in path:
        if step not in schema.get("required", ()) or step not in schema.get("properties", {}):
            return False
        schema = resolved(schema["properties"][step], definitions)
    return True


def _not_required(schema: dict[str, Any], path: list[str]) -> str:
    """Why a placeholder cannot name this field, and what to do."""
    name, known = ".".join(path), ", ".join(placeholders(schema)) or "none"
    definitions = schema.get("$defs", {})
    for step in path:
        if step not in schema.get("properties", {}):
            return f"{name} is not a required field of the schema: there is no such field. Required fields: {known}"
        schema = resolved(schema["properties"][step], definitions)
    return f"{name} is not a required field of the schema: make it required, or leave it out of the text"


# Formatter → the JSON types and formats whose values it may display.
_FITS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "money": (frozenset({"string", "integer", "number"}), frozenset()),
    "date": (frozenset({"string"}), frozenset({"date"})),
    "time": (frozenset({"string"}), frozenset({"date-time", "time", "date"})),
    "host": (frozenset({"string"}), frozenset({"uri"})),
    "list": (frozenset({"array"}), frozenset()),
}


def _unfit(field: str, formatter: str | None, schema: dict[str, Any]) -> list[str]:
    """A formatter that can display no value of this field, for example a date of an integer."""
    if formatter not in _FITS:
        return []
    part, definitions = schema, schema.get("$defs", {})
    for step in field.split("."):
        part = resolved(part["properties"][step], definitions)
    kinds, formats = _FITS[formatter]
    kind, form = part.get("type"), part.get("format")
    if (isinstance(kind, str) and kind not in kinds) or (kind == "string" and form is not None and form not in formats):
        return [f"{formatter} cannot display {field}, which is of the type {form or kind}: write {{{field}}}"]
    return []


def placeholders(schema: dict[str, Any], path: str = "", definitions: dict[str, Any] | None = None) -> list[str]:
    """The fields that a wording may name: the required ones, with the formatter that suits them.

    `definitions` are those of the whole schema, if this is a part of it.
    """
    definitions, found = schema.get("$defs", {}) if definitions is None else definitions, []
    for name in schema.get("required", ()):
        part = resolved(schema.get("properties", {}).get(name), definitions)
        if part.get("type") == "object" and path.count(".") < MAX_PLACEHOLDER_DEPTH:
            found += placeholders(part, f"{path}{name}.", definitions)
        elif re.fullmatch(r"\w+", name):
            formatter = _SUITS.get(str(part.get("format"))) or ("list" if part.get("type") == "array" else "")
            if name == "amount" and part.get("type") in {"string", "number", "integer"}:
                formatter = "money:currency" if "currency" in schema["required"] and not path else "money"
            found.append(f"{{{path}{name}{'|' if formatter else ''}{formatter}}}")
    return found


_SUITS = {"date": "date", "date-time": "time", "time": "time", "uri": "host"}


def render(text: str, details: dict[str, Any]) -> str:
    """The wording with the operation's values. Raises WordingError if a value cannot be displayed."""

    def fill(match: re.Match[str]) -> str:
        inside = _INSIDE.fullmatch(match[1])
        if inside is None:
            raise WordingError(f"{match[0]} is not a placeholder")
        formatter = FORMATTERS[inside["formatter"] or "plain"]
        other = _value(details, inside["other"]) if inside["other"] else None
        content = formatter(_value(details, inside["field"]), other)
        if "\n" in content:
            raise WordingError(f"{inside['field']} has several lines, but the text is one line")
        return content

    return _PLACEHOLDER.sub(fill, text)


def _value(details: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(details, dict) or step not in details:
            raise WordingError(f"{path} is missing")
        details = details[step]
    return details


def all_fields(details: dict[str, Any], schema: dict[str, Any]) -> list[Field]:
    """Every field of the operation except its type, so that no part of the operation is hidden from the user.

    The label is the property's `title` in the schema, or its name.
    """
    definitions = schema.get("$defs", {})
    return [
        field
        for name, value in details.items()
        if name != "type"
        for field in _fields_of(*_property(name, schema, definitions), value, definitions)
    ]


def _fields_of(label: str, part: dict[str, Any], value: Any, definitions: dict[str, Any]) -> Iterator[Field]:
    """The fields of an object one by one, and the fields of objects in a list with numbers."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            inner, its_part = _property(name, part, definitions)
            yield from _fields_of(f"{label}: {inner}", its_part, item, definitions)
        return
    if not isinstance(value, list) or not value:
        yield Field(label, _formatted(value, part))
        return
    items = resolved(part.get("items"), definitions)
    if any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value, 1):
            yield from _fields_of(f"{label} {number}", items, item, definitions)
    else:
        yield Field(label, ", ".join(_item(item, items) for item in value))


def _property(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The label of a property, and its schema."""
    part = resolved(schema.get("properties", {}).get(name), definitions)
    return str(part.get("title") or label(name)), part


def resolved(part: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema with its $ref resolved. Keywords beside the $ref win. schemas.py has refused circles."""
    if not isinstance(part, dict):
        return {}
    if "$ref" not in part:
        return part
    siblings = {keyword: constraint for keyword, constraint in part.items() if keyword != "$ref"}
    return resolved(definitions.get(part["$ref"].rpartition("/")[2]), definitions) | siblings


def _formatted(value: Any, part: dict[str, Any]) -> str:
    show = _BY_FORMAT.get(part.get("format", "")) if isinstance(value, str) else None
    try:
        return show(value, None) if show else _plain(value, None)
    except ValueError:  # the schema accepts a value that the formatter does not: display it as it will be sent
        return _plain(value, None)


def unshowable(value: Any, place: str = "the object") -> str | None:
    """Why an operation cannot be displayed unchanged: a string or a name in it would mislead the reader.

    None if it can.
    """
    if isinstance(value, str):
        problem = problem_with(value, max_length=MAX_VALUE, newlines=True)
        return f"{place} {problem}" if problem else None
    if isinstance(value, list):
        parts = [(place, item) for item in value]
    elif isinstance(value, dict):
        if any(problem_with(name, max_length=100) for name in value):
            return f"{place} has a field name that cannot be shown"
        parts = list(value.items())
    else:
        return None
    return next(filter(None, (unshowable(item, name) for name, item in parts)), None)
