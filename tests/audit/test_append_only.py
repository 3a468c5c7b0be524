"""Nobody changes the trail: what the application's role can try, and what the owner is refused."""

import os
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit import events
from audit.models import Event, SetAsideEvent
from audit.record import SYSTEM, About, record, record_alone, record_revocation, record_revocations
from authserver.management.commands.migrate import append_only_tables
from operations.models import Resource
from tests.support.world import Caller


def owner_name() -> str:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
        return str(owner.info.user)


@pytest.fixture
def event(transactional_db: None) -> Iterator[int]:
    with transaction.atomic():
        record(events.RESOURCE_CHANGED, About(SYSTEM), timezone.now(), resource="https://bank.example.com/")
    yield Event.objects.get().pk
    assert Event.objects.count() == 1 and "bank" in Event.objects.get().body, "it is as it was"


ATTEMPTS = [
    "UPDATE audit_event SET body = ''",
    "UPDATE audit_event SET at = now() WHERE false",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event",
    "TRUNCATE audit_event CASCADE",
    "ALTER TABLE audit_event DISABLE TRIGGER ALL",
    "ALTER TABLE audit_event DROP COLUMN body",
    "DROP TRIGGER audit_event_no_change ON audit_event",
    "DROP TABLE audit_event",
    "DROP FUNCTION audit_refuse_change CASCADE",
    "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
    "CREATE TRIGGER mine BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()",
    "CREATE RULE mine AS ON INSERT TO audit_event DO INSTEAD NOTHING",
    "CREATE TABLE public.mine ()",
    "SET session_replication_role = replica",
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "GRANT {owner} TO CURRENT_USER",
    "ALTER TABLE audit_event OWNER TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "INSERT INTO audit_event (id, schema_version, kind, at, actor, client_id, body, salt)"
    " SELECT id, 1, 'x', at, 'x', '', 'x', 'x' FROM audit_event ON CONFLICT (id) DO UPDATE SET body = 'x'",
    "MERGE INTO audit_event e USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "SELECT setval('audit_event_id_seq', 1)",
    "COPY audit_event TO PROGRAM 'cat'",
]


@pytest.mark.parametrize("statement", ATTEMPTS)
def test_the_application_cannot(event: int, statement: str) -> None:
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(statement.format(owner=owner_name()))


def test_it_gives_itself_no_right(event: int) -> None:
    """PostgreSQL only warns of this one."""
    with connection.cursor() as cursor:
        cursor.execute("GRANT UPDATE, DELETE, TRUNCATE, TRIGGER ON audit_event TO CURRENT_USER")
        cursor.execute("SELECT has_table_privilege('audit_event', 'UPDATE, DELETE, TRUNCATE, TRIGGER')")
        assert cursor.fetchone() == (False,)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_event SET body = ''", "DELETE FROM audit_event", "TRUNCATE audit_event"],
)
def test_the_owner_cannot_by_mistake(event: int, statement: str) -> None:
    with (
        psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        owner.execute(statement)


def test_every_table_of_events_is_guarded(event: int) -> None:
    """A new append-only model is covered too: the test looks for its rights and triggers in the database."""
    tables = append_only_tables()
    assert "audit_event" in tables
    for table in tables:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT privilege_type FROM information_schema.role_table_grants"
                " WHERE table_name = %s AND grantee = CURRENT_USER",
                [table],
            )
            assert {right for (right,) in cursor.fetchall()} == {"SELECT", "INSERT"}, table
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            rows = owner.execute("SELECT tgtype FROM pg_trigger WHERE tgrelid = %s::regclass", [table]).fetchall()
            kinds = [kind for (kind,) in rows]
            assert any(kind & 8 and kind & 16 for kind in kinds), f"{table}: UPDATE and DELETE"
            assert any(kind & 32 for kind in kinds), f"{table}: TRUNCATE"


class TestWriting:
    def test_an_event_needs_a_transaction(self, transactional_db: None) -> None:
        with pytest.raises(RuntimeError, match="takes part in a transaction"):
            record(events.RESOURCE_CHANGED, About(SYSTEM), timezone.now())

    def test_an_event_of_no_change_is_committed_by_itself(self, transactional_db: None) -> None:
        record_alone(events.TOKEN_REFUSED, About(SYSTEM), timezone.now())
        with pytest.raises(RuntimeError, match="not inside a transaction"), transaction.atomic():
            record_alone(events.TOKEN_REFUSED, About(SYSTEM), timezone.now())
        assert Event.objects.count() == 1

    def test_without_its_event_there_is_no_token(
        self, transactional_db: None, agent: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("audit.record.SCHEMA_VERSION", 2**20)  # no smallint: PostgreSQL refuses the row
        with pytest.raises(DatabaseError):
            agent.client_credentials(scope="calendar.read")
        monkeypatch.undo()
        assert agent.client_credentials(scope="calendar.read").status_code == 200

    def test_it_falls_with_its_transaction(self, transactional_db: None) -> None:
        with transaction.atomic():
            record(events.RESOURCE_CHANGED, About(SYSTEM), timezone.now())
            transaction.set_rollback(True)
        assert not Event.objects.exists()

    def test_what_cannot_be_written_stops_what_it_tells_of(self, transactional_db: None) -> None:
        with pytest.raises(ValueError, match="exceeds"), transaction.atomic():
            record(events.RESOURCE_CHANGED, About(SYSTEM), timezone.now(), number=2**60)
        assert not Event.objects.exists()

    def test_but_never_a_revocation(self, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """The event is set aside, /readyz turns red, and the revocation goes on."""

        monkeypatch.setattr("audit.record.SCHEMA_VERSION", 2**20)  # no smallint: PostgreSQL refuses the row
        with transaction.atomic():
            record_revocation(events.GRANT_REVOKED, About(SYSTEM), timezone.now())
            Resource.objects.create(name="What is revoked", identifier="https://bank.example.com/")
        aside = SetAsideEvent.objects.get()
        assert aside.kind == "grant.revoked" and '"kind":"grant.revoked"' in aside.body
        assert "smallint out of range" in aside.problem
        assert Resource.objects.exists() and not Event.objects.exists()

    def test_nor_many_of_them_of_which_one_is_refused(
        self, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Together they are refused; one by one all others are written."""
        reply = [(About(SYSTEM, client_id), {}) for client_id in ("a", "b" * 300, "c")]
        with transaction.atomic():
            record_revocations(events.GRANT_REVOKED, reply, timezone.now())
        assert {event.client_id for event in Event.objects.all()} == {"a", "c"}
        assert SetAsideEvent.objects.count() == 1

    def test_equal_refusals_of_a_minute_are_one_and_others_are_not(self, transactional_db: None) -> None:
        now = timezone.now().replace(second=0, microsecond=0)
        for about, error, at in [
            (About("agent:a", "a"), "invalid_scope", now),
            (About("agent:a", "a"), "invalid_scope", now.replace(second=59)),
            (About("agent:a", "a"), "invalid_target", now),
            (About("agent:b", "b"), "invalid_scope", now),
            (About("agent:a", "a"), "invalid_scope", now + timedelta(minutes=1)),
        ]:
            with transaction.atomic():
                record(events.TOKEN_REFUSED, about, at, error=error)
        assert Event.objects.count() == 4
