"""A pytest plugin (-p tests.support.services): a real PostgreSQL and a real Redis for the whole run.

Started before Django reads its settings, ended with the run, and by the kernel should pytest be killed.
DATABASE_URL with DATABASE_OWNER_URL, and REDIS_URL, given by the user, win; the tests then use a database of
their own on that server, made by the owner and dropped at the end.
"""

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from runtime import CannotStart, postgres, redis
from runtime.processes import Process

_processes: list[Process] = []
_made: dict[str, str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    try:
        _start()
    except CannotStart as reason:
        raise pytest.UsageError(str(reason)) from reason


def _start() -> None:
    data_dir = Path(tempfile.mkdtemp(prefix="countersign-tests-"))
    _made["data_dir"] = str(data_dir)
    if not os.environ.get("REDIS_URL"):
        cache = redis.start(data_dir)
        _processes.append(cache.process)
        os.environ["REDIS_URL"] = cache.url
    if os.environ.get("DATABASE_URL") and not os.environ.get("DATABASE_OWNER_URL"):
        raise CannotStart("DATABASE_URL is set without DATABASE_OWNER_URL, whose role makes the tests' database.")
    if not os.environ.get("DATABASE_URL"):
        server = postgres.start(data_dir, durable=False)
        _processes.append(server.process)
        _made["cluster_of"] = str(data_dir)
        os.environ["DATABASE_URL"] = server.url(postgres.APPLICATION)
        os.environ["DATABASE_OWNER_URL"] = server.url(postgres.OWNER)
    _use_own_database()
    os.environ |= {"COUNTERSIGN_TESTING": "1", "DATA_DIR": str(data_dir), "LOG_LEVEL": "ERROR"}


def _use_own_database() -> None:
    """A fresh database for this run, so that runs beside each other do not meet."""
    name = f"test_{secrets.token_hex(6)}"
    owner_url = os.environ["DATABASE_OWNER_URL"]
    application = urlsplit(os.environ["DATABASE_URL"]).username or ""
    _made["drop_from"], _made["database"] = owner_url, name
    with psycopg.connect(owner_url, autocommit=True) as connection:
        postgres.make_database(connection, name, urlsplit(owner_url).username or "", application)
    for variable in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        os.environ[variable] = urlunsplit(urlsplit(os.environ[variable])._replace(path=f"/{name}"))


def pytest_unconfigure() -> None:
    if "database" in _made:
        with psycopg.connect(_made["drop_from"], autocommit=True) as connection:
            name = sql.Identifier(_made.pop("database"))
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
    while _processes:
        _processes.pop().stop()
    if data_dir := _made.pop("cluster_of", None):
        postgres.delete_cluster(Path(data_dir))
    if data_dir := _made.pop("data_dir", None):
        shutil.rmtree(data_dir)
