"""Reads settings from environment variables.

An unusable value is noted, and its default is used.

`problems` has one sentence for each; authserver/apps.py refuses to start if there is any. It does
not need Django, because `manage.py up` reads its own few settings with it.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import environ
from redis.connection import parse_url

from authserver import addresses

ON, OFF = ("1", "on", "true", "yes", "y"), ("0", "off", "false", "no", "n")
TEN_YEARS = 10 * 365 * 86_400  # seconds: a longer lifetime could exceed the calendar's last year
MAX = 1_000_000  # of things that are counted

# The schemes that each setting's URL may have, and the name of the setting's URL in the sentence.
POSTGRESQL = ("postgres://", "postgresql://")
REDIS = ("redis://", "rediss://", "unix://")
SMTP = ("smtp://", "smtp+tls://", "smtp+ssl://")


class Environment:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.problems: builtins.list[builtins.str] = []

    def is_given(self, name: str) -> builtins.bool:
        """Whether the variable is set.

        An empty variable counts as unset, except for lists: compose files cannot leave one out.
        """
        return bool(self._values.get(name, "").strip())

    def str(self, name: builtins.str, default: builtins.str = "") -> builtins.str:
        return self._values[name].strip() if self.is_given(name) else default

    def int(
        self, name: builtins.str, default: builtins.int, least: builtins.int = 0, max_length: builtins.int = MAX
    ) -> builtins.int:
        text = self.str(name)
        if not text:
            return default
        if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 and least <= int(text) <= max_length:
            return int(text)
        self.problems.append(f"{name} must be a whole number from {least} to {max_length}.")
        return default

    def seconds(self, name: builtins.str, default: builtins.int, least: builtins.int = 1) -> builtins.int:
        return self.int(name, default, least, TEN_YEARS)

    def bool(self, name: builtins.str, default: builtins.bool) -> builtins.bool:
        text = self.str(name).lower()
        if text in ON or text in OFF:
            return text in ON
        if text:
            self.problems.append(f"{name} must be on or off.")
        return default

    def choice(self, name: builtins.str, default: builtins.str, choices: Sequence[builtins.str]) -> builtins.str:
        text = self.str(name, default)
        if text in choices:
            return text
        self.problems.append(f"{name} must be one of {', '.join(choices)}.")
        return default

    def list(
        self,
        name: builtins.str,
        default: Sequence[builtins.str] = (),
        problem_of: Callable[[builtins.str], builtins.str | None] | None = None,
    ) -> builtins.list[builtins.str]:
        """A comma-separated list. `problem_of` returns what is wrong with a member, or None."""
        if name not in self._values:
            return [*default]
        members = [member for part in self._values[name].split(",") if (member := part.strip())]
        for member in members:
            if problem_of is not None and (problem := problem_of(member)):
                self.problems.append(f"{name} has {member!r}, but {problem}.")
        return members

    def valid(
        self, name: builtins.str, default: builtins.str, problem_of: Callable[[builtins.str], builtins.str | None]
    ) -> builtins.str:
        text = self.str(name, default)
        if text and (problem := problem_of(text)):
            self.problems.append(f"{name} cannot be used: {problem}.")
            return default
        return text

    def origin(self, name: builtins.str, default: builtins.str) -> builtins.str:
        """The scheme, host and port of a URL."""
        origin = self.str(name, default).rstrip("/")
        if origin and (problem := addresses.problem_with_origin(origin)):
            self.problems.append(f"{name} must look like https://auth.example.com: {problem}.")
            return default
        return origin

    def url(self, name: builtins.str, schemes: Sequence[builtins.str], read: Callable[[builtins.str], Any]) -> Any:
        """What `read` makes of the URL; None if it is not set.

        No sentence quotes the URL, because it may contain a password.
        """
        url = self.str(name)
        if not url:
            return None
        try:
            if url.startswith(tuple(schemes)):
                return read(url)
        except Exception:  # noqa: BLE001, S110 - libraries raise anything; every error means the sentence below
            pass
        self.problems.append(f"{name} must be a URL that begins with {', '.join(schemes)} and can be read.")
        return None


def read_redis_url(url: builtins.str) -> builtins.str:
    """The URL itself, if redis can parse it. Raises ValueError."""
    parse_url(url)  # type: ignore[no-untyped-call]  # redis has no types here
    return url


def read_email_url(url: builtins.str) -> dict[builtins.str, Any]:
    """Django's mail settings from a URL. Raises ValueError."""
    if not addresses.is_host((urlsplit(url).hostname or "").lower()):
        raise ValueError("no host")
    config: dict[builtins.str, Any] = environ.Env.email_url_config(url)
    return config
