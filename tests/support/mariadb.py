"""A real MariaDB of the system's packages, for one test run: its own folder, loopback only, gone with the run."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest

from credentials.engines import BackendAddress
from runtime.processes import Process, SystemAccount, free_port
from tests.patience import PATIENCE

INSTALL = "MariaDB is missing: apt-get install mariadb-server"


@dataclass
class MariaDb:
    process: Process
    port: int
    password: str  # of root
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))  # of our administrator, `lease_admin`

    def connect(
        self, user: str = "root", password: str | None = None, **options: object
    ) -> "pymysql.Connection[tuple[object, ...]]":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password or self.password, autocommit=True,
            connect_timeout=5, read_timeout=20, **options,
        )  # fmt: skip

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    @property
    def target(self) -> BackendAddress:
        return BackendAddress({"host": "127.0.0.1", "port": self.port, "user": "lease_admin"}, self.secret)

    @contextmanager
    def administrator(self, privileges: str) -> Iterator[BackendAddress]:
        """Another one, who has these on the whole server, and what the role of the tests gives."""
        name, secret = f"lender_{secrets.token_hex(4)}", secrets.token_urlsafe(24)
        self.rows("CREATE USER %s@'%%' IDENTIFIED BY %s", name, secret)
        self.rows(f"GRANT {privileges} ON *.* TO %s@'%%'", name)
        self.rows("GRANT SELECT ON mysql.* TO %s@'%%'", name)
        self.rows("GRANT SELECT ON `shop\\_1`.* TO %s@'%%' WITH GRANT OPTION", name)
        try:
            yield BackendAddress({"host": "127.0.0.1", "port": self.port, "user": name}, secret)
        finally:
            self.rows("DROP USER %s@'%%'", name)

    def furnish(self) -> None:
        """A database to issue accounts of, and an administrator with no more rights than that needs."""
        self.rows("CREATE USER lease_admin@'%%' IDENTIFIED BY %s", self.secret)
        for statement in (
            "CREATE DATABASE shop_1",
            "CREATE DATABASE shopA1",  # what the wildcard in an unescaped shop_1 would reach too
            "CREATE TABLE shop_1.orders (id INT PRIMARY KEY)",
            "CREATE TABLE shop_1.people (id INT PRIMARY KEY)",
            "CREATE TABLE shopA1.orders (id INT PRIMARY KEY)",
            "INSERT INTO shop_1.orders VALUES (1), (2)",
            "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO lease_admin@'%'",
            "GRANT SELECT ON mysql.* TO lease_admin@'%'",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON `shop\\_1`.* TO lease_admin@'%' WITH GRANT OPTION",
        ):
            self.rows(statement)


@contextmanager
def started() -> Iterator[MariaDb]:
    """Skips loudly where it is not installed; with CI=true that is a failure."""
    binary, installer = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if binary is None or installer is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="countersign-mariadb-"))
    account = _account(folder)
    try:
        # A tmpdir of its own: one that starts deletes the temporary tables that it finds, also of those that run.
        options = ["--no-defaults", f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
        subprocess.run(
            [installer, *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True, capture_output=True, user=account.uid if account else None,
        )  # fmt: skip
        yield from _run(binary, options, folder, account)
    finally:
        shutil.rmtree(folder)


def _account(folder: Path) -> SystemAccount | None:
    """As root it runs as the packages' own user: the server refuses root."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("mysql")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return SystemAccount(user.pw_uid, user.pw_gid)


def _run(binary: str, options: list[str], folder: Path, account: SystemAccount | None) -> Iterator[MariaDb]:
    port, password = free_port(), secrets.token_urlsafe(16)
    setup = folder / "setup.sql"
    # One statement a line: the server reads it so.
    setup.write_text(
        f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
    )
    setup.chmod(0o644)
    command = [
        binary, *options, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}", f"--init-file={setup}", "--skip-name-resolve", "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=0", f"--general-log-file={folder}/general.log",
    ]  # fmt: skip
    server = MariaDb(Process("mariadb", command, {}, account=account, log=folder / "log"), port, password)
    server.process.start()
    try:
        _wait(server)
        server.furnish()
        yield server
    finally:
        server.process.stop()


def _wait(server: MariaDb) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            server.rows("SELECT 1")
            return
        except pymysql.MySQLError:
            if not server.process.is_running or time.monotonic() > give_up:
                log = server.process.log.read_text() if server.process.log else ""
                pytest.fail(f"MariaDB did not start:\n{log[-3000:]}")
            time.sleep(0.05)
