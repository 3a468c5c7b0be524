"""The difference as text for a terminal or a log, one line for each object and each changed value."""

import json
from collections.abc import Iterator
from typing import Any

from authserver.configuration.differences import Action, Change
from authserver.configuration.problems import Place, printable, spell
from authserver.configuration.section import SECRET
from authserver.configuration.sections import SECTIONS
from foundation.canonical import is_same_json

MAX_VALUE = 200  # characters of one shown value
_SIGNS = {Action.ADD: "+", Action.CHANGE: "~", Action.RETIRE: "-", Action.UNLISTED: "?", Action.KEEP: "="}


def render_change(change: Change) -> Iterator[str]:
    section = SECTIONS[change.section]
    yield f"{_SIGNS[change.action]} {section.noun} {printable(change.key)}{_remark(change)}"
    if change.action is Action.ADD:
        defaults = {one.name: one.default for one in section.fields}
        for one in change.fields:
            if one.new != defaults[one.name]:
                yield f"    {one.name}: {_spell_value(one.new)}"
    elif change.action in (Action.CHANGE, Action.RETIRE):
        for one in change.fields:
            if one.name == SECRET:
                yield f"    {SECRET}: replaced by {_spell_value(one.new)}"
            else:
                yield from _render_value((one.name,), one.old, one.new)


def _remark(change: Change) -> str:
    retirement = SECTIONS[change.section].retirement
    match change.action:
        case Action.KEEP:
            return ": unchanged"
        case Action.ADD:
            return ": added"
        case Action.CHANGE:
            return ": changed"
        case Action.RETIRE:
            return f": not in the file, --prune will {retirement} it"
        case Action.UNLISTED:
            return f": not in the file, stays as it is (--prune would {retirement} it)"


def _render_value(place: Place, old: Any, new: Any) -> Iterator[str]:
    """Objects key by key, so that a long schema shows only what changes in it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key not in old or key not in new or not is_same_json(old[key], new[key]):
                yield from _render_value((*place, key), old.get(key), new.get(key))
        return
    yield f"    {spell(place)}: {_spell_value(old)} → {_spell_value(new)}"


def _spell_value(value: Any) -> str:
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"
