"""`manage.py backup_check` on a backup that pg_dump made and pg_restore brought back, as docs/operations.md says."""

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.deploy.conftest import ROOT, Production, find_postgres_program
from tests.patience import PATIENCE

MAKE_AN_EVENT = """
import django; django.setup()
from django.utils import timezone
from audit import events
from audit.record import SYSTEM, About, record_alone
record_alone(events.TOKEN_REFUSED, About(SYSTEM), timezone.now(), error="invalid_scope")
"""


@pytest.fixture(scope="module")
def dump(production: Production) -> Path:
    """The backup of a prepared server with one audit event."""
    environment = production.environment | {"DJANGO_SETTINGS_MODULE": "authserver.settings"}
    subprocess.run([sys.executable, "-c", MAKE_AN_EVENT], env=environment, cwd=ROOT, check=True)
    file = production.folder / "countersign.dump"
    command = [find_postgres_program("pg_dump"), "--format=custom", f"--file={file}", production.url(production.owner)]
    subprocess.run(command, check=True)
    return file


@pytest.fixture
def restored(production: Production, dump: Path) -> Iterator[str]:
    """The name of a database of the same roles, with the backup in it."""
    name = f"{production.name}_restored"
    production.make_roles(name)
    command = [find_postgres_program("pg_restore"), "--no-owner", "--exit-on-error", "--single-transaction"]
    subprocess.run([*command, f"--dbname={production.url(production.owner, name)}", dump], check=True)
    yield name
    production.drop(name)


def check(production: Production, database: str, keys: Path | None = None) -> subprocess.CompletedProcess[str]:
    """On a machine that has no setting of the server, with the password outside the command."""
    address = production.url(production.owner, database).replace(":owner-password@", "@")
    command = [sys.executable, "manage.py", "backup_check", "--database", address]
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": "owner-password", "DATA_DIR": str(production.folder)}
    return subprocess.run(
        [*command, "--keys", keys or production.keys],
        env=environment, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip


def problem(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "owner-password" not in done.stdout + done.stderr
    return done.stderr.removeprefix("CommandError: ").strip()


def change(production: Production, database: str, statement: str) -> None:
    with psycopg.connect(production.url(production.owner, database)) as owner:
        owner.execute(statement)


def test_a_good_backup_passes(production: Production, restored: str) -> None:
    done = check(production, restored)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("The key file opens all ") and lines[0] != "The key file opens all 0 sealed values."
    assert lines[1] == "The migrations are those of this version. The audit triggers are in place."
    assert lines[2].startswith("The last audit event is of 20")


def test_the_restored_database_is_served_with_the_application_s_rights(production: Production, restored: str) -> None:
    url = production.url(production.app, restored)
    done = production.manage("prepare", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(url) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("DELETE FROM audit_event")


def test_the_check_changes_nothing(production: Production, restored: str) -> None:
    with psycopg.connect(production.url(production.owner, restored)) as owner:
        changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        before = owner.execute(changes).fetchone()
    assert check(production, restored).returncode == 0
    with psycopg.connect(production.url(production.owner, restored)) as owner:
        assert owner.execute(changes).fetchone() == before


def key_file(tmp_path: Path, key_id: str) -> Path:
    path = tmp_path / "other-keys"
    path.write_text(f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    return path


class TestKeys:
    def test_a_key_file_without_the_key(self, production: Production, restored: str, tmp_path: Path) -> None:
        lines = problem(check(production, restored, key_file(tmp_path, "k2"))).splitlines()
        assert lines[0].startswith("devices_vapidkey.") or any("oauth_signingkey." in one for one in lines)
        assert all("values cannot be opened: sealed under key k1, which is not in" in one for one in lines)

    def test_another_key_of_the_same_name(self, production: Production, restored: str, tmp_path: Path) -> None:
        assert "does not belong to oauth_signingkey:" in problem(check(production, restored, key_file(tmp_path, "k1")))

    def test_a_missing_file(self, production: Production, restored: str, tmp_path: Path) -> None:
        assert "cannot be read" in problem(check(production, restored, tmp_path / "none"))

    def test_a_changed_value(self, production: Production, restored: str) -> None:
        statement = "UPDATE oauth_signingkey SET sealed_private_jwk = sealed_private_jwk || '\\x00'::bytea"
        change(production, restored, statement)
        assert "oauth_signingkey.sealed_private_jwk: 3 values cannot be opened" in problem(check(production, restored))

    def test_nothing_to_open_is_no_success(self, production: Production, restored: str) -> None:
        change(production, restored, "DELETE FROM oauth_signingkey")
        change(production, restored, "DELETE FROM devices_vapidkey")
        assert "no sealed value, so the key file could not be checked" in problem(check(production, restored))


class TestTriggers:
    @pytest.mark.parametrize(
        ("statement", "trigger"),
        [
            ("DROP TRIGGER audit_event_no_change ON audit_event", "audit_event_no_change"),
            ("ALTER TABLE audit_event DISABLE TRIGGER audit_event_no_truncate", "audit_event_no_truncate"),
            ("ALTER TABLE audit_event ENABLE REPLICA TRIGGER audit_event_stamp", "audit_event_stamp"),
            (
                "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RETURN NEW; END$$",
                "audit_event_no_change",
            ),
            (
                "CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event"
                " FOR EACH ROW WHEN (OLD.id < 0) EXECUTE FUNCTION audit_refuse_change()",
                "audit_event_no_change",
            ),
            (
                "CREATE OR REPLACE TRIGGER audit_event_no_change BEFORE UPDATE OF kind OR DELETE ON audit_event"
                " FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()",
                "audit_event_no_change",
            ),
        ],
        ids=["dropped", "disabled", "only for replicas", "an empty function", "a condition", "one column only"],
    )
    def test_a_trigger_that_does_not_guard(
        self, production: Production, restored: str, statement: str, trigger: str
    ) -> None:
        change(production, restored, statement)
        assert f"The trigger {trigger} of audit_event is missing, switched off or changed." in problem(
            check(production, restored)
        )


class TestMigrations:
    def test_an_older_backup(self, production: Production, restored: str) -> None:
        change(production, restored, "DELETE FROM django_migrations WHERE app = 'audit' AND name <> '0001_initial'")
        assert "The backup lacks the migration audit.0002_" in problem(check(production, restored))

    def test_a_newer_backup(self, production: Production, restored: str) -> None:
        change(
            production,
            restored,
            "INSERT INTO django_migrations (app, name, applied) VALUES ('audit', '9999_later', now())",
        )
        assert problem(check(production, restored)) == (
            "This version does not know the migration audit.9999_later of the backup."
        )

    def test_an_empty_database(self, production: Production) -> None:
        name = f"{production.name}_empty"
        production.make_roles(name)
        try:
            assert "The backup lacks the migration" in problem(check(production, name))
        finally:
            production.drop(name)


class TestAddress:
    def test_a_database_that_does_not_answer(self, production: Production) -> None:
        assert "The database cannot be read: " in problem(check(production, "nonexistent"))

    def test_an_address_that_is_none(self, production: Production) -> None:
        done = production.manage(
            "backup_check", "--database", "nonsense:owner-password", "--keys", str(production.keys)
        )
        assert problem(done).startswith("--database must be a valid URL that begins with postgres://")


def test_a_restore_of_the_data_alone_is_told(production: Production, restored: str) -> None:
    """The tables exist, and pg_restore --data-only --disable-triggers was interrupted: its triggers stay off."""
    with psycopg.connect(production.url(production.owner, restored)) as owner:
        owner.execute(sql.SQL("ALTER TABLE audit_event DISABLE TRIGGER USER"))
    assert problem(check(production, restored)).count("is missing, switched off or changed") == 3
