"""Real systems as backends, each started once in a run, with a settled way to log in and look around."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from credentials.engines import BackendAddress, DatabaseAccount, Engine, Link, SessionTrace, find_engine
from foundation.handles import new_handle, new_id
from runtime import postgres
from tests.support import mariadb, redis_nodes

PREFIX = "cs_abc123_"


@dataclass
class System:
    """One running system as the engine's contract needs it."""

    engine_name: str
    target: BackendAddress
    role: dict[str, Any]  # a role's settings that give little
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        return find_engine(self.engine_name)

    @contextmanager
    def link(self) -> Iterator[Link]:
        link = self.engine.connect(self.target)
        try:
            yield link
        finally:
            link.close()

    def account(self, **settings: Any) -> DatabaseAccount:
        lease_id = new_id()
        trace = SessionTrace(str(lease_id), "an-agent", "a-user", str(new_id()))
        until = datetime.now(UTC) + timedelta(minutes=10)
        return DatabaseAccount(f"{PREFIX}{lease_id.hex[:20]}", self.role | settings, until, trace)

    def issue_lease(self, **settings: Any) -> tuple[DatabaseAccount, str]:
        account, password = self.account(**settings), new_handle()
        with self.link() as link:
            link.create(account, password)
        return account, password

    def take_back(self, account: DatabaseAccount) -> None:
        with self.link() as link:
            link.revoke(account)


class PostgresServer:
    """A PostgreSQL of the tests' own: roles, which leases are made of, belong to the whole server."""

    def __init__(self, folder: Path) -> None:
        self.embedded = postgres.start(folder, durable=False)
        with self.superuser() as connection:
            connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
            connection.execute("ALTER SYSTEM SET max_locks_per_transaction = 10")  # 2,000 and some more in all
        self.embedded.process.stop()
        self.embedded = postgres.start(folder, durable=False)
        self.port = self.embedded.port
        with self.superuser() as connection:
            for statement in (
                "CREATE ROLE orders_owner NOLOGIN",
                "CREATE ROLE orders_reader NOLOGIN",
                "CREATE ROLE orders_writer NOLOGIN",
                "CREATE ROLE lease_admin LOGIN CREATEROLE PASSWORD 'the first secret'",
                "GRANT orders_reader, orders_writer TO lease_admin WITH ADMIN OPTION",
                "GRANT orders_owner TO lease_admin",
                "CREATE DATABASE orders OWNER orders_owner",
                "CREATE DATABASE archive OWNER orders_owner",
                "REVOKE CONNECT ON DATABASE orders, archive FROM PUBLIC",
                "GRANT CONNECT ON DATABASE orders, archive TO orders_reader, orders_writer, lease_admin",
            ):
                connection.execute(statement)
        for database in ("orders", "archive"):
            with self.superuser(database) as connection:
                for statement in (
                    "CREATE TABLE orders (id int, item text)",
                    "ALTER TABLE orders OWNER TO orders_owner",
                    "INSERT INTO orders VALUES (1, 'paper')",
                    "GRANT SELECT ON orders TO orders_reader",
                    "GRANT SELECT, INSERT ON orders TO orders_writer",
                    "GRANT CREATE ON SCHEMA public TO orders_writer",
                ):
                    connection.execute(statement)

    def superuser(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.embedded.url("postgres", database), autocommit=True)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody gets in meanwhile, and our administrator's open ways in are cut; sessions of accounts stay."""
        with self.superuser() as connection:
            hba = Path(str(connection.execute("SHOW hba_file").fetchone()[0]))
            before = hba.read_text()
            hba.write_text("host all postgres all scram-sha-256\nhost all all all reject\n")
            connection.execute("SELECT pg_reload_conf()")
            time.sleep(0.2)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lease_admin'")
            try:
                yield
            finally:
                hba.write_text(before)
                connection.execute("SELECT pg_reload_conf()")
                time.sleep(0.2)

    def connect(self, name: str, password: str, database: str = "orders") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=name, password=password, dbname=database, autocommit=True
        )

    def one(self, query: str, *values: Any, database: str = "postgres") -> Any:
        with self.superuser(database) as connection:
            row = connection.execute(query, values).fetchone()
        return row[0] if row else None

    def settings(self, user: str) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "database": "orders", "user": user, "sslmode": "disable"}

    def system(self, user: str) -> System:
        """`postgres`, a superuser, or `lease_admin`, who has what the guide asks for and no more."""
        password = self.embedded.passwords["postgres"] if user == "postgres" else "the first secret"
        return System(
            "postgres", BackendAddress(self.settings(user), password), {"groups": ["orders_reader"]}, {"server": self}
        )


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[mariadb.MariaDb]:
    with mariadb.started() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_system(mysql_server: mariadb.MariaDb) -> System:
    role = {"grants": [{"privileges": ["SELECT"], "database": "shop_1", "table": "orders"}]}
    return System("mysql", mysql_server.target, role, {"server": mysql_server})


@pytest.fixture(scope="session")
def redis_system() -> Iterator[System]:
    with redis_nodes.started() as nodes:
        yield System("redis", redis_nodes.target_of(nodes), {"rules": ["~orders:*", "+@read"]}, {"nodes": nodes})


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-backend-"))
    server = PostgresServer(folder)
    yield server
    server.embedded.process.stop()
    postgres.delete_cluster(folder)
    shutil.rmtree(folder)


def drop_everything(server: PostgresServer) -> None:
    """Accounts that a test left behind on purpose."""
    with server.superuser() as connection:
        names = connection.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, 'cs_')").fetchall()
        for (name,) in names:
            for database in ("orders", "archive"):
                with server.superuser(database) as inside:
                    inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
