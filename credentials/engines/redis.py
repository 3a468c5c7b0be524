"""Redis and Valkey (6 or newer): one ACL user per lease, on every node.

ACLs are not replicated: `nodes` lists every primary and replica, and every change is made on each.
If a node has an ACL file, each change is saved to it. Without one, a restart removes every account,
which is the safe direction. Redis has no expiry of its own for accounts.
"""

import hashlib
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from credentials.engines import (
    CONNECT_TIMEOUT_S,
    HIDDEN_PASSWORD,
    STATEMENT_TIMEOUT_S,
    AccountMissing,
    BackendAddress,
    BackendUnreachable,
    DatabaseAccount,
    EngineError,
    LoginRefused,
    Presence,
    TlsFailed,
)
from foundation.settings_fields import Field, schema_of

_END = r"(?![\s\S])"  # a dollar sign would accept a line break
_HOST: dict[str, Any] = {"minimum": 1, "maximum": 253, "pattern": "^[A-Za-z0-9._:-]+" + _END}
_PORT: dict[str, Any] = {"minimum": 1, "maximum": 65535}
# Key and channel patterns, and categories and commands that are added or removed. Rules that set a
# password, turn a user on or off, or reset the rules are reserved to this engine.
_RULE = r"^(([~&]|%(R|W|RW)~)[^\s\x00-\x1f\x7f]+|[+-]@[a-z]+|[+-][a-z]+(\|[a-z-]+)?)" + _END
# The last rule of every account: it may not administer, whatever its role adds (ACL, CONFIG,
# SHUTDOWN, MODULE ...).
NEVER_GRANTED = "-@admin"
# Functions outlive the account that loaded them, and run with their caller's rights. `+@write`
# includes these commands.
NO_CODE = ("-function|load", "-function|delete", "-function|flush", "-function|restore")
NO_ACL_FILE = "not configured to use an ACL file"


class RedisLink:
    """One connection to each node."""

    def __init__(self, target: BackendAddress) -> None:
        self._nodes: dict[str, redis.Redis] = {}
        self._rules_on_code: dict[str, tuple[str, ...]] = {}
        self._own_name = str(target.settings["user"])
        try:
            for address in target.settings["nodes"]:
                node = _label(address)
                self._nodes[node] = _client(target, address, self._own_name, target.secret)
                self._command(node, "PING")
        except EngineError:
            self.close()
            raise

    def create(self, account: DatabaseAccount, password: str) -> None:
        for node in self._nodes:
            if self._user(node, account.name) is not None:
                raise EngineError(f"{node}: an account with this name already exists")
            # One command: the account has all its rules or does not exist.
            self._command(node, "ACL SETUSER", *_creation(account, self._no_code(node), _hashed(password)))
            self._save(node)

    def _no_code(self, node: str) -> tuple[str, ...]:
        """The rules against functions, which exist since Redis 7.

        An older node refuses rules for commands that it does not know.
        """
        if node not in self._rules_on_code:
            known = {str(name).lower() for name in self._command(node, "ACL CAT", "scripting")}
            self._rules_on_code[node] = NO_CODE if "function|load" in known else ()
        return self._rules_on_code[node]

    def set_password(self, account: DatabaseAccount, password: str) -> None:
        for node in self._nodes:
            self._must_be_there(node, account)
            self._command(node, "ACL SETUSER", account.name, "resetpass", _hashed(password))
            self._save(node)

    def renew(self, account: DatabaseAccount) -> None:
        """Only checks that the account exists: Redis has no expiry for accounts."""
        for node in self._nodes:
            self._must_be_there(node, account)

    def revoke(self, account: DatabaseAccount) -> None:
        """Revokes on every node, even if another node fails. Then raises the first problem."""
        self._each(lambda node: self._revoke_on(node, account.name))

    def verify(self, name: str) -> Presence:
        found = [self._presence(node, name) for node in self._nodes]
        return Presence(
            exists=any(one.exists for one in found),
            can_log_in=any(one.can_log_in for one in found),
            sessions=max(one.sessions for one in found),
        )

    def list_owned(self, prefix: str) -> list[str]:
        names = {name for node in self._nodes for name in self._command(node, "ACL USERS")}
        return sorted(name for name in names if name.startswith(prefix))

    def excess_rights(self) -> list[str]:
        found = []
        for node in self._nodes:
            own = self._user(node, self._own_name) or {}
            if "+@all" in own.get("categories", []):
                found.append(f"{node}: {self._own_name} may run every command; +ping +acl +client is enough")
            if own.get("keys"):
                found.append(f"{node}: {self._own_name} can reach keys; it needs none (resetkeys)")
            if "nopass" in own.get("flags", []):
                found.append(f"{node}: {self._own_name} has no password")
        return found

    def set_own_secret(self, secret: str) -> None:
        """Adds the new secret next to the old one on every node, then removes the old one, so that
        every node always accepts one of them.
        """
        try:
            for node in self._nodes:
                self._command(node, "ACL SETUSER", self._own_name, _hashed(secret))
        except EngineError:
            for node in self._nodes:
                with suppress(EngineError):  # the first problem is the one to report
                    self._command(node, "ACL SETUSER", self._own_name, _hashed(secret, "!"))
            raise
        self._each(lambda node: self._filter(node, secret))

    def close(self) -> None:
        for client in self._nodes.values():
            client.close()

    def _filter(self, node: str, secret: str) -> None:
        self._command(node, "ACL SETUSER", self._own_name, "resetpass", _hashed(secret))
        self._save(node)

    def _revoke_on(self, node: str, name: str) -> None:
        if self._user(node, name) is not None:
            self._command(node, "ACL SETUSER", name, "off")
            self._command(node, "CLIENT KILL", "USER", name)
            self._command(node, "ACL DELUSER", name)
        # Also if the user was gone: a crash may have come between the deletion and the save, and a
        # restart would restore the user.
        self._save(node)

    def _each(self, act: Callable[[str], None]) -> None:
        problems = []
        for node in self._nodes:
            try:
                act(node)
            except EngineError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _must_be_there(self, node: str, account: DatabaseAccount) -> None:
        if self._user(node, account.name) is None:
            raise AccountMissing(f"{node}: there is no such account")

    def _presence(self, node: str, name: str) -> Presence:
        user = self._user(node, name)
        clients: list[dict[str, str]] = self._command(node, "CLIENT LIST")
        sessions = sum(1 for client in clients if client.get("user") == name)
        return Presence(user is not None, "on" in user["flags"] if user else False, sessions)

    def _user(self, node: str, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._command(node, "ACL GETUSER", name)
        return found

    def _save(self, node: str) -> None:
        try:
            self._command(node, "ACL SAVE")
        except EngineError as problem:
            if NO_ACL_FILE not in str(problem):
                raise

    def _command(self, node: str, command: str, *arguments: str) -> Any:
        with _translated_errors(node):
            return _execute(self._nodes[node], command, *arguments)


class RedisSession:
    """A login as the account on every node."""

    def __init__(self, clients: Mapping[str, redis.Redis]) -> None:
        self._clients = clients

    def log_in(self) -> None:
        for node, client in self._clients.items():
            # Any answer proves the login: the role may not allow PING.
            with _translated_errors(node), suppress(redis.exceptions.NoPermissionError):
                _execute(client, "PING")

    def is_alive(self) -> bool:
        try:
            self.log_in()
        except EngineError:
            return False
        return True

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class RedisEngine:
    title = "Redis or Valkey"
    max_name = 63
    is_revocable = True
    backend_fields = (
        Field("nodes", "rows", label="Nodes", required=True, minimum=1, maximum=50, is_unique=True,
              help="Every primary and every replica, because ACLs are not replicated.",
              fields=(Field("host", label="Host", required=True, **_HOST),
                      Field("port", "integer", label="Port", required=True, **_PORT))),
        Field("user", label="Administrator account", required=True, pattern=r"^[^\s\x00-\x1f\x7f]{1,63}" + _END,
              help="It makes and deletes the accounts; it needs ACL and CLIENT."),
        Field("password", label="Password of the administrator account", required=True, is_secret=True),
        Field("tls", "boolean", label="TLS", help="Checks the certificate."),
        Field("ca", "long text", label="CA certificates (PEM)", help="Without them, the system's.", maximum=65536),
    )  # fmt: skip
    role_fields = (
        Field("rules", "lines", label="ACL rules", required=True, minimum=1, maximum=100, longest=200, pattern=_RULE,
              help="One on each line, in order: ~orders:* names keys, &news names a channel, +@read and +get allow "
              "commands, -keys forbids one."),
    )  # fmt: skip
    backend_schema: Mapping[str, Any] = schema_of(backend_fields)
    role_schema: Mapping[str, Any] = schema_of(role_fields)

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        rules = settings["rules"]
        problems = []
        if "+@all" in rules or "+@admin" in rules:
            problems.append("A leased account must not administer: name the categories that it needs, not all.")
        if not any(rule.startswith("+") for rule in rules):
            problems.append("The account needs a + rule, or it can run no command.")
        return problems

    def statements(self, _target: BackendAddress, account: DatabaseAccount) -> list[str]:
        """One command for each node, as on Redis 7 and newer."""
        return [" ".join(["ACL SETUSER", *_creation(account, NO_CODE, f"#{HIDDEN_PASSWORD}")])]

    def connect(self, target: BackendAddress) -> RedisLink:
        return RedisLink(target)

    @contextmanager
    def log_in(self, target: BackendAddress, name: str, password: str) -> Iterator[RedisSession]:
        clients = {_label(node): _client(target, node, name, password) for node in target.settings["nodes"]}
        session = RedisSession(clients)
        try:
            try:
                session.log_in()
            except BackendUnreachable as error:
                raise EngineError(f"the account cannot log in: {error}") from error
            yield session
        finally:
            session.close()

    def connection_facts(self, target: BackendAddress, account: DatabaseAccount) -> dict[str, Any]:
        return {"nodes": [dict(node) for node in target.settings["nodes"]], "tls": bool(target.settings.get("tls"))}


def _creation(account: DatabaseAccount, no_code: Sequence[str], proof: str) -> list[str]:
    return [account.name, "reset", *account.settings.get("rules", []), NEVER_GRANTED, *no_code, proof, "on"]


def _label(node: Mapping[str, Any]) -> str:
    return f"{node['host']}:{node['port']}"


def _client(target: BackendAddress, node: Mapping[str, Any], name: str, password: str) -> redis.Redis:
    tls: dict[str, Any] = {}
    if target.settings.get("tls"):
        tls = {"ssl": True, "ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_data": target.settings.get("ca")}
    return redis.Redis(
        host=node["host"], port=node["port"], username=name, password=password, protocol=2,
        socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=STATEMENT_TIMEOUT_S,
        # A retry would hide that a session was ended. The lease's own back-off is sufficient.
        retry=Retry(NoBackoff(), 0), driver_info=None, decode_responses=True, **tls,
    )  # fmt: skip


def _execute(client: redis.Redis, command: str, *arguments: str) -> Any:
    return client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]


def _hashed(password: str, sign: str = "#") -> str:
    """The hash that Redis itself stores, so that the password appears in no slow log, MONITOR or
    error of the server.
    """
    return sign + hashlib.sha256(password.encode()).hexdigest()


@contextmanager
def _translated_errors(node: str) -> Iterator[None]:
    """Translates the library's errors to EngineError."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise LoginRefused(f"{node}: the login was refused") from error
    except redis.exceptions.BusyLoadingError as error:
        raise BackendUnreachable(f"{node}: still loading") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        if "SSL" in str(error) or "certificate" in str(error):
            raise TlsFailed(f"{node}: no trusted TLS connection") from error
        raise BackendUnreachable(f"{node}: no answer ({type(error).__name__})") from error
    except redis.RedisError as error:
        raise EngineError(f"{node}: {error}"[:300]) from error


ENGINE = RedisEngine()
