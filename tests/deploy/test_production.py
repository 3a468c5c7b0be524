"""From an empty database to a served one, as docs/operations.md says: the owner migrates, the application runs."""

import sys
import urllib.request

import psycopg
import pytest
from psycopg import sql

from runtime.processes import Process
from tests.deploy.conftest import ROOT, TOKEN, Production
from tests.patience import PATIENCE, until


def fetch(url: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return str(response.read().decode())


def refusal(production: Production, *arguments: str, **environment: str) -> str:
    done = production.manage(*arguments, **environment)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    return done.stderr.strip()


class TestWithoutTheOwner:
    def test_a_database_without_tables_is_refused(self, empty_production: Production) -> None:
        sentence = refusal(empty_production, "prepare")
        assert sentence.startswith("CommandError: The database lacks ") and "\n" not in sentence
        assert sentence.endswith(": run `manage.py migrate` with DATABASE_OWNER_URL.")
        assert refusal(empty_production, "up").splitlines() == [
            sentence,
            "Countersign did not start; the lines above say why.",
        ]

    def test_a_migrated_database_is_served(self, production: Production) -> None:
        process = Process(
            "up", [sys.executable, ROOT / "manage.py", "up"], production.environment, log=production.folder / "up.log"
        )
        process.start()
        try:

            def is_ready() -> bool:
                assert process.is_running and process.log, process.log and process.log.read_text()
                try:
                    return '"ok"' in fetch(f"http://127.0.0.1:{production.port}/readyz")
                except OSError:
                    return False

            until(is_ready)
        finally:
            process.stop()

    def test_one_missing_migration_is_named(self, production: Production) -> None:
        remove = "DELETE FROM django_migrations WHERE app = 'audit' AND name = '0002_append_only' RETURNING applied"
        with psycopg.connect(production.url(production.owner)) as owner:
            assert owner.execute(remove).rowcount == 1
        try:
            sentence = refusal(production, "prepare")
            assert "lacks 1 migrations of this version, first audit.0002_append_only" in sentence
        finally:
            restore = "INSERT INTO django_migrations (app, name, applied) VALUES ('audit', '0002_append_only', now())"
            with psycopg.connect(production.url(production.owner)) as owner:
                owner.execute(restore)
        assert production.manage("prepare").returncode == 0

    @pytest.mark.parametrize("role", ["owner", "superuser", "member"])
    def test_a_role_that_could_change_the_audit_log_is_refused(self, production: Production, role: str) -> None:
        """The owner's URL in DATABASE_URL would start otherwise, and a stolen process could drop the triggers."""
        url = production.url(production.owner if role == "owner" else production.app)
        names = {"owner": sql.Identifier(production.owner), "app": sql.Identifier(production.app)}
        give, take = {
            "owner": ("SELECT 1", "SELECT 1"),
            "superuser": ("ALTER ROLE {app} SUPERUSER", "ALTER ROLE {app} NOSUPERUSER"),
            "member": ("GRANT {owner} TO {app}", "REVOKE {owner} FROM {app}"),
        }[role]
        with psycopg.connect(production.superuser_url, autocommit=True) as superuser:
            superuser.execute(sql.SQL(give).format(**names))
            try:
                sentence = refusal(production, "prepare", DATABASE_URL=url)
            finally:
                superuser.execute(sql.SQL(take).format(**names))
        assert "DATABASE_URL must not name a role that could change the audit log" in sentence

    def test_another_role_without_rights_is_refused(self, production: Production) -> None:
        with psycopg.connect(production.superuser_url, autocommit=True) as superuser:
            superuser.execute("CREATE ROLE site_stranger LOGIN PASSWORD 'app-password'")
            database, role = sql.Identifier(production.name), sql.Identifier("site_stranger")
            superuser.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
            try:
                url = production.url(production.app).replace(production.app, "site_stranger")
                sentence = refusal(production, "prepare", DATABASE_URL=url)
            finally:
                superuser.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {}").format(database, role))
                superuser.execute("DROP ROLE site_stranger")
        assert "its role may not read which migrations the database has" in sentence and "\n" not in sentence


def test_the_two_urls_must_name_one_database(production: Production, empty_production: Production) -> None:
    other = empty_production.url(empty_production.app)
    owner = production.url(production.owner)
    try:
        assert "The database lacks" in refusal(production, "prepare", DATABASE_URL=other, DATABASE_OWNER_URL=owner)
    finally:  # `migrate` granted rights to the application's role of the other one
        with psycopg.connect(owner) as connection:
            for kind in ("TABLES", "SEQUENCES"):
                statement = sql.SQL("REVOKE ALL ON ALL " + kind + " IN SCHEMA public FROM {}")
                connection.execute(statement.format(sql.Identifier(empty_production.app)))
            statement = sql.SQL("REVOKE ALL ON SCHEMA public FROM {}")
            connection.execute(statement.format(sql.Identifier(empty_production.app)))


def test_the_roles_may_do_what_the_documents_say(production: Production) -> None:
    production.make_roles()  # a second run changes nothing
    with psycopg.connect(production.url(production.owner)) as owner:
        rights = owner.execute(
            "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication FROM pg_roles"
            " WHERE rolname = ANY(%s)",
            [[production.owner, production.app]],
        ).fetchall()
        assert sorted(rights) == [(production.app, False), (production.owner, False)]
    with psycopg.connect(production.url(production.app)) as app:
        rights = "SELECT r FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','TRIGGER']) r"
        found = app.execute(f"{rights} WHERE has_table_privilege('audit_event', r)").fetchall()
        assert sorted(found) == [("INSERT",), ("SELECT",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE TABLE mine ()")


def test_the_first_administrator(production: Production) -> None:
    made = production.manage(
        "createsuperuser",
        "--noinput",
        "--email",
        "first@example.com",
        DJANGO_SUPERUSER_PASSWORD="correct horse battery",
    )
    assert made.returncode == 0, made.stderr
    with psycopg.connect(production.url(production.app)) as app:
        rows = app.execute("SELECT is_superuser, is_staff FROM accounts_user WHERE email = 'first@example.com'")
        assert rows.fetchall() == [(True, True)]
