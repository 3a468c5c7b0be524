"""A migrated PostgreSQL, made once for each state of the migrations. A run starts with a copy of it.

initdb and the migrations take seconds, which would be most of the time of a single test. The copies of a template share
its passwords. `make clean` deletes the templates.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime import postgres

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "test-output"
# What decides how a migrated database looks.
SOURCES = (
    "*/migrations/*.py", "*/models.py", "accounts/staff_roles.py", "authserver/management/commands/migrate.py",
    "runtime/postgres.py", "requirements/dev.txt",
)  # fmt: skip


def _digest() -> str:
    files = sorted(path for pattern in SOURCES for path in ROOT.glob(pattern))
    contents = b"".join(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() for path in files)
    return hashlib.sha256(contents).hexdigest()[:16]


TEMPLATE = FOLDER / f"template-{_digest()}"


def passwords() -> dict[str, str]:
    """The passwords of the template and its copies, by role."""
    with _locked():
        return postgres.passwords(TEMPLATE)


def copy_to(data_dir: Path) -> None:
    """Makes `data_dir` the data directory of a PostgreSQL whose database is migrated, and which does not run yet."""
    with _locked():
        # For root, the cluster is outside the checkout, where it may be deleted without it.
        if not ((TEMPLATE / "complete").exists() and postgres.cluster_of(TEMPLATE).exists()):
            _delete_others()
            # A run that was killed, or a checkout that was deleted, leaves a cluster with other passwords.
            shutil.rmtree(postgres.cluster_of(TEMPLATE), ignore_errors=True)
            _make()
        (data_dir / "keys").mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(TEMPLATE / "keys" / "postgres.json", data_dir / "keys")
        # cp keeps owners and modes, on which PostgreSQL insists.
        subprocess.run(["cp", "-a", postgres.cluster_of(TEMPLATE), postgres.cluster_of(data_dir)], check=True)


def _make() -> None:
    server = postgres.start(TEMPLATE, durable=False)
    try:
        environment = dict(os.environ) | {
            "DATABASE_URL": server.url(postgres.APPLICATION),
            "DATABASE_OWNER_URL": server.url(postgres.OWNER),
            "DATA_DIR": str(TEMPLATE),
            "COUNTERSIGN_TESTING": "1",
        }
        subprocess.run([sys.executable, ROOT / "manage.py", "migrate", "--verbosity", "0"], env=environment, check=True)
    finally:
        server.process.stop()
    (TEMPLATE / "complete").touch()


def _delete_others() -> None:
    for other in set(FOLDER.glob("template-*")) - {TEMPLATE}:
        shutil.rmtree(postgres.cluster_of(other), ignore_errors=True)
        shutil.rmtree(other)


@contextmanager
def _locked() -> Iterator[None]:
    """Workers and runs beside each other make one template."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
