"""Engines: the code that speaks to backends. One small protocol, one file per kind of backend.

An engine knows no Django, no tables and no clock: frozen facts in, frozen facts out. The caller
chooses the name of the account and stores it before the call. An engine never chooses a name. A
crash on either side may interrupt a call at any point. Therefore `revoke` is idempotent, and it
succeeded only if `verify` confirms that the account is gone. The absence of an error proves
nothing. Nothing here retries; credentials/leases/revocation.py does.

postgres.py, mysql.py, redis.py   PostgreSQL; MySQL and MariaDB; Redis and Valkey
postgres_objects.py               drops the many objects of a PostgreSQL account in batches
postgres_catalog.py, scram.py     the SQL of catalog reads; password verifiers for PostgreSQL
time_limits.py                    closes the connection of a call that takes too long
third_party.py                    finds third-party engines, checks them and guards their calls

A third party adds an engine by an entry point of the group `countersign.engines` whose object is an
`Engine` (third_party.py; docs/guides/engines.md).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

from foundation.settings_fields import Field, fields_of

CONNECT_TIMEOUT_S = 5  # seconds
STATEMENT_TIMEOUT_S = 10  # seconds; every call to a backend ends within this time
HIDDEN_PASSWORD = "..."  # noqa: S105 - stands for the password where statements are shown
MAX_NAME_LENGTH = 32  # characters of an account's name; every engine must accept this length
# The engines of this product. Each module has an `ENGINE`.
BUILT_IN = {
    "mysql": "credentials.engines.mysql",
    "postgres": "credentials.engines.postgres",
    "redis": "credentials.engines.redis",
}


class EngineError(Exception):
    """The backend refused. The text is for administrators and never contains a secret."""


class BackendUnreachable(EngineError):
    """The backend did not answer. The state of the account is unknown."""


class LoginRefused(BackendUnreachable):
    """The backend refuses the login of our administrator account."""


class TlsFailed(BackendUnreachable):
    """The backend answers, but no TLS connection that we trust comes about."""


class DatabaseMissing(BackendUnreachable):
    """The backend lets our administrator account in, but not into the named database."""


class NotContacted(EngineError):
    """The backend was not contacted. The state of the account is unknown."""


class AccountMissing(EngineError):
    """The account that was to be changed does not exist."""


@dataclass(frozen=True)
class BackendAddress:
    """A backend and the secret of our administrator account. `settings` match the engine's `backend_schema`."""

    settings: Mapping[str, Any]
    secret: str = field(repr=False)


@dataclass(frozen=True)
class SessionTrace:
    """Identifies the lease of an account in the backend's own logs. Contains no secret."""

    lease_id: str
    client_id: str
    sub: str
    grant_id: str
    request_id: str = ""
    operation_digest: str = ""
    purpose: str = ""  # the agent's words, on one line

    @property
    def text(self) -> str:
        """The agent's own words come last, so that they cannot imitate another field."""
        known = {
            "lease": self.lease_id, "agent": self.client_id, "sub": self.sub, "grant": self.grant_id,
            "request": self.request_id, "operation": self.operation_digest, "purpose": self.purpose,
        }  # fmt: skip
        return " ".join(["countersign", *(f"{name}={value}" for name, value in known.items() if value)])


@dataclass(frozen=True)
class DatabaseAccount:
    """One account, as its lease stores it. `settings` are the role's and match the engine's `role_schema`.

    They are empty for a probe, which gets an account without rights, and for an orphan, whose name alone is known.
    """

    name: str
    settings: Mapping[str, Any]
    valid_until: datetime  # the expiry that the backend itself enforces, if it can; a second safeguard
    trace: SessionTrace


@dataclass(frozen=True)
class Presence:
    """What a read on the backend says about an account."""

    exists: bool
    can_log_in: bool = False
    sessions: int = 0

    @property
    def is_gone(self) -> bool:
        return not self.exists and self.sessions == 0

    @property
    def is_harmless(self) -> bool:
        """The account exists, but nobody can use it."""
        return not self.can_log_in and self.sessions == 0


class Session(Protocol):
    """A login as the account itself, for the preflight and for rotation."""

    def is_alive(self) -> bool: ...

    def close(self) -> None: ...


class Link(Protocol):
    """An open connection to one backend as its administrator. One thread uses it at a time.

    Every method raises BackendUnreachable if the backend does not answer, and EngineError if it refuses. After
    BackendUnreachable the link is closed and not used again.
    """

    def create(self, account: DatabaseAccount, password: str) -> None:
        """Creates the account, atomically if the backend can. Raises EngineError if the name exists.

        The account can log in only after it has everything that the role grants.
        """

    def set_password(self, account: DatabaseAccount, password: str) -> None:
        """Sets a new password for an existing account. Never creates one. Raises AccountMissing."""

    def renew(self, account: DatabaseAccount) -> None:
        """Moves the backend's own expiry to `valid_until`. Raises AccountMissing."""

    def revoke(self, account: DatabaseAccount) -> None:
        """Blocks the login, ends the sessions, drops the owned objects, drops the account, in this order.

        Does nothing if the account is gone. If a step raises, the effects of the earlier steps stay.
        """

    def verify(self, name: str) -> Presence:
        """Reads the account. On several nodes: the worst result. Raises BackendUnreachable if one does not answer."""

    def list_owned(self, prefix: str) -> list[str]:
        """The names of all accounts that begin with `prefix`."""

    def excess_rights(self) -> list[str]:
        """The rights of our administrator account that issuing leases does not need; a sentence each."""

    def set_own_secret(self, secret: str) -> None:
        """Sets a new secret for our administrator account (root rotation)."""

    def close(self) -> None: ...


class Engine(Protocol):
    """One kind of backend.

    `backend_fields` and `role_fields` are optional: descriptions of the settings (foundation/settings_fields.py)
    for the forms of the administration. Without them, Countersign derives the inputs from the schemas.
    `statements` is an optional method: see find_statements.
    """

    title: str
    backend_schema: Mapping[str, Any]  # JSON Schema (2020-12) of Backend.settings
    role_schema: Mapping[str, Any]  # of Role.settings
    max_name: int  # characters of an account's name
    is_revocable: bool  # False: a lease ends only by its own expiry, so leases are short

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        """Problems that the schema cannot express; a sentence each."""

    def connect(self, target: BackendAddress) -> Link:
        """Raises BackendUnreachable, or EngineError if the backend refuses our administrator account.

        The more exact LoginRefused, TlsFailed and DatabaseMissing name the step that failed.
        """

    def log_in(self, target: BackendAddress, name: str, password: str) -> AbstractContextManager[Session]:
        """Logs in as the account itself. Raises EngineError if the backend refuses."""

    def connection_facts(self, target: BackendAddress, account: DatabaseAccount) -> dict[str, Any]:
        """What the agent needs besides name and password: host, port, database ... No secret."""


def find_left_behind(link: Link, account: DatabaseAccount) -> list[str]:
    """Objects on the backend that an account with these settings may have left behind and does not own.

    An example are the default privileges of its group. Revoking cannot know which account left them. One sentence
    each; the same object always gives the same sentence. `left_behind` and `can_leave_behind` are optional methods
    of a Link.
    """
    method = getattr(link, "left_behind", None)
    return list(method(account)) if method else []


def find_can_leave_behind(link: Link, account: DatabaseAccount) -> list[str]:
    """What such an account could leave behind or fill the disk with, and what to revoke against it. A sentence each."""
    method = getattr(link, "can_leave_behind", None)
    return list(method(account)) if method else []


def describe_settings(engine: Engine, which: str) -> tuple[Field, ...]:
    """The description of the settings of a backend (`which` is backend) or a role. Raises Undescribed."""
    described = getattr(engine, f"{which}_fields", None)
    if isinstance(described, tuple) and all(isinstance(one, Field) for one in described):
        return described
    return fields_of(getattr(engine, f"{which}_schema"))


def find_statements(engine: Engine, target: BackendAddress, account: DatabaseAccount) -> list[str]:
    """What the engine sends to the backend to create this account, without its password; empty if it does not say."""
    method = getattr(engine, "statements", None)
    return list(method(target, account)) if method else []


def find_grantable(link: Link) -> list[str]:
    """The names that a role of this backend may use, such as groups; empty if the engine does not say.

    An optional method of a Link.
    """
    method = getattr(link, "grantable", None)
    return list(method()) if method else []


class UnknownEngine(NotContacted):
    """No installed engine supports this kind of backend."""


def find_engine(name: str) -> Engine:
    """Raises UnknownEngine: a lease may outlive the engine of its backend, and that must not crash."""
    if module := BUILT_IN.get(name):
        engine: Engine = import_module(module).ENGINE
        return engine
    from credentials.engines import third_party  # here, because it imports this module

    return third_party.find(name)


def engine_names() -> list[str]:
    from credentials.engines import third_party

    return sorted({*BUILT_IN, *third_party.names()})
