"""A pytest plugin (-p tests.support.services): a real PostgreSQL and a real Redis, when the first test needs them.

Django reads its settings before any test runs, so the addresses are chosen first, and the ports reserved until the
servers start. Every worker of `pytest -n` has servers of its own. They end with the run, and by the kernel if pytest
is killed. DATABASE_URL with DATABASE_OWNER_URL, and REDIS_URL, given by the user, win; the tests then use a database
of their own on that server, made by the owner and dropped at the end.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from runtime import CannotStart, postgres, redis
from runtime.processes import ReservedPort
from tests.support import postgres_template

RULES = Path(__file__).parent.parent / "rules"
ADDRESSES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
# What the controller of `pytest -n` chose for itself: its workers inherit the environment and choose anew.
OURS = "COUNTERSIGN_TEST_ADDRESSES"

_to_start: list[Callable[[], None]] = []
_at_end: list[Callable[[], object]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    for variable in os.environ.pop(OURS, "").split():
        del os.environ[variable]
    given = [variable for variable in ADDRESSES if os.environ.get(variable)]
    if "DATABASE_URL" in given and "DATABASE_OWNER_URL" not in given:
        raise pytest.UsageError("DATABASE_URL is set without DATABASE_OWNER_URL, whose role makes the tests' database.")
    if "REDIS_URL" in given and "PYTEST_XDIST_WORKER" in os.environ:
        raise pytest.UsageError("REDIS_URL is set: workers beside each other would meet in that Redis. Use -n 0.")
    data_dir = Path(tempfile.mkdtemp(prefix="countersign-tests-"))
    _at_end.append(lambda: shutil.rmtree(data_dir))
    if "REDIS_URL" not in given:
        _plan_redis(data_dir)
    if "DATABASE_URL" in given:
        _use_own_database("template1")
    else:
        _plan_postgres(data_dir)
        _use_own_database(postgres.DATABASE)
    os.environ[OURS] = " ".join(variable for variable in ADDRESSES if variable not in given)
    os.environ |= {"COUNTERSIGN_TESTING": "1", "DATA_DIR": str(data_dir), "LOG_LEVEL": "ERROR"}


def _plan_redis(data_dir: Path) -> None:
    port, password = ReservedPort(), secrets.token_urlsafe(24)
    _at_end.append(port.release)
    os.environ["REDIS_URL"] = redis.url(port.number, password)

    def start() -> None:
        _at_end.append(redis.start(data_dir, port.release(), password).process.stop)

    _to_start.append(start)


def _plan_postgres(data_dir: Path) -> None:
    port, passwords = ReservedPort(), postgres_template.passwords()
    _at_end.append(port.release)
    os.environ["DATABASE_URL"] = postgres.url(postgres.APPLICATION, passwords, port.number)
    os.environ["DATABASE_OWNER_URL"] = postgres.url(postgres.OWNER, passwords, port.number)

    def start() -> None:
        postgres_template.copy_to(data_dir)
        _at_end.append(lambda: postgres.delete_cluster(data_dir))
        _at_end.append(postgres.start(data_dir, port.release(), durable=False).process.stop)

    _to_start.append(start)


def _use_own_database(template: str) -> None:
    """A fresh database for this run, so that runs beside each other do not meet."""
    name = f"test_{secrets.token_hex(6)}"
    owner_url = os.environ["DATABASE_OWNER_URL"]
    application = urlsplit(os.environ["DATABASE_URL"]).username or ""
    for variable in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        os.environ[variable] = urlunsplit(urlsplit(os.environ[variable])._replace(path=f"/{name}"))

    def start() -> None:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            postgres.make_database(connection, name, urlsplit(owner_url).username or "", application, template)
        _at_end.append(drop)

    def drop() -> None:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    _to_start.append(start)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test but those of the pure rules may use the servers."""
    if RULES not in item.path.parents:
        _start()


def _start() -> None:
    while _to_start:
        try:
            _to_start.pop(0)()
        except CannotStart as reason:
            pytest.exit(str(reason), returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_unconfigure() -> None:
    while _at_end:
        _at_end.pop()()
