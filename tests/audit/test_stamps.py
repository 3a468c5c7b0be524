"""What the database writes into an event by itself, and the trace that the caller names."""

import json
import os
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit import events
from audit.models import Event
from audit.record import SYSTEM, About, record, record_alone, record_revocation
from foundation.trace_context import continue_trace
from tests.support.world import Caller, sign_in
from web.exchange import environ_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORGED = """
INSERT INTO audit_event
 (schema_version, kind, at, actor, client_id, body, salt, recorded_at, transaction_id, recorded_by)
VALUES (1, 'x.y', '2001-01-01', 'system', '', '{{"facts":{{}}}}', 'x', {at}, {transaction}, {role})
RETURNING recorded_at, transaction_id, recorded_by, pg_current_xact_id()::text::bigint
"""


def insert(cursor: Any, at: str = "'2001-01-01'", number: str = "1", role: str = "'somebody'") -> None:
    """Inserts an event with these values and asserts that none of them was taken."""
    before = timezone.now() - timedelta(seconds=1)
    cursor.execute(FORGED.format(at=at, transaction=number, role=role))
    recorded_at, transaction_id, recorded_by, current = cursor.fetchone()
    assert before < recorded_at < timezone.now() + timedelta(seconds=1)
    assert transaction_id == current
    assert recorded_by == connection.settings_dict["USER"]


class TestByTheDatabase:
    @pytest.mark.parametrize(
        "values",
        [
            pytest.param(("'2001-01-01'", "1", "'somebody'"), id="forged"),
            pytest.param(("'infinity'", "9223372036854775807", "repeat('x', 63)"), id="as large as they can be"),
            pytest.param(("NULL", "NULL", "NULL"), id="null"),
            pytest.param(("DEFAULT", "DEFAULT", "DEFAULT"), id="left out"),
        ],
    )
    def test_what_the_application_gives_is_overwritten(self, db: None, values: tuple[str, str, str]) -> None:
        with connection.cursor() as cursor:
            insert(cursor, *values)

    @pytest.mark.parametrize(
        "shadow",
        [
            "CREATE FUNCTION shadow.clock_timestamp() RETURNS timestamptz RETURN timestamptz 'epoch'",
            "CREATE FUNCTION shadow.pg_current_xact_id() RETURNS xid8 RETURN xid8 '1'",
            "CREATE DOMAIN shadow.text AS pg_catalog.text CHECK (false)",
            "CREATE DOMAIN shadow.int8 AS pg_catalog.int8 CHECK (false)",
        ],
    )
    def test_nor_does_a_session_replace_what_the_trigger_calls(self, transactional_db: None, shadow: str) -> None:
        """A session may search its own functions and types first. The owner tries: the application can make none."""
        before = timezone.now() - timedelta(seconds=1)
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as session:
            session.execute("CREATE SCHEMA shadow")
            session.execute(shadow)  # type: ignore[call-overload]
            session.execute("SET search_path = shadow, public, pg_catalog")
            forged = FORGED.format(at="'2001-01-01'", transaction="1", role="'x'").partition("RETURNING")[0]
            returning = "RETURNING recorded_at, transaction_id::pg_catalog.text, recorded_by"
            row = session.execute(forged + returning).fetchone()  # type: ignore[call-overload]
            assert row[0] > before and int(row[1]) > 1 and row[2] == session.info.user
            session.rollback()

    def test_the_owners_name_is_in_what_the_owner_inserts(self, transactional_db: None) -> None:
        application = connection.settings_dict["USER"]
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            statement = FORGED.format(at="now()", transaction="1", role=f"'{application}'")
            row = owner.execute(statement).fetchone()  # type: ignore[call-overload]
            assert row[2] == owner.info.user != application
            owner.rollback()

    def test_events_of_a_transaction_have_its_number_also_behind_a_savepoint(self, transactional_db: None) -> None:
        now = timezone.now()
        with transaction.atomic():
            record(events.RESOURCE_CHANGED, About(SYSTEM), now)
            with transaction.atomic():
                record(events.RESOURCE_CHANGED, About(SYSTEM), now)
            record_revocation(events.GRANT_REVOKED, About(SYSTEM), now)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()::text::bigint")
                numbers = [*cursor.fetchone()]
        with transaction.atomic():
            record(events.RESOURCE_CHANGED, About(SYSTEM), now)
        found = list(Event.objects.order_by("id").values_list("transaction_id", flat=True))
        assert found[:3] == numbers * 3 and found[3] > found[2]
        times = list(Event.objects.order_by("id").values_list("recorded_at", flat=True))
        assert times == sorted(set(times)), "each has its own time, not the transaction's"

    def test_an_open_transaction_holds_back_what_is_final(self, transactional_db: None) -> None:
        """The order of ids is not enough: a reader by id would pass over an event that commits after a later one."""
        horizon = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        final = f"SELECT count(*) FROM audit_event WHERE transaction_id < {horizon}"  # noqa: S608
        with psycopg.connect(os.environ["DATABASE_URL"]) as slow:
            slow.execute(FORGED.format(at="NULL", transaction="NULL", role="NULL"))  # type: ignore[call-overload]
            with transaction.atomic():
                record(events.RESOURCE_CHANGED, About(SYSTEM), timezone.now())
            with connection.cursor() as cursor:
                assert Event.objects.count() == 1
                cursor.execute(final)
                assert cursor.fetchone() == (0,), "it is there, and not final while an earlier one may come"
            slow.commit()
        earlier, later = Event.objects.order_by("transaction_id", "id")
        assert (earlier.kind, later.kind) == ("x.y", "resource.changed")


class TestTrace:
    @pytest.mark.parametrize(
        ("headers", "stored"),
        [
            pytest.param({"traceparent": TRACE}, TRACE, id="valid"),
            pytest.param({}, None, id="absent"),
            pytest.param({"traceparent": f"ff{TRACE[2:]}"}, None, id="invalid"),
            pytest.param({"traceparent": f"{TRACE},{TRACE}"}, None, id="twice"),
        ],
    )
    def test_of_a_protocol_request(self, db: None, agent: Caller, headers: dict[str, str], stored: str | None) -> None:
        agent.headers = headers
        assert agent.client_credentials(scope="calendar.read").status_code == 200
        agent.headers = {"traceparent": TRACE} if not headers else {}
        agent.client_credentials(scope="calendar.read")  # the next request in this thread has its own
        first, second = Event.objects.filter(kind="token.issued").order_by("id")
        assert first.traceparent == stored == json.loads(first.body)["traceparent"]
        assert second.traceparent == (TRACE if not headers else None)

    def test_of_a_refusal(self, db: None, agent: Caller) -> None:
        agent.headers = {"traceparent": TRACE}
        assert agent.client_credentials(scope="unknown").status_code == 400
        assert Event.objects.get(kind="token.refused").traceparent == TRACE

    def test_of_a_page(self, db: None, user: User) -> None:
        form = {"username": user.email, "password": "wrong"}
        Client().post("/login", form, headers={"traceparent": TRACE})
        assert set(Event.objects.filter(kind__startswith="user.").values_list("traceparent", flat=True)) <= {TRACE}
        assert not Event.objects.filter(traceparent=None).exists()

    def test_equal_refusals_in_other_traces_are_still_one(self, transactional_db: None) -> None:
        now = timezone.now().replace(second=0)
        for trace in (TRACE, None, TRACE.replace("4bf9", "5bf9")):
            with continue_trace(trace):
                record_alone(events.TOKEN_REFUSED, About(SYSTEM), now, error="x")
        assert Event.objects.get().traceparent == TRACE

    def test_two_headers_arrive_as_one_that_is_invalid(self) -> None:
        scope = {
            "method": "GET", "raw_path": b"/", "query_string": b"", "http_version": "1.1", "scheme": "http",
            "headers": [(b"traceparent", TRACE.encode()), (b"traceparent", TRACE.encode())],
        }  # fmt: skip
        assert environ_of(scope)["HTTP_TRACEPARENT"] == f"{TRACE},{TRACE}"


def test_the_administration_shows_them(db: None, administrator: User, agent: Caller) -> None:
    agent.headers = {"traceparent": TRACE}
    agent.client_credentials(scope="calendar.read")
    event = Event.objects.get(kind="token.issued")
    text = sign_in(administrator).get(f"/admin/audit/event/{event.id}/change/").content.decode()
    assert TRACE in text and str(event.transaction_id) in text and event.recorded_by in text
    assert "The database's own time" in text.replace("&#x27;", "'")
