"""The preflight of a backend: with each role's own settings, by administrators with and without the rights."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from credentials.backends import breaker, links, preflight
from credentials.backends.secrets import sealed
from credentials.engines import BackendAddress, BackendUnreachable, EngineError, LoginRefused
from credentials.engines.postgres import Postgres, PostgresLink
from credentials.leases import revocation
from credentials.models import Backend, Lease, Role
from tests.support.leases import Holder, allow_leases, make_backend, make_role
from tests.support.mariadb import MariaDb
from tests.support.systems import PostgresServer, System
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
ABOUT = About(SYSTEM)
USED = "create an account, log in with it, revoke it, its session has ended, a read confirms that it is gone"


def check(backend: Backend) -> preflight.Report:
    report = preflight.check_backend(backend, ABOUT, timezone.now())
    backend.refresh_from_db()
    return report


def test_preflight_makes_uses_and_revokes_a_probe(orders: Backend, role: Role, postgres_server: PostgresServer) -> None:
    Backend.objects.update(status="new")
    report = check(orders)
    assert report.passed and report.excess == [] and report.used == [role.name]
    assert [step["step"] for step in report.steps] == [
        "log in as the administrator", "create an account", "revoke it", "a read confirms that it is gone",
        f"role orders-readonly: {USED}",
    ]  # fmt: skip
    assert orders.status == "enabled"
    report = preflight.check_role(role, ABOUT, timezone.now())
    assert report.passed and "its session has ended" in [step["step"] for step in report.steps]
    assert postgres_server.one("SELECT count(*) FROM pg_roles WHERE starts_with(rolname::text, %s)", orders.prefix) == 0


def test_a_role_that_cannot_be_given_is_deactivate(orders: Backend) -> None:
    greedy = make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    report = preflight.check_role(greedy, ABOUT, timezone.now())
    assert not report.passed
    greedy.refresh_from_db()
    assert not greedy.is_active and not greedy.operation_type.is_active


def test_where_some_roles_can_be_given_the_others_are_deactivate(orders: Backend, role: Role) -> None:
    greedy = make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    sleeping = make_role(orders, "sleeping", {"groups": ["no such group"]}, is_active=False)
    report = check(orders)
    assert report.passed and report.used == [role.name] and orders.status == "enabled"
    assert list(report.deactivated) == ["greedy"] and "permission denied" in report.deactivated["greedy"]
    for one in (role, greedy, sleeping):
        one.refresh_from_db()
        one.operation_type.refresh_from_db()
        assert one.is_active is one.operation_type.is_active is (one == role)
    facts = json.loads(Event.objects.get(kind="backend.checked").body)["facts"]
    assert (facts["used"], facts["deactivated"]) == ([role.name], report.deactivated)


def test_where_no_role_can_be_given_the_backend_issues_nothing(orders: Backend) -> None:
    """The administrator may be the cause: once it is mended, the roles issue as before."""
    role = make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    report = check(orders)
    assert not report.passed and report.first_problem.startswith("role greedy: create an account: 42501")
    assert orders.status == "new"
    role.refresh_from_db()
    assert role.is_active


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: EngineError, *, after: int) -> None:
    """The call after so many that are done as ever."""
    real, calls = getattr(owner, method), iter(range(after + 1))

    def failing(self: Any, *arguments: Any) -> Any:
        if next(calls, None) == after:
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(owner, method, failing)


AWAY = [
    (Postgres, "connect", BackendUnreachable("timeout expired")),
    (Postgres, "connect", LoginRefused("authentication failed")),
    (Postgres, "connect", EngineError("too many connections")),
    (PostgresLink, "create", BackendUnreachable("57P01: terminating connection")),
    (PostgresLink, "verify", BackendUnreachable("57P01: terminating connection")),
]


@pytest.mark.parametrize(("owner", "method", "error"), AWAY)
def test_a_system_that_goes_away_meanwhile_deactivates_no_role(
    orders: Backend, role: Role, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: EngineError
) -> None:
    """Not during the probe of one role either: the others' had passed, and nobody would have woken it."""
    make_role(orders, "other", role.settings)
    make_role(orders, "third", role.settings)
    fail_once(
        monkeypatch, owner, method, error, after=2
    )  # the backend's own, that of `orders-readonly`, that of `other`
    report = check(orders)
    assert not report.passed and report.is_unreachable and orders.status == "new"
    assert str(error) in report.first_problem and "role third" not in report.first_problem
    assert report.deactivated == {} and set(Role.objects.values_list("is_active", flat=True)) == {True}
    assert check(orders).used == ["orders-readonly", "other", "third"] and orders.status == "enabled"


def test_a_role_that_was_saved_while_the_system_was_away_is_inactive(
    orders: Backend, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it gave before: nobody knows whether what was saved can be given."""
    fail_once(monkeypatch, Postgres, "connect", BackendUnreachable("timeout expired"), after=0)
    report = preflight.check_role(role, ABOUT, timezone.now())
    assert not report.passed and report.is_unreachable
    role.refresh_from_db()
    role.operation_type.refresh_from_db()
    assert not role.is_active and not role.operation_type.is_active
    assert preflight.check_role(role, ABOUT, timezone.now()).passed


def refuse(backend: Backend) -> None:
    """For as long that the next try is most of a minute away."""
    for _ in range(7):
        breaker.note_unreachable(backend.pk, LoginRefused("authentication failed"), timezone.now())


def test_an_administrator_who_gets_in_closes_the_breaker_whatever_else_does_not_pass(orders: Backend) -> None:
    greedy = make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    refuse(orders)
    assert not check(orders).passed
    assert not breaker.is_open(orders)
    refuse(orders)
    assert not preflight.check_role(greedy, ABOUT, timezone.now()).passed
    assert not breaker.is_open(Backend.objects.get())


def test_one_that_goes_away_again_leaves_it_open(orders: Backend, role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(orders)
    fail_once(monkeypatch, Postgres, "connect", LoginRefused("authentication failed"), after=1)
    assert not check(orders).passed
    assert breaker.is_open(orders)


def test_what_was_changed_meanwhile_deactivates_no_role(
    orders: Backend, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an administrator who is not the one any more could not give says nothing of the role."""
    make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    probe = preflight.probe

    def meanwhile(engine: Any, target: BackendAddress, *arguments: Any) -> preflight.Report:
        Backend.objects.update(sealed_secret=sealed(orders, "another"), status="new")
        return probe(engine, target, *arguments)

    monkeypatch.setattr(preflight, "probe", meanwhile)
    report = check(orders)
    assert report.used == [role.name] and "changed meanwhile" in report.first_problem and orders.status == "new"
    assert set(Role.objects.values_list("is_active", flat=True)) == {True}
    facts = json.loads(Event.objects.get(kind="backend.checked").body)["facts"]
    assert facts["deactivated"] == report.deactivated == orders.preflight["deactivated"] == {}


def test_what_was_changed_meanwhile_is_not_enabled(
    orders: Backend, role: Role, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two administrators: what the first one's probe found says nothing of what the second one saved."""
    probe = preflight.probe

    def meanwhile(*arguments: Any) -> preflight.Report:
        Backend.objects.update(sealed_secret=sealed(orders, "another"), status="new")
        return probe(*arguments)

    monkeypatch.setattr(preflight, "probe", meanwhile)
    report = check(orders)
    assert not report.passed and "changed meanwhile" in report.first_problem
    assert orders.status == "new"


def test_what_the_administrator_can_do_beyond_need_is_reported(postgres_server: PostgresServer, db: None) -> None:
    backend = make_backend(postgres_server.system("postgres"), "powerful")
    assert "It is a superuser." in check(backend).excess


def test_a_new_backend_issues_nothing(holder: Holder, role: Role, orders: Backend) -> None:
    token = holder.approved_token(role)
    Backend.objects.update(status="new")
    assert holder.request_lease(token).json()["error"] == "not_issuing"


def test_the_page_says_what_was_used_and_what_was_not(
    administrator: User, orders: Backend, role: Role, postgres_server: PostgresServer
) -> None:
    browser, act = sign_in(administrator), {"action": "check_and_enable", "_selected_action": [str(orders.pk)]}
    make_role(orders, "greedy", {"groups": ["pg_read_all_data"]})
    said = browser.post("/admin/credentials/backend/", act, follow=True).content.decode()
    assert "a probe account was created, used and revoked." in said and "The role greedy was deactivated" in said
    page = browser.get(f"/admin/credentials/backend/{orders.pk}/change/").content.decode()
    assert f"✓ role orders-readonly: {USED}" in page and "✕ role greedy, which was deactivated: " in page
    Role.objects.update(is_active=False)
    said = browser.post("/admin/credentials/backend/", act, follow=True).content.decode()
    assert "created and revoked, but not used: no role is active" in said


# --- administrators that may not, on a real MariaDB


@pytest.fixture
def shop(mysql_system: System, db: None) -> Iterator[Backend]:
    yield make_backend(mysql_system, "shop")
    links.close_all()


@pytest.fixture
def shop_role(shop: Backend, mysql_system: System) -> Role:
    role = make_role(shop, "shop-readonly", mysql_system.role)
    assert preflight.check_role(role, ABOUT, timezone.now()).passed
    return role


@pytest.fixture
def shopper(agent: Caller, user: User, shop_role: Role) -> Holder:
    return allow_leases(agent, user)


def give(backend: Backend, target: BackendAddress, **fields: Any) -> None:
    """Another administrator, as if typed into the page."""
    Backend.objects.filter(pk=backend.pk).update(
        settings=target.settings, sealed_secret=sealed(backend, target.secret), **fields
    )
    backend.refresh_from_db()


def test_what_could_not_be_revoked_is_never_issued(shop: Backend, shop_role: Role, mysql_server: MariaDb) -> None:
    """It makes and drops accounts, and may not end the session of one: only an account that is used shows it."""
    with mysql_server.administrator("CREATE USER, PROCESS") as target:
        give(shop, target, status="new")
        report = check(shop)
        assert [step["ok"] for step in report.steps] == [True, True, True, True, False]
        assert "KILL_DENIED_ERROR" in report.first_problem and shop.status == "new"
        shop_role.refresh_from_db()
        assert shop_role.is_active
    give(shop, mysql_server.target)
    assert check(shop).passed and shop.status == "enabled"
    drop_probes(mysql_server, shop)


def test_who_sees_no_sessions_confirms_none_gone(shop: Backend, shop_role: Role, mysql_server: MariaDb) -> None:
    with mysql_server.administrator("CREATE USER") as target:
        give(shop, target, status="new")
        report = check(shop)
        assert "grant it PROCESS" in report.first_problem and shop.status == "new"
        assert not report.used


def drop_probes(server: MariaDb, backend: Backend) -> None:
    """Accounts that their administrator could not revoke."""
    for (name,) in server.rows("SELECT User FROM mysql.global_priv WHERE User LIKE %s", f"{backend.prefix}probe%"):
        server.rows("DROP USER %s@'%%'", name)


def test_nothing_is_called_revoked_by_an_administrator_who_sees_no_sessions(
    shopper: Holder, shop: Backend, shop_role: Role, mysql_server: MariaDb
) -> None:
    """The right was given after the account was issued, without a preflight."""
    issued = shopper.issue_lease(shop_role)
    credential = issued["credential"]
    with (
        mysql_server.administrator("CREATE USER") as target,
        mysql_server.connect(credential["username"], credential["password"]) as session,
        session.cursor() as cursor,
    ):
        give(shop, target)
        ended = shopper.revoke(issued["lease"]["lease_id"]).json()
        assert (ended["state"], ended["revoked_at"]) == ("revoking", None)
        assert "grant it PROCESS" in Lease.objects.get().problem
        cursor.execute("SELECT 1")  # it works on, and is not said to be gone
        refused = shopper.request_lease(shopper.approved_token(shop_role), shop_role.name)
        assert (refused.status_code, refused.json()["error"]) == (502, "backend_unavailable"), "nothing more is made"
    give(shop, mysql_server.target)
    Lease.objects.update(due_at=timezone.now(), claimed_until=None)
    for lease in Lease.objects.all():
        revocation.revoke_now(lease.pk)
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
    assert mysql_server.rows("SELECT User FROM mysql.global_priv WHERE User LIKE %s", f"{shop.prefix}%") == []
