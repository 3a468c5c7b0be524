"""Reads variables of the environment.

An unusable value is noted, and the variable's default is used. `problems` has one sentence for each;
authserver/apps.py refuses to start if there is any. The kinds of variables are here, the variables
themselves in authserver/variables.py. Neither needs Django, because `manage.py up` reads its own few
variables with them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import environ

from authserver import addresses

ON, OFF = ("1", "on", "true", "yes", "y"), ("0", "off", "false", "no", "n")
TEN_YEARS = 10 * 365 * 86_400  # seconds: a longer lifetime could exceed the calendar's last year
MAX = 1_000_000  # of things that are counted

T = TypeVar("T")
# Returns what is wrong with a text, without a full stop, or None.
Check = Callable[[str], str | None]


@dataclass(frozen=True)
class Variable(ABC, Generic[T]):
    """One variable: its name, the value without it, and what docs/settings.md says about it."""

    name: str
    default: T
    meaning: str
    default_text: str = field(default="", kw_only=True)  # in the document, if the default depends on others

    @property
    def values(self) -> str:
        """The values that it may have, for the document."""
        return "text"

    def is_given(self, values: Mapping[str, str]) -> bool:
        """Whether the variable is set. An empty variable counts as unset: compose files cannot leave one out."""
        return bool(values.get(self.name, "").strip())

    @abstractmethod
    def parse(self, text: str) -> tuple[T | None, list[str]]:
        """The value that `text` means, if any, and its problems: the rest of a sentence that begins with the name."""


@dataclass(frozen=True)
class Text(Variable[str]):
    check: Check | None = field(default=None, kw_only=True)
    form: str = field(default="text", kw_only=True)

    @property
    def values(self) -> str:
        return self.form

    def parse(self, text: str) -> tuple[str | None, list[str]]:
        if self.check and (problem := self.check(text)):
            return None, [f"cannot be used: {problem}"]
        return text, []


@dataclass(frozen=True)
class Number(Variable[int]):
    least: int = field(default=0, kw_only=True)
    greatest: int = field(default=MAX, kw_only=True)

    @property
    def values(self) -> str:
        return f"{self.least} to {self.greatest}"

    def parse(self, text: str) -> tuple[int | None, list[str]]:
        is_number = text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20
        if is_number and self.least <= int(text) <= self.greatest:
            return int(text), []
        return None, [f"must be a whole number from {self.least} to {self.greatest}"]


@dataclass(frozen=True)
class Seconds(Number):
    least: int = field(default=1, kw_only=True)
    greatest: int = field(default=TEN_YEARS, kw_only=True)

    @property
    def values(self) -> str:
        return f"seconds, {self.least} to {self.greatest}{' (ten years)' if self.greatest == TEN_YEARS else ''}"


@dataclass(frozen=True)
class Switch(Variable[bool]):
    @property
    def values(self) -> str:
        return "`on`, `off`"

    def parse(self, text: str) -> tuple[bool | None, list[str]]:
        if text.lower() in ON or text.lower() in OFF:
            return text.lower() in ON, []
        return None, ["must be on or off"]


@dataclass(frozen=True)
class Choice(Variable[str]):
    choices: tuple[str, ...]

    @property
    def values(self) -> str:
        return ", ".join(f"`{choice}`" for choice in self.choices)

    def parse(self, text: str) -> tuple[str | None, list[str]]:
        if text in self.choices:
            return text, []
        return None, [f"must be one of {', '.join(self.choices)}"]


@dataclass(frozen=True)
class Members(Variable[Sequence[str]]):
    """A list, separated by commas. An empty variable is an empty list."""

    check: Check | None = field(default=None, kw_only=True)
    form: str = field(kw_only=True)

    @property
    def values(self) -> str:
        return f"list of {self.form}"

    def is_given(self, values: Mapping[str, str]) -> bool:
        return self.name in values

    def parse(self, text: str) -> tuple[list[str], list[str]]:
        members = [member for part in text.split(",") if (member := part.strip())]
        problems = [(member, self.check(member)) for member in members] if self.check else []
        return members, [f"has {member!r}, but {problem}" for member, problem in problems if problem]


@dataclass(frozen=True)
class Origin(Variable[str]):
    """The scheme, host and port of a URL."""

    @property
    def values(self) -> str:
        return "`https://host` or `https://host:port`"

    def parse(self, text: str) -> tuple[str | None, list[str]]:
        origin = text.rstrip("/")
        if origin and (problem := addresses.problem_with_origin(origin)):
            return None, [f"must look like https://auth.example.com: {problem}"]
        return origin, []


@dataclass(frozen=True)
class Url(Variable[Any]):
    """The value is what `read` makes of the URL; None if it is not set."""

    schemes: tuple[str, ...]
    read: Callable[[str], Any]

    @property
    def values(self) -> str:
        return ", ".join(f"`{scheme}…`" for scheme in self.schemes)

    def parse(self, text: str) -> tuple[Any, list[str]]:
        """No sentence quotes the URL, because it may contain a password."""
        try:
            if text.startswith(self.schemes):
                return self.read(text), []
        except Exception:  # noqa: BLE001, S110 - libraries raise anything; every error means the sentence below
            pass
        return None, [f"must be a valid URL that begins with {', '.join(self.schemes)}"]


class Environment:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.problems: list[str] = []

    def is_given(self, variable: Variable[Any]) -> bool:
        return variable.is_given(self._values)

    def read(self, variable: Variable[T], default: T | None = None) -> T:
        """The variable's value. `default`, if given, takes the place of the declared one."""
        fallback = variable.default if default is None else default
        if not self.is_given(variable):
            return fallback
        value, problems = variable.parse(self._values[variable.name].strip())
        self.problems += [f"{variable.name} {problem}." for problem in problems]
        return fallback if value is None else value


def read_redis_url(url: str) -> str:
    """The URL itself, if redis can parse it. Raises ValueError."""
    from redis.connection import parse_url  # imported late: `manage.py up` needs no client of Redis

    parse_url(url)  # type: ignore[no-untyped-call]  # redis has no types here
    return url


def read_email_url(url: str) -> dict[str, Any]:
    """Django's mail settings from a URL. Raises ValueError."""
    if not addresses.is_host((urlsplit(url).hostname or "").lower()):
        raise ValueError("no host")
    config: dict[str, Any] = environ.Env.email_url_config(url)
    return config
