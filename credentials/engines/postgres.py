"""PostgreSQL 15 and newer.

An account is a login role that is a member of the role's groups.

All rights come from group roles, so that no table's ACL ever names an account. Passwords are sent
as SCRAM verifiers that are computed here, so that no password appears in the server's statement
log.

Revocation: forbid logins → end sessions → drop (or reassign) objects in each database → drop the
role.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any

import psycopg
from psycopg import sql

from credentials.engines import (
    CONNECT_TIMEOUT_S,
    HIDDEN_PASSWORD,
    STATEMENT_TIMEOUT_S,
    AccountMissing,
    BackendAddress,
    BackendUnreachable,
    DatabaseAccount,
    DatabaseMissing,
    EngineError,
    LoginRefused,
    Presence,
    TlsFailed,
    postgres_objects,
    scram,
)
from credentials.engines import postgres_catalog as catalog
from credentials.engines.time_limits import close_after
from foundation.settings_fields import Field, schema_of

CALL_TIMEOUT_S = 2.0 * STATEMENT_TIMEOUT_S  # seconds for one call of several statements, even if the server hangs
DROP_TIME_S = 0.6 * CALL_TIMEOUT_S  # seconds of a call after which no further batch of objects is dropped
SESSION_END_TIMEOUT_S = 3.0  # seconds that sessions may take to end
_END = r"(?![\s\S])"  # a dollar sign would accept a line break
_NAME: dict[str, Any] = {"minimum": 1, "maximum": 63, "pattern": r"^[^\x00-\x1f\x7f]+" + _END}
_HOST: dict[str, Any] = {"minimum": 1, "maximum": 253, "pattern": "^[A-Za-z0-9._:-]+" + _END}
_PORT: dict[str, Any] = {"minimum": 1, "maximum": 65535}
_TLS = ("verify-full", "verify-ca", "require", "prefer", "disable")
# SQLSTATEs that concern the server and not the statement.
_SERVER_STATES = ("08", "57P", "53")
_NOT_LET_IN = ("authentication failed", "not permitted to log in", "no pg_hba.conf entry", "role ", "permission denied")


class Postgres:
    title = "PostgreSQL"
    max_name = 63
    is_revocable = True
    backend_fields = (
        Field("host", label="Host", help="Name or address of the server.", required=True, **_HOST),
        Field("port", "integer", label="Port", default=5432, **_PORT),
        Field("database", label="Database", help="Countersign connects to it.", required=True, **_NAME),
        Field("user", label="Administrator account", help="It makes and drops the accounts; it needs CREATEROLE.",
              required=True, **_NAME),
        Field("password", label="Password of the administrator account", required=True, is_secret=True),
        Field("sslmode", "choice", label="TLS", help="verify-full checks the certificate and the name. disable "
              "sends everything in the clear.", default=_TLS[0], choices=_TLS),
        Field("sslrootcert", label="File with CA certificates", maximum=300, pattern="^/",
              help="A path on each server of Countersign. Without one, PostgreSQL's own default applies."),
        Field("shown_host", label="Host for agents", help="If agents reach it under another name.", **_HOST),
        Field("shown_port", "integer", label="Port for agents", **_PORT),
    )  # fmt: skip
    role_fields = (
        Field("groups", "lines", label="Group roles", required=True, minimum=1, maximum=10, is_unique=True, longest=63,
              pattern=_NAME["pattern"],
              help="One on each line. The account becomes a member of these roles, which hold all its rights. For "
              "example a group that reads one schema: CREATE ROLE orders_reader NOLOGIN; GRANT USAGE ON SCHEMA orders "
              "TO orders_reader; GRANT SELECT ON ALL TABLES IN SCHEMA orders TO orders_reader;"),
        Field("database", label="Database for the holder", help="Without one: the backend's own.", **_NAME),
        Field("connection_limit", "integer", label="Connections at once", default=5, minimum=1, maximum=100),
        # reassign leaves out what would run with the new owner's rights (functions, views, rules)
        Field("objects", "choice", label="Objects of the account", default="drop",
              choices=("drop", "cascade", "reassign"),
              help="When the lease ends: drop them; drop them with the objects of others that depend on them "
              "(cascade); or give them to another role (reassign)."),
        Field("reassign_to", label="New owner", help="Only with reassign.", **_NAME),
    )  # fmt: skip
    backend_schema: Mapping[str, Any] = schema_of(backend_fields)
    role_schema: Mapping[str, Any] = schema_of(role_fields)

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        if (settings.get("objects") == "reassign") != ("reassign_to" in settings):
            return ["set reassign_to, the new owner, if objects is reassign, and only then"]
        return []

    def statements(self, _target: BackendAddress, account: DatabaseAccount) -> list[str]:
        """As on PostgreSQL 16 and newer."""
        return [one.as_string(None) for one in _creation(account, HIDDEN_PASSWORD, has_set_option=True)]

    def connect(self, target: BackendAddress) -> "PostgresLink":
        return PostgresLink(target)

    @contextmanager
    def log_in(self, target: BackendAddress, name: str, password: str) -> Iterator["PostgresSession"]:
        try:
            connection = _connect(target.settings, name, password, target.settings["database"])
        except BackendUnreachable as error:
            raise EngineError(f"the account cannot log in: {error}") from error
        try:
            yield PostgresSession(connection)
        finally:
            connection.close()

    def connection_facts(self, target: BackendAddress, account: DatabaseAccount) -> dict[str, Any]:
        settings = target.settings
        return {
            "host": settings.get("shown_host", settings["host"]),
            "port": settings.get("shown_port", settings.get("port", 5432)),
            "database": account.settings.get("database", settings["database"]),
            "sslmode": settings.get("sslmode", _TLS[0]),
        }


ENGINE = Postgres()


class PostgresSession:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def is_alive(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        self._connection.close()


def _connect(settings: Mapping[str, Any], user: str, password: str, database: str) -> psycopg.Connection:
    milliseconds = STATEMENT_TIMEOUT_S * 1000
    try:
        return psycopg.connect(
            host=settings["host"],
            port=settings.get("port", 5432),
            user=user,
            password=password,
            dbname=database,
            sslmode=settings.get("sslmode", _TLS[0]),
            sslrootcert=settings.get("sslrootcert"),
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="countersign",
            # An account may have created functions in the schemas of the default search path.
            options=f"-c statement_timeout={milliseconds} -c lock_timeout=5000 -c search_path=pg_catalog",
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise _refusal(str(error)) from None


def _refusal(text: str) -> BackendUnreachable:
    """The last reason that the driver names, with host and port, but without its question to the reader."""
    lines = [line.strip() for line in text.strip().splitlines()]
    reason = next((line for line in reversed(lines) if line and not line.startswith("Is the server")), "no answer")
    reason = reason.removeprefix("connection failed: ")
    if any(phrase in reason for phrase in _NOT_LET_IN):
        return LoginRefused(reason)
    if "database " in reason and "does not exist" in reason:
        return DatabaseMissing(reason)
    return TlsFailed(reason) if "SSL" in reason or "certificate" in reason else BackendUnreachable(reason)


class PostgresLink:
    """A persistent connection to the backend's own database.

    Connections to other databases are made as needed.
    """

    def __init__(self, target: BackendAddress) -> None:
        self._settings, self._secret = target.settings, target.secret
        self._main = self._open(target.settings["database"])
        # From PostgreSQL 16 on, a membership may exclude SET ROLE, and may exclude INHERIT for an
        # administrator.
        self._has_set_option = self._main.info.server_version >= 160000

    def _open(self, database: str) -> psycopg.Connection:
        return _connect(self._settings, self._settings["user"], self._secret, database)

    def close(self) -> None:
        self._main.close()

    # --- issuing

    def create(self, account: DatabaseAccount, password: str) -> None:
        statements = _creation(account, scram.verifier(password), has_set_option=self._has_set_option)
        with self._call(self._main):
            # The statements of one message are one transaction and one round trip.
            self._main.execute(sql.SQL("; ").join(statements))

    def set_password(self, account: DatabaseAccount, password: str) -> None:
        with self._call(self._main):
            self._do("ALTER ROLE {} PASSWORD {}", sql.Identifier(account.name), scram.verifier(password))

    def renew(self, account: DatabaseAccount) -> None:
        with self._call(self._main):
            self._do("ALTER ROLE {} VALID UNTIL {}", sql.Identifier(account.name), account.valid_until.isoformat())

    # --- revoking

    def revoke(self, account: DatabaseAccount) -> None:
        name = sql.Identifier(account.name)
        with self._call(self._main):
            try:
                self._do("ALTER ROLE {} NOLOGIN", name)
            except psycopg.errors.UndefinedObject:
                return
            role_id, hanging, has_sessions, has_prepared = self._find(account.name)
            # Only if needed: if an administrator holds thousands of roles, each GRANT is expensive.
            if hanging or has_sessions:
                self._join(name)
            if has_sessions:
                self._end_sessions(role_id)
            if has_prepared:
                self._roll_back_prepared(account.name)
            self._clear(account, role_id, hanging)
            self._do("DROP ROLE {}", name)
            self._end_sessions(role_id)  # a login that was in progress when logins were forbidden

    def _find(self, name: str) -> tuple[int, list[str], bool, bool]:
        """The role's OID; the databases that hold its objects (this one also for shared objects);
        whether it has sessions; whether it has prepared transactions.
        """
        row = self._main.execute(catalog.WHAT_IT_HAS, {"name": name}).fetchone()
        if row is None:
            raise AccountMissing("another session dropped it meanwhile")
        return row

    def _join(self, name: sql.Identifier) -> None:
        """Joins the account's role: an administrator that is not a superuser ends sessions and
        drops objects as a member of it.
        """
        if self._main.info.parameter_status("is_superuser") == "on":
            return
        membership = " WITH INHERIT TRUE, SET TRUE" if self._has_set_option else ""
        self._do("GRANT {} TO CURRENT_USER" + membership, name)

    def _end_sessions(self, role_id: int) -> None:
        give_up = time.monotonic() + SESSION_END_TIMEOUT_S
        while self._main.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s", [role_id]
        ).fetchall():
            if time.monotonic() > give_up:
                raise EngineError("its sessions do not end")
            time.sleep(0.01)

    def _roll_back_prepared(self, name: str) -> None:
        """Prepared transactions outlive sessions and keep their locks."""
        prepared = "SELECT database, gid FROM pg_prepared_xacts WHERE owner = %s"
        for database, gid in self._main.execute(prepared, [name]).fetchall():
            with self._in_database(database) as connection:
                self._do("ROLLBACK PREPARED {}", gid, connection=connection)

    def _clear(self, account: DatabaseAccount, role_id: int, databases: list[str]) -> None:
        give_up = time.monotonic() + DROP_TIME_S
        for database in databases:
            with self._in_database(database) as connection:
                try:
                    if account.settings.get("objects", "drop") != "reassign":
                        self._drop_down_to_few(account, role_id, connection, give_up)
                    with connection.transaction():
                        self._clear_one(account, role_id, connection)
                except psycopg.errors.OutOfMemory:
                    # About this account, and not about the server: others can still be revoked.
                    raise EngineError(postgres_objects.TOO_MANY_LOCKS) from None

    def _drop_down_to_few(
        self, account: DatabaseAccount, role_id: int, connection: psycopg.Connection, give_up: float
    ) -> None:
        postgres_objects.unlink_large_objects(role_id, connection)
        cascade = account.settings.get("objects") == "cascade"
        postgres_objects.drop_down_to_few(role_id, connection, cascade=cascade, give_up=give_up)

    def _clear_one(self, account: DatabaseAccount, role_id: int, connection: psycopg.Connection) -> None:
        name, objects = sql.Identifier(account.name), account.settings.get("objects", "drop")
        if objects == "reassign":
            heir = account.settings["reassign_to"]
            if self._is_powerful(heir):
                raise EngineError(f"{heir} is an administrator, and must not inherit objects from an account")
            for statement in postgres_objects.owners_rights(role_id, connection):
                connection.execute(statement)
            self._do("REASSIGN OWNED BY {} TO {}", name, sql.Identifier(heir), connection=connection)
        cascade = " CASCADE" if objects == "cascade" else ""
        self._do("DROP OWNED BY {}" + cascade, name, connection=connection)

    def _is_powerful(self, role: str) -> bool:
        found = self._main.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = %s", [role])
        row = found.fetchone()
        return row is not None and bool(row[0])

    @contextmanager
    def _in_database(self, database: str) -> Iterator[psycopg.Connection]:
        if database == self._main.info.dbname:
            yield self._main
            return
        connection = self._open(database)
        try:
            with self._call(connection):
                yield connection
        finally:
            connection.close()

    # --- reading

    def verify(self, name: str) -> Presence:
        with self._call(self._main):
            row = self._main.execute(
                "SELECT rolcanlogin AND coalesce(rolvaliduntil > now(), true),"
                " (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid)"
                " FROM pg_roles r WHERE rolname = %s",
                [name],
            ).fetchone()
        return Presence(exists=True, can_log_in=row[0], sessions=row[1]) if row else Presence(exists=False)

    def list_owned(self, prefix: str) -> list[str]:
        with self._call(self._main):
            found = self._main.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, %s)", [prefix])
            return [name for (name,) in found.fetchall()]

    def excess_rights(self) -> list[str]:
        with self._call(self._main):
            row = self._main.execute(
                "SELECT rolsuper, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            held = self._main.execute(catalog.POWERS).fetchall()
        names = ("is a superuser", "may make databases", "may replicate", "is not bound by row security")
        found = [f"It {name}." for name, has in zip(names, row or (), strict=False) if has]
        if row and not row[0]:  # a superuser is a member of everything
            found += [f"It is a member of {name}." for (name,) in held]
        return found

    def grantable(self) -> list[str]:
        """The groups whose members our administrator may choose, without the server's own."""
        with self._call(self._main):
            return [name for (name,) in self._main.execute(catalog.GRANTABLE).fetchall()]

    def left_behind(self, account: DatabaseAccount) -> list[str]:
        """Default privileges of the account's groups.

        Any member may set them, and the server does not record who did.
        """
        found = []
        groups = list(account.settings.get("groups", []))
        with self._call(self._main):
            places = self._main.execute(catalog.DEFAULT_PRIVILEGES_IN, {"groups": groups}).fetchall() if groups else []
            for (database,) in places:
                with self._in_database(database) as connection:
                    rows = connection.execute(catalog.DEFAULT_PRIVILEGES, {"groups": groups}).fetchall()
                found += [
                    f"The group {group} has default privileges in the database {database}, for {kind}{where}: {acl}."
                    for group, kind, where, acl in rows
                ]
        return found

    def can_leave_behind(self, account: DatabaseAccount) -> list[str]:
        groups = list(account.settings.get("groups", []))
        database = account.settings.get("database", self._settings["database"])
        with self._call(self._main):
            owns = self._main.execute(catalog.OWNS, {"groups": groups}).fetchall() if groups else []
            with self._in_database(database) as connection:
                open_to_all = [name for (name,) in connection.execute(catalog.MAKES_LARGE_OBJECTS).fetchall()]
        found = [
            f"The group {group} owns objects in the database {where}: an account may change and drop them, and give"
            " rights on them to others that stay. Give them to a role that no lease uses (REASSIGN OWNED BY)."
            for group, where in owns
        ]
        if open_to_all:
            found.append(
                f"Everybody may make large objects in the database {database}, and fill its disk while the lease lasts:"
                f" REVOKE EXECUTE ON FUNCTION {', '.join(open_to_all)} FROM PUBLIC."
            )
        return found

    def set_own_secret(self, secret: str) -> None:
        with self._call(self._main):
            self._do("ALTER ROLE CURRENT_USER PASSWORD {}", scram.verifier(secret))
        self._secret = secret

    # --- statements

    def _do(self, statement: str, *values: Any, connection: psycopg.Connection | None = None) -> None:
        """Runs a statement that takes no parameters on the wire: the driver quotes identifiers and
        literals.
        """
        (connection or self._main).execute(_quote_message(statement, *values))

    @contextmanager
    def _call(self, connection: psycopg.Connection) -> Iterator[None]:
        """Bounds one call in time and translates its errors to the engine protocol's."""
        try:
            with close_after(CALL_TIMEOUT_S, lambda: _cut_off(connection)) as call:
                yield
        except psycopg.errors.UndefinedObject as error:
            raise AccountMissing(_first_line(error)) from None
        except psycopg.Error as error:
            if call.is_late:
                # The server answered before, and only this statement took too long. As far as we
                # know, the cause is this account.
                raise EngineError(f"not done within {CALL_TIMEOUT_S:g} s") from None
            if connection.closed or (error.sqlstate or "").startswith(_SERVER_STATES):
                connection.close()
                raise BackendUnreachable(_first_line(error)) from None
            raise EngineError(_first_line(error)) from None


def _creation(account: DatabaseAccount, verifier: str, *, has_set_option: bool) -> list[sql.Composed]:
    name = sql.Identifier(account.name)
    limit = account.settings.get("connection_limit", 5)
    membership = " WITH INHERIT TRUE, SET FALSE" if has_set_option else ""
    return [
        _quote_message(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT "
            "CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {}",
            name, limit, verifier, account.valid_until.isoformat(),
        ),
        *(
            _quote_message("GRANT {} TO {}" + membership, sql.Identifier(group), name)
            for group in account.settings.get("groups", [])
        ),
        _quote_message("ALTER ROLE {} SET application_name TO {}", name, f"countersign:{account.trace.lease_id}"),
        _quote_message("COMMENT ON ROLE {} IS {}", name, account.trace.text),
    ]  # fmt: skip


def _quote_message(statement: str, *values: Any) -> sql.Composed:
    return sql.SQL(statement).format(*values)


def _cut_off(connection: psycopg.Connection) -> None:
    """Closes the connection of a call that hangs, so that no thread waits for it any longer."""
    with suppress(psycopg.OperationalError, OSError):  # already closed
        wire = socket(fileno=connection.fileno())
        try:
            wire.shutdown(SHUT_RDWR)
        finally:
            wire.detach()


def _first_line(error: psycopg.Error) -> str:
    """The message without the statement, which may contain secrets."""
    return f"{error.sqlstate or type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:300]
