"""MySQL (8.0 or newer) and MariaDB (10.6 or newer): one account per lease, with its own grants.

Tables have no owner there. Objects that run with their definer's rights do (views, routines,
triggers, events), so a role may not grant the privileges that create them, and no object outlives
its account. The server's own expiry is not exact to minutes and is not used.

Our administrator needs CREATE USER; PROCESS to see other users' sessions, without which no account
is made and no read is conclusive; CONNECTION ADMIN (MySQL: CONNECTION_ADMIN) to end them; SELECT on
`mysql`.*; and the privileges that roles grant, WITH GRANT OPTION.
"""

import hashlib
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pymysql
import pymysql.converters
from pymysql.constants import CR, ER

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

# The privileges that a role may grant. CREATE VIEW, CREATE ROUTINE, TRIGGER and EVENT are left out
# on purpose (see above).
GRANTABLE_PRIVILEGES = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "SHOW VIEW", "LOCK TABLES", "CREATE TEMPORARY TABLES",
    "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES",
)  # fmt: skip
# Server-wide privileges that our administrator should not have, because issuing does not need them.
UNWANTED_PRIVILEGES = (
    "ALL PRIVILEGES", "SUPER", "FILE", "SHUTDOWN", "RELOAD", "REPLICATION SLAVE", "REPLICATION CLIENT",
    "CREATE TABLESPACE", "SYSTEM_VARIABLES_ADMIN",
)  # fmt: skip
_END = r"(?![\s\S])"  # a dollar sign would accept a line break
_NAME = r"^[^\x00-\x1f\x7f/\\.]{1,64}" + _END
_HOST: dict[str, Any] = {"minimum": 1, "maximum": 253, "pattern": "^[A-Za-z0-9._:-]+" + _END}
_PORT: dict[str, Any] = {"minimum": 1, "maximum": 65535}
# Without PROCESS the server silently lists only our own sessions, and an account in use would look
# unused. The server then refuses the second table (a small one, which takes no lock). It checks the
# rights of this very connection: rights that are granted or revoked later apply from the next
# connection on, for both tables.
_SESSIONS = """
SELECT 'session', ID FROM information_schema.PROCESSLIST WHERE USER = %s
UNION ALL SELECT 'sees others', page_size FROM information_schema.INNODB_CMP
"""
NO_ANSWER = "the administrator account cannot see other sessions: grant it PROCESS"
SESSION_END_TIMEOUT_S = 5.0  # seconds: KILL marks a session, which ends at its next step
_GONE = {CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_UNKNOWN_HOST}
_BUSY = {ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, ER.OUT_OF_RESOURCES}
_NOT_LET_IN = {ER.ACCESS_DENIED_ERROR, 3118, 4151}  # the account is locked: MySQL, MariaDB
_MAY_NOT_SEE_PREPARED = {ER.SPECIFIC_ACCESS_DENIED_ERROR, 1401}  # MySQL 8.0 answers XAER_RMERR
_NAMES = {code: name for name, code in vars(ER).items() if isinstance(code, int)}


class MysqlLink:
    def __init__(self, target: BackendAddress) -> None:
        self._host = str(target.settings.get("account_host", "%"))
        self._tls = bool(target.settings.get("tls"))
        self._connection = _connect(target, target.settings["user"], target.secret)
        try:
            (version,) = self._row("SELECT VERSION()") or ("",)
        except EngineError:
            self.close()
            raise
        self._is_mariadb = "MariaDB" in version

    def create(self, account: DatabaseAccount, password: str) -> None:
        """Creates the account locked and unlocks it when it has all its grants: each statement is
        its own transaction here.
        """
        if self._users(account.name):
            raise EngineError("an account with this name already exists")
        self._sessions(account.name)  # raises if we could not confirm later that the sessions have ended
        for statement, values in _creation(
            account, self._host, self._proof(password), tls=self._tls, is_mariadb=self._is_mariadb
        ):
            self._do(statement, *values)

    def set_password(self, account: DatabaseAccount, password: str) -> None:
        self._must_be_there(account)
        self._do(f"ALTER USER %s@%s{self._identified()}", account.name, self._host, self._proof(password))

    def renew(self, account: DatabaseAccount) -> None:
        """Only checks that the account exists: the server's own expiry counts in days."""
        self._must_be_there(account)

    def revoke(self, account: DatabaseAccount) -> None:
        for host in self._users(account.name):
            self._do("ALTER USER %s@%s ACCOUNT LOCK", account.name, host)
        self._end_sessions(account.name)
        for host in self._users(account.name):
            self._do("DROP USER IF EXISTS %s@%s", account.name, host)

    def verify(self, name: str) -> Presence:
        users = self._users(name)
        return Presence(
            exists=bool(users),
            can_log_in=not all(users.values()),
            sessions=len(self._sessions(name)),
        )

    def list_owned(self, prefix: str) -> list[str]:
        rows = self._rows("SELECT DISTINCT User FROM mysql.user WHERE LEFT(User, %s) = %s", len(prefix), prefix)
        return sorted(_text(row[0]) for row in rows)

    def excess_rights(self) -> list[str]:
        grants = [_text(row[0]) for row in self._rows("SHOW GRANTS")]
        server_wide = " ".join(grant.partition(" ON *.* ")[0] for grant in grants if " ON *.* " in grant)
        return [f"it has {name} on the whole server" for name in UNWANTED_PRIVILEGES if name in server_wide]

    def left_behind(self, account: DatabaseAccount) -> list[str]:
        """Prepared (XA) transactions outlive their session and its account, and keep their locks.

        The server does not tell whose they are.
        """
        try:
            rows = self._rows("XA RECOVER")
        except EngineError as problem:
            if _refusal(problem) not in _MAY_NOT_SEE_PREPARED:
                raise
            return [
                "Countersign cannot see prepared (XA) transactions: grant the administrator account XA_RECOVER_ADMIN."
            ]
        return [
            f"A prepared (XA) transaction holds its locks: {_text(row[3])!r}. End it with XA ROLLBACK." for row in rows
        ]

    def can_leave_behind(self, account: DatabaseAccount) -> list[str]:
        making = sorted(
            {_object(grant) for grant in account.settings.get("grants", []) if "CREATE" in grant["privileges"]}
        )
        return [
            f"Tables have no owner in MySQL and MariaDB: everything that an account creates in {what} remains."
            for what in making
        ]

    def set_own_secret(self, secret: str) -> None:
        self._do("SET PASSWORD = %s", self._proof(secret))

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()

    def _identified(self) -> str:
        return _identified(is_mariadb=self._is_mariadb)

    def _proof(self, password: str) -> str:
        """On MariaDB the password's hash, so that no log there can contain the password.

        The hash is unsalted, which matters for passwords that users choose and not for our random
        values. MySQL 8.4 no longer has this method; it writes no password to its logs.
        """
        if not self._is_mariadb:
            return password
        inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
        return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()

    def _users(self, name: str) -> dict[str, bool]:
        """The host part of each account of this name, and whether it is locked."""
        if self._is_mariadb:
            query = (
                "SELECT Host, coalesce(JSON_VALUE(Priv, '$.account_locked') IN ('1', 'true'), false)"
                " FROM mysql.global_priv WHERE User = %s"
            )
        else:
            query = "SELECT Host, account_locked = 'Y' FROM mysql.user WHERE User = %s"
        return {_text(host): bool(locked) for host, locked in self._rows(query, name)}

    def _must_be_there(self, account: DatabaseAccount) -> None:
        if self._host not in self._users(account.name):
            raise AccountMissing("there is no such account")

    def _sessions(self, name: str) -> list[int]:
        """The sessions of an account.

        Raises EngineError if our administrator may not see them: an empty list would prove nothing.
        """
        try:
            rows = self._rows(_SESSIONS, name)
        except EngineError as problem:
            if _refusal(problem) == ER.SPECIFIC_ACCESS_DENIED_ERROR:
                raise EngineError(NO_ANSWER) from problem
            raise
        if not any(_text(what) != "session" for what, _ in rows):
            raise EngineError(NO_ANSWER)
        return [number for what, number in rows if _text(what) == "session"]

    def _end_sessions(self, name: str) -> None:
        give_up = time.monotonic() + SESSION_END_TIMEOUT_S
        while sessions := self._sessions(name):
            for session in sessions:
                self._kill(session)
            if time.monotonic() > give_up:
                raise EngineError(f"{len(sessions)} sessions did not end within {SESSION_END_TIMEOUT_S:g} s")
            time.sleep(0.02)

    def _kill(self, session: int) -> None:
        try:
            self._do("KILL CONNECTION %s", session)
        except EngineError as problem:
            if _refusal(problem) != ER.NO_SUCH_THREAD:
                raise

    def _do(self, statement: str, *values: Any) -> None:
        self._rows(statement, *values)

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        return next(iter(self._rows(statement, *values)), None)

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with _translated_errors(), self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


class MysqlSession:
    def __init__(self, connection: "pymysql.Connection[Any]") -> None:
        self._connection = connection

    def is_alive(self) -> bool:
        try:
            self._connection.ping(reconnect=False)
        except pymysql.MySQLError:
            return False
        return True

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


class MysqlEngine:
    title = "MySQL or MariaDB"
    max_name = 32
    is_revocable = True
    backend_fields = (
        Field("host", label="Host", help="Name or address of the server.", required=True, **_HOST),
        Field("port", "integer", label="Port", default=3306, **_PORT),
        Field("user", label="Administrator account", required=True, minimum=1, maximum=80,
              help="It needs CREATE USER, PROCESS, CONNECTION ADMIN, SELECT on mysql.*, and the privileges that roles "
              "grant, WITH GRANT OPTION."),
        Field("password", label="Password of the administrator account", required=True, is_secret=True),
        Field("account_host", label="Hosts of the accounts", default="%", pattern=r"^[A-Za-z0-9.:%_/-]{1,255}" + _END,
              help="Hosts from which leased accounts may connect; % means any host."),
        Field("shown_host", label="Host for agents", help="If agents reach it under another name.", **_HOST),
        Field("shown_port", "integer", label="Port for agents", **_PORT),
        Field("tls", "boolean", label="TLS", help="Checks the certificate, and requires TLS of the accounts."),
        Field("ca", "long text", label="CA certificates (PEM)", help="Without them, the system's.", maximum=65536),
    )  # fmt: skip
    role_fields = (
        Field("grants", "rows", label="Rights", required=True, minimum=1, maximum=50,
              help="What the account may do in a database, or in one of its tables.",
              fields=(
                  Field("database", label="Database", required=True, pattern=_NAME),
                  Field("table", label="Table", help="Empty: every table.", pattern=_NAME),
                  Field("privileges", "choices", label="May", required=True, minimum=1,
                        choices=GRANTABLE_PRIVILEGES, help="SELECT reads. INSERT, UPDATE and DELETE write."),
              )),
    )  # fmt: skip
    backend_schema: Mapping[str, Any] = schema_of(backend_fields)
    role_schema: Mapping[str, Any] = schema_of(role_fields)

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        own_databases = {"mysql", "sys", "performance_schema", "information_schema"}
        names = {str(grant["database"]).lower() for grant in settings["grants"]}
        return [
            f"Countersign issues no leases for the server's own database {name}."
            for name in sorted(names & own_databases)
        ]

    def statements(self, target: BackendAddress, account: DatabaseAccount) -> list[str]:
        """As on MySQL; MariaDB has no comment and gets the password's hash."""
        host, tls = str(target.settings.get("account_host", "%")), bool(target.settings.get("tls"))
        made = _creation(account, host, HIDDEN_PASSWORD, tls=tls, is_mariadb=False)
        return [statement % tuple(map(pymysql.converters.escape_item, values, ["utf8mb4"] * len(values)))
                for statement, values in made]  # fmt: skip

    def connect(self, target: BackendAddress) -> MysqlLink:
        return MysqlLink(target)

    @contextmanager
    def log_in(self, target: BackendAddress, name: str, password: str) -> Iterator[MysqlSession]:
        try:
            session = MysqlSession(_connect(target, name, password))
        except BackendUnreachable as error:
            raise EngineError(f"the account cannot log in: {error}") from error
        try:
            yield session
        finally:
            session.close()

    def connection_facts(self, target: BackendAddress, account: DatabaseAccount) -> dict[str, Any]:
        settings = target.settings
        return {
            "host": settings.get("shown_host", settings["host"]),
            "port": settings.get("shown_port", settings.get("port", 3306)),
            "databases": sorted({grant["database"] for grant in account.settings["grants"]}),
            "tls": bool(settings.get("tls")),
        }


def _connect(target: BackendAddress, name: str, password: str) -> "pymysql.Connection[Any]":
    settings = target.settings
    context = ssl.create_default_context(cadata=settings.get("ca")) if settings.get("tls") else None
    with _translated_errors(f"{settings['host']}:{settings.get('port', 3306)}: "):
        return pymysql.connect(
            host=settings["host"], port=settings.get("port", 3306), user=name, password=password, autocommit=True,
            charset="utf8mb4", connect_timeout=CONNECT_TIMEOUT_S, read_timeout=STATEMENT_TIMEOUT_S,
            write_timeout=STATEMENT_TIMEOUT_S, ssl=context, ssl_disabled=context is None, local_infile=False,
        )  # fmt: skip


def _identified(*, is_mariadb: bool) -> str:
    return " IDENTIFIED VIA mysql_native_password USING %s" if is_mariadb else " IDENTIFIED BY %s"


def _creation(
    account: DatabaseAccount, host: str, proof: str, *, tls: bool, is_mariadb: bool
) -> list[tuple[str, tuple[str, ...]]]:
    """The statements with their values. MariaDB has no comment on an account."""
    user = f"CREATE USER %s@%s{_identified(is_mariadb=is_mariadb)}{' REQUIRE SSL' if tls else ''} ACCOUNT LOCK"
    first = (user, (account.name, host, proof)) if is_mariadb else (
        f"{user} COMMENT %s", (account.name, host, proof, account.trace.text)
    )  # fmt: skip
    grants = [
        (f"GRANT {_privileges(grant)} ON {_object(grant)} TO %s@%s", (account.name, host))
        for grant in account.settings.get("grants", [])
    ]
    return [first, *grants, ("ALTER USER %s@%s ACCOUNT UNLOCK", (account.name, host))]


def _privileges(grant: Mapping[str, Any]) -> str:
    """Only words of the list above, whatever was stored: they cannot be passed as parameters."""
    return ", ".join(GRANTABLE_PRIVILEGES[GRANTABLE_PRIVILEGES.index(name)] for name in grant["privileges"])


def _object(grant: Mapping[str, Any]) -> str:
    # In the database name of a GRANT, _ and % are wildcards unless they are escaped. In a table
    # name they are not.
    if "table" in grant:
        return f"{_quoted(grant['database'])}.{_quoted(grant['table'])}"
    return _quoted(grant["database"].replace("_", r"\_").replace("%", r"\%")) + ".*"


def _quoted(name: str) -> str:
    # PyMySQL interpolates values with Python's % operator.
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _code(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _refusal(problem: EngineError) -> int:
    """The server's own error code."""
    return _code(problem.__cause__) if isinstance(problem.__cause__, pymysql.MySQLError) else 0


@contextmanager
def _translated_errors(place: str = "") -> Iterator[None]:
    """Translates the library's errors to EngineError. `place` names the server while no connection exists.

    The message has the code's name and not the text, which may repeat a statement.
    """
    try:
        yield
    except pymysql.InterfaceError as error:
        raise BackendUnreachable("the connection is closed") from error
    except pymysql.MySQLError as error:
        code = _code(error)
        if code in _NOT_LET_IN:
            raise LoginRefused(f"{place}the login was refused ({code})") from error
        if place and "SSL" in str(error):
            raise TlsFailed(f"{place}no trusted TLS connection ({code})") from error
        if code in _GONE or code in _BUSY:
            raise BackendUnreachable(f"{place}no answer ({code})") from error
        raise EngineError(f"the server refused: {_NAMES.get(code, 'error')} ({code})") from error
    except OSError as error:
        raise BackendUnreachable(f"{place}no answer ({type(error).__name__})") from error


ENGINE = MysqlEngine()
