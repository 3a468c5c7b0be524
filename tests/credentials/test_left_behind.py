"""What an account leaves behind after its revocation: one alarm to administrators, and revocation continues."""

import json
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from credentials.backends import preflight
from credentials.engines import BackendUnreachable, EngineError
from credentials.engines.postgres import PostgresLink
from credentials.models import Backend, Lease, Role
from tests.support.leases import Holder
from tests.support.systems import PostgresServer
from tests.support.world import sign_in

pytestmark = pytest.mark.django_db(transaction=True)
DEFAULTS = "ALTER DEFAULT PRIVILEGES FOR ROLE orders_reader GRANT ALL ON TABLES TO PUBLIC"


@pytest.fixture(autouse=True)
def no_default_privileges(postgres_server: PostgresServer) -> Any:
    yield
    with postgres_server.superuser("orders") as connection:
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE orders_reader REVOKE ALL ON TABLES FROM PUBLIC")


def issue_and_leave(holder: Holder, role: Role, server: PostgresServer, statement: str = DEFAULTS) -> Lease:
    issued = holder.issue_lease(role)
    with server.connect(issued["credential"]["username"], issued["credential"]["password"]) as session:
        session.execute(statement)
    assert holder.revoke(issued["lease"]["lease_id"]).json()["state"] == "revoked"
    return Lease.objects.get(pk=issued["lease"]["lease_id"])


def left_events() -> list[dict[str, Any]]:
    return [json.loads(event.body) for event in Event.objects.filter(kind="lease.left_behind").order_by("id")]


def test_it_is_reported_once(holder: Holder, role: Role, postgres_server: PostgresServer, administrator: User) -> None:
    lease = issue_and_leave(holder, role, postgres_server)
    (event,) = left_events()
    assert event["client_id"] == lease.agent.client_id and event["facts"]["lease"] == str(lease.id)
    assert event["facts"]["left"] == Backend.objects.get().left_behind
    assert "The group orders_reader has default privileges" in event["facts"]["left"][0]
    issue_and_leave(holder, role, postgres_server)
    assert len(left_events()) == 1
    issue_and_leave(holder, role, postgres_server, DEFAULTS.replace("TABLES", "SEQUENCES"))
    assert len(left_events()) == 2
    with postgres_server.superuser("orders") as connection:
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE orders_reader REVOKE ALL ON SEQUENCES FROM PUBLIC")
    page = sign_in(administrator).get(f"/admin/credentials/backend/{lease.backend_id}/change/").content.decode()
    assert "The group orders_reader has default privileges" in page


def test_what_the_preflight_has_shown_is_no_alarm(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    """An administrator may have set it on purpose."""
    with postgres_server.superuser("orders") as connection:
        connection.execute(DEFAULTS)
    report = preflight.check_backend(role.backend, About(SYSTEM), timezone.now())
    assert report.passed and "orders_reader" in report.left_behind[0]
    assert any("large objects" in text for text in report.can_leave_behind)
    issue_and_leave(holder, role, postgres_server)
    assert left_events() == []


def test_what_a_roles_own_preflight_has_shown_neither(
    holder: Holder, role: Role, postgres_server: PostgresServer
) -> None:
    with postgres_server.superuser("orders") as connection:
        connection.execute(DEFAULTS)
    assert preflight.check_role(role, About(SYSTEM), timezone.now()).passed
    issue_and_leave(holder, role, postgres_server)
    assert left_events() == []


@pytest.mark.parametrize("error", [EngineError("permission denied"), BackendUnreachable("gone")])
def test_what_cannot_be_looked_at_keeps_nothing_back(
    holder: Holder, role: Role, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, error: EngineError
) -> None:
    def failing(self: Any, account: Any) -> list[str]:
        raise error

    monkeypatch.setattr(PostgresLink, "left_behind", failing)
    assert issue_and_leave(holder, role, postgres_server).state == "revoked"
    assert left_events() == []


def test_a_database_that_the_administrator_may_not_enter_stops_no_issuing(
    role: Role, postgres_server: PostgresServer
) -> None:
    """The group has default privileges there; the report says that it cannot read them, and the preflight passes."""
    defaults = "ALTER DEFAULT PRIVILEGES FOR ROLE orders_reader GRANT ALL ON TABLES TO PUBLIC"
    with postgres_server.superuser("archive") as connection:
        connection.execute(defaults)
    with postgres_server.superuser("orders") as connection:
        connection.execute("ALTER DATABASE archive ALLOW_CONNECTIONS false")
    try:
        report = preflight.check_backend(role.backend, About(SYSTEM), timezone.now())
    finally:
        with postgres_server.superuser("orders") as connection:
            connection.execute("ALTER DATABASE archive ALLOW_CONNECTIONS true")
        with postgres_server.superuser("archive") as connection:
            connection.execute(defaults.replace("GRANT", "REVOKE").replace("TO PUBLIC", "FROM PUBLIC"))
    assert report.passed, report.first_problem
    assert any("cannot read" in text and "archive" in text for text in report.can_leave_behind)
