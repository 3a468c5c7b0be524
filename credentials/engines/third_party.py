"""Third-party engines: found by their entry point, validated, and guarded.

An engine that is missing, does not load or is invalid is an UnknownEngine: its backends issue
nothing, its leases wait with that reason, and everything else goes on. An engine that raises an
unexpected error or returns an invalid value counts as one that refused.
"""

import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from jsonschema import Draft202012Validator, SchemaError

from credentials.engines import MAX_NAME_LENGTH, BackendAddress, Engine, EngineError, Presence, UnknownEngine

ENTRY_POINTS = "countersign.engines"
_FACTS: dict[str, type] = {
    "title": str, "backend_schema": Mapping, "role_schema": Mapping, "max_name": int, "is_revocable": bool,
}  # fmt: skip
_METHODS = ("problems_with_role", "connect", "log_in", "connection_facts")

# Of a link, and of an engine.
_OPTIONAL = frozenset({"left_behind", "can_leave_behind", "grantable", "backend_fields", "role_fields", "statements"})

log = logging.getLogger(__name__)


def names() -> set[str]:
    return {entry.name for entry in entry_points(group=ENTRY_POINTS)}


@cache  # caches what was found; an error is not cached
def find(name: str) -> Engine:
    """The engine of this name. Raises UnknownEngine, whose text says how to fix it."""
    entries = list(entry_points(group=ENTRY_POINTS, name=name))
    if not entries:
        raise UnknownEngine(f"no engine named {name} is installed")
    if len(entries) > 1:
        raise UnknownEngine(f"several packages provide an engine named {name}: {', '.join(map(_package, entries))}")
    engine = _load(entries[0])
    if problem := _checked(engine):
        raise UnknownEngine(f"{_package(entries[0])} provides {name}, which is not a usable engine: {problem}")
    return cast(Engine, Guarded(name, engine))


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"[:200]
        raise UnknownEngine(f"the engine {entry.name} of {_package(entry)} does not load: {answer}") from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _checked(engine: Any) -> str:
    try:
        return _problem_with(engine)
    except Exception as error:  # noqa: BLE001 - an attribute may be third-party code
        return f"reading it fails: {type(error).__name__}"


def _problem_with(engine: Any) -> str:
    if isinstance(engine, type):
        return "it is a class; an instance is needed"
    for name, kind in _FACTS.items():
        if not isinstance(getattr(engine, name, None), kind):
            return f"it has no {name}"
    for name in _METHODS:
        if not callable(getattr(engine, name, None)):
            return f"it has no {name}()"
    if engine.max_name < MAX_NAME_LENGTH:
        return f"account names have up to {MAX_NAME_LENGTH} characters, but it accepts only {engine.max_name}"
    for name in ("backend_schema", "role_schema"):
        try:
            Draft202012Validator.check_schema(getattr(engine, name))
        except SchemaError as error:
            return f"its {name} is not a JSON Schema: {error.message[:100]}"
    return ""


def _is_presence(found: Any) -> bool:
    """Whether this is a valid Presence.

    A value that is merely falsy must not mean that the account is gone.
    """
    if not isinstance(found, Presence):
        return False
    return isinstance(found.exists, bool) and isinstance(found.can_log_in, bool) and isinstance(found.sessions, int)


def _is_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _is_json_object(found: Any) -> bool:
    try:
        return isinstance(found, dict) and bool(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError):
        return False


# The checks of the return values that we use.
_ANSWERS: dict[str, Callable[[Any], bool]] = {
    "verify": _is_presence, "list_owned": _is_texts, "excess_rights": _is_texts, "problems_with_role": _is_texts,
    "connection_facts": _is_json_object, "statements": _is_texts, "grantable": _is_texts,
    "left_behind": _is_texts, "can_leave_behind": _is_texts,
}  # fmt: skip


class Guarded:
    """A third-party engine, link or session. Errors outside the protocol become an EngineError."""

    def __init__(self, name: str, inner: Any) -> None:
        self._name, self._inner = name, inner

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        if attribute in _OPTIONAL and not self._call(hasattr, self._inner, attribute):
            raise AttributeError(attribute)
        found = self._call(getattr, self._inner, attribute)
        return partial(self._call_engine, attribute, found) if callable(found) else found

    def connect(self, target: BackendAddress) -> "Guarded":
        return Guarded(self._name, self._call(self._inner.connect, target))

    @contextmanager
    def log_in(self, target: BackendAddress, name: str, password: str) -> Iterator["Guarded"]:
        manager = self._call(self._inner.log_in, target, name, password)
        session = self._call(manager.__enter__)
        try:
            yield Guarded(self._name, session)
        finally:
            self._call(manager.__exit__, None, None, None)

    def _call_engine(self, attribute: str, method: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        answer = self._call(method, *arguments, **more)
        if attribute in _ANSWERS and not _ANSWERS[attribute](answer):
            raise EngineError(f"the engine {self._name} failed: {attribute}() returned {type(answer).__name__}")
        return answer

    def _call(self, method: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        try:
            return method(*arguments, **more)
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - third-party code may raise anything
            # The error's text is not repeated: it may contain the password that the engine
            # received.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "the engine %s failed: %s at %s:%s", self._name, type(error).__name__, where.filename, where.lineno
            )
            raise EngineError(f"the engine {self._name} failed: {type(error).__name__}") from None
