"""A production that an operator sets up: the roles of deploy/roles.sql, a key file, the required settings."""

import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from runtime import postgres
from runtime.processes import free_port
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "a-token-for-the-scrape"


def find_postgres_program(name: str) -> str:
    """Of the embedded PostgreSQL, whose version fits; otherwise from PATH."""
    try:
        return str(postgres._binaries(postgres._account()) / name)
    except postgres.CannotStart:
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"There is no {name} here: install requirements/dev.txt, or apt-get install postgresql-client.")
    return str(found)


@dataclass
class Production:
    """One operator's server. Its database and roles have names of their own in the cluster of the tests."""

    folder: Path
    name: str
    superuser_url: str
    port: int

    @property
    def owner(self) -> str:
        return f"{self.name}_owner"

    @property
    def app(self) -> str:
        return f"{self.name}_app"

    def url(self, role: str, database: str = "") -> str:
        password = {self.owner: "owner-password", self.app: "app-password"}[role]
        parts = urlsplit(self.superuser_url)
        authority = f"{role}:{password}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=authority, path=f"/{database or self.name}"))

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def environment(self) -> dict[str, str]:
        """As the documents ask, without the owner's URL."""
        ours = ("DATABASE_OWNER_URL", "COUNTERSIGN_TESTING", "LOG_LEVEL")
        return {name: value for name, value in os.environ.items() if name not in ours} | {
            "ISSUER_URL": "https://auth.example.com",
            "ALLOWED_HOSTS": "auth.example.com",
            "SECRET_KEY": "x1y2z3-a4b5c6-d7e8f9-g0h1i2-j3k4l5-m6n7o8-p9q0r1-s2t3",
            "KEY_ENCRYPTION_KEYS_FILE": str(self.keys),
            "VAPID_SUBJECT": "mailto:admin@example.com",
            "METRICS_TOKEN": TOKEN,
            "DATABASE_URL": self.url(self.app),
            "DATA_DIR": str(self.folder / "data"),
            "PORT": str(self.port),
            "BIND_ADDRESS": "127.0.0.1",
            "WEB_WORKERS": "1",
        }

    def make_roles(self, database: str = "") -> None:
        names = {"owner": self.owner, "app": self.app, "database": database or self.name}
        command = [find_postgres_program("psql"), "--no-psqlrc", "--quiet", "-d", self.superuser_url]
        command += [f"--set={name}={value}" for name, value in names.items()]
        passwords = {"COUNTERSIGN_OWNER_PASSWORD": "owner-password", "COUNTERSIGN_APP_PASSWORD": "app-password"}
        subprocess.run([*command, "-f", ROOT / "deploy" / "roles.sql"], env=os.environ | passwords, check=True)

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.environment | environment, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip

    def migrate(self) -> None:
        done = self.manage("prepare", DATABASE_OWNER_URL=self.url(self.owner))
        assert done.returncode == 0, done.stderr

    def drop(self, database: str = "") -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            name = sql.Identifier(database or self.name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def make_production(folder: Path) -> Production:
    passwords = Path(os.environ["DATA_DIR"]) / "keys" / "postgres.json"
    if not passwords.exists():
        pytest.skip("DATABASE_URL is set: only the superuser of the embedded PostgreSQL may create roles.")
    address = urlsplit(os.environ["DATABASE_URL"])
    assert address.port
    url = postgres.url("postgres", postgres.passwords(Path(os.environ["DATA_DIR"])), address.port, "postgres")
    production = Production(folder, f"site_{secrets.token_hex(4)}", url, free_port())
    production.keys.write_text(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    production.make_roles()
    return production


def remove(production: Production) -> None:
    production.drop()
    with psycopg.connect(production.superuser_url, autocommit=True) as connection:
        for role in (production.owner, production.app):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def empty_production(tmp_path: Path) -> Iterator[Production]:
    """Its database has no tables yet."""
    production = make_production(tmp_path)
    yield production
    remove(production)


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """It is migrated, and shared by the tests of a module."""
    production = make_production(tmp_path_factory.mktemp("production"))
    production.migrate()
    yield production
    remove(production)
