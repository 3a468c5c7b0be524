"""What speaks to a connected system: one small protocol, one file per kind of system.

An engine knows no Django, no tables and no clock: frozen facts in, frozen facts out. It is handed the name of the
account, chosen and written down before; it never chooses one. Everything may be cut off at any point, by a crash of
ours or theirs, so that `revoke` is idempotent and its success is what `verify` reads afterwards, never the absence
of an error. Nothing here retries; credentials/taking_back.py does.

A third party adds an engine by an entry point of the group `countersign.engines` whose object is an `Engine`
(third_party.py; docs/guides/engines.md).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

CONNECT_TIMEOUT = 5  # seconds
STATEMENT_TIMEOUT = 10  # seconds; every single call to a system ends by then
LONGEST_NAME = 32  # characters of an account's name: every engine takes as many
# Ours; each module has an `ENGINE`.
BUILT_IN = {
    "mysql": "credentials.engines.mysql",
    "postgres": "credentials.engines.postgres",
    "redis": "credentials.engines.redis",
}


class EngineError(Exception):
    """The system answered, and said no. The text is for administrators; it never holds a secret."""


class Unreachable(EngineError):
    """The system did not answer: nothing is known about this account in particular."""


class Refused(Unreachable):
    """The system does not let our administrator in."""


class NotAsked(EngineError):
    """It did not come to asking the system: nothing is known about it."""


class AccountMissing(EngineError):
    """There is no such account, where one was to be changed."""


@dataclass(frozen=True)
class Target:
    """A system and our administrator's way in. `settings` fit the engine's `backend_schema`."""

    settings: Mapping[str, Any]
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Trace:
    """Where an account leads back to, for the system's own logs. None of it is secret."""

    lease_id: str
    client_id: str
    sub: str
    grant_id: str
    request_id: str = ""
    operation_digest: str = ""
    purpose: str = ""  # the agent's words, on one line

    @property
    def text(self) -> str:
        """What is the agent's own comes last: it cannot pass for anything else."""
        known = {
            "lease": self.lease_id, "agent": self.client_id, "sub": self.sub, "grant": self.grant_id,
            "request": self.request_id, "operation": self.operation_digest, "purpose": self.purpose,
        }  # fmt: skip
        return " ".join(["countersign", *(f"{name}={value}" for name, value in known.items() if value)])


@dataclass(frozen=True)
class Account:
    """One account, as frozen in its lease. `settings` are the role's and fit the engine's `role_schema`.

    They are empty for a probe, which gets nothing but an account, and for an orphan, of which the name alone is known.
    """

    name: str
    settings: Mapping[str, Any]
    valid_until: datetime  # the system's own expiry, where it has one: our second line
    trace: Trace


@dataclass(frozen=True)
class Presence:
    """What a read on the system says about an account."""

    exists: bool
    can_log_in: bool = False
    sessions: int = 0

    @property
    def is_gone(self) -> bool:
        return not self.exists and self.sessions == 0

    @property
    def is_harmless(self) -> bool:
        """Nobody can use it, although it is still there."""
        return not self.can_log_in and self.sessions == 0


class Session(Protocol):
    """A login as the account itself, for the preflight and for rotation."""

    def is_alive(self) -> bool: ...

    def close(self) -> None: ...


class Link(Protocol):
    """An open way into one system as its administrator; one thread at a time, kept open between calls.

    Every method raises Unreachable where the system does not answer (the link is then closed and not used
    again), and EngineError where it refuses.
    """

    def create(self, account: Account, password: str) -> None:
        """Makes the account, whole or not at all where the system can; raises EngineError where the name is taken.

        It can log in only when it has everything that the role gives.
        """

    def set_password(self, account: Account, password: str) -> None:
        """A new password for an account that is there. Never makes one. Raises AccountMissing."""

    def renew(self, account: Account) -> None:
        """Moves the system's own expiry to `valid_until`. Raises AccountMissing."""

    def revoke(self, account: Account) -> None:
        """No login, then no sessions, then nothing that it owns, then no account. Does nothing where it is gone.

        Keeps to this order when it cannot finish: what raises leaves the account as harmless as it got.
        """

    def verify(self, name: str) -> Presence:
        """Reads what is there. On several nodes: the worst of them; one that does not answer raises Unreachable."""

    def list_owned(self, prefix: str) -> list[str]:
        """The names of all accounts that begin with `prefix`."""

    def excess_rights(self) -> list[str]:
        """What our administrator can do there that lending needs not; a sentence each."""

    def set_own_secret(self, secret: str) -> None:
        """A new secret for our administrator (root rotation)."""

    def close(self) -> None: ...


class Engine(Protocol):
    """One kind of system."""

    title: str
    backend_schema: Mapping[str, Any]  # JSON Schema (2020-12) of Backend.settings
    role_schema: Mapping[str, Any]  # of Role.settings
    most_name: int  # characters of an account's name
    is_revocable: bool  # False: what was lent works until it expires by itself; then it is short

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        """What a schema cannot say; a sentence each."""

    def connect(self, target: Target) -> Link:
        """Raises Unreachable, or EngineError where our administrator is refused."""

    def log_in(self, target: Target, name: str, password: str) -> AbstractContextManager[Session]:
        """As the account itself; raises EngineError where it is refused."""

    def connection_facts(self, target: Target, account: Account) -> dict[str, Any]:
        """What the holder needs besides name and password: host, port, database ... No secret."""


def find_left_behind(link: Link, account: Account) -> list[str]:
    """What is there now that an account with these settings may have left and that is not its own (the default
    privileges of its group, say): revoking cannot know whose it is. A sentence each, the same for the same thing.

    `left_behind` and `can_leave_behind` are optional methods of a Link.
    """
    method = getattr(link, "left_behind", None)
    return list(method(account)) if method else []


def find_can_leave_behind(link: Link, account: Account) -> list[str]:
    """What such an account could leave, or fill the disk with, and what to revoke against it. A sentence each."""
    method = getattr(link, "can_leave_behind", None)
    return list(method(account)) if method else []


class UnknownEngine(NotAsked):
    """Nothing installed speaks to this kind of system."""


def find_engine(name: str) -> Engine:
    """Raises UnknownEngine: a lease of a system that nobody here speaks to any more is a state, not a crash."""
    if module := BUILT_IN.get(name):
        engine: Engine = import_module(module).ENGINE
        return engine
    from credentials.engines import third_party  # here: it stands on this module

    return third_party.find(name)


def engine_names() -> list[str]:
    from credentials.engines import third_party

    return sorted({*BUILT_IN, *third_party.names()})
