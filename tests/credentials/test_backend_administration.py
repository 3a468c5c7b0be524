"""Rotation, drain, orphans, recovery, what stays stuck; the administration, the user's page, figures."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from audit.models import Event
from audit.record import SYSTEM, About
from authserver.management.commands.recovery import Command as RecoveryCommand
from ciba.models import BackchannelRequest
from credentials import metrics
from credentials.backends import breaker, links, recovery, rotation
from credentials.backends.secrets import account_of, sealed, target_of
from credentials.engines import BackendAddress, EngineError, LoginRefused
from credentials.engines.postgres import Postgres, PostgresLink
from credentials.leases import lifecycle, revocation
from credentials.models import Backend, Lease, Role
from foundation.sealed_columns import reseal
from oauth.models import Grant
from tests.support.leases import Holder, allow_leases, can_log_in, figures_of, make_backend, sweep_until_quiet
from tests.support.systems import PostgresServer, drop_everything
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
ABOUT = About(SYSTEM)


# --- rotation


def reset_secret(server: PostgresServer) -> None:
    with server.superuser() as connection:
        connection.execute("ALTER ROLE lease_admin PASSWORD 'the first secret'")


def test_after_a_rotation_only_this_server_knows_the_secret(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    old = target_of(orders)
    try:
        rotation.rotate(orders, ABOUT, timezone.now())
        orders.refresh_from_db()
        with pytest.raises(LoginRefused):
            orders.find_engine().connect(old)
        assert orders.sealed_next_secret is None and target_of(orders).secret != old.secret
        assert holder.issue_lease(role)["lease"]["state"] == "active"
        assert Event.objects.filter(kind="backend.rotated").count() == 1
        assert old.secret.encode() not in bytes(orders.sealed_secret)
    finally:
        reset_secret(postgres_server)


def test_where_nobody_speaks_to_one_any_more_the_others_are_settled(
    orders: Backend, postgres_server: PostgresServer
) -> None:
    long_ago = timezone.now() - timedelta(minutes=5)
    gone = make_backend(postgres_server.system("lease_admin"), name="a-gone")
    Backend.objects.filter(pk=gone.pk).update(engine="gone")
    for backend in (gone, orders):
        following = sealed(backend, "never sent", is_next=True)
        Backend.objects.filter(pk=backend.pk).update(sealed_next_secret=following, rotating_since=long_ago)
    assert rotation.settle_left_over(timezone.now(), 10) == 1
    assert Backend.objects.get(rotating_since__isnull=False).pk == gone.pk, "the other goes on with its old secret"
    Backend.objects.filter(pk=gone.pk).update(sealed_next_secret=None, rotating_since=None)
    with pytest.raises(rotation.RotationFailed, match="no engine named gone is installed"):
        rotation.rotate(Backend.objects.get(pk=gone.pk), ABOUT, timezone.now())


@pytest.mark.parametrize("reply", [False, True])
def test_a_rotation_that_was_cut_off_is_settled_by_a_login(
    orders: Backend, postgres_server: PostgresServer, reply: bool
) -> None:
    new = "the new secret of the test"
    long_ago = timezone.now() - timedelta(minutes=5)
    Backend.objects.update(sealed_next_secret=sealed(orders, new, is_next=True), rotating_since=long_ago)
    try:
        if reply:
            link = orders.find_engine().connect(target_of(orders))
            link.set_own_secret(new)
            link.close()
        assert rotation.settle_left_over(timezone.now(), 10) == 1
        orders.refresh_from_db()
        assert (target_of(orders).secret == new) is reply
        orders.find_engine().connect(target_of(orders)).close()
        assert orders.sealed_next_secret is None and orders.rotating_since is None
    finally:
        reset_secret(postgres_server)


def interrupt(backend: Backend, old: str, new: str) -> None:
    """A rotation between these two, by a process that died meanwhile."""
    Backend.objects.filter(pk=backend.pk).update(
        sealed_secret=sealed(backend, old),
        sealed_next_secret=sealed(backend, new, is_next=True),
        rotating_since=timezone.now() - timedelta(minutes=5),
    )


@pytest.mark.parametrize(("old", "new"), [("the first secret", "never sent"), ("before", "the first secret")])
def test_what_settles_a_rotation_closes_the_breaker(
    holder: Holder, role: Role, orders: Backend, old: str, new: str
) -> None:
    """Meanwhile the sweepers were refused, maybe with the wrong one: nobody waits for their next try."""
    interrupt(orders, old, new)
    for _ in range(7):
        breaker.note_unreachable(orders.pk, LoginRefused("authentication failed"), timezone.now())
    assert rotation.settle_left_over(timezone.now(), 10) == 1
    orders.refresh_from_db()
    assert target_of(orders).secret == "the first secret" and orders.rotating_since is None
    assert (orders.failing_since, orders.retry_at, orders.failures, orders.problem) == (None, None, 0, "")
    assert holder.issue_lease(role)["lease"]["state"] == "active"


def test_where_neither_secret_logs_in_both_are_tried_once_a_minute(
    orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else our administrator would be locked out, where systems do that."""
    interrupt(orders, "wrong", "wrong too")
    connect, tried = Postgres.connect, []

    def counted(self: Postgres, target: BackendAddress) -> PostgresLink:
        tried.append(target.secret)
        return connect(self, target)

    monkeypatch.setattr(Postgres, "connect", counted)
    began = timezone.now()
    for second in range(300):
        assert rotation.settle_left_over(began + timedelta(seconds=second), 10) == 0
    assert len(tried) == 2 * 300 / 60, tried
    orders.refresh_from_db()
    assert breaker.is_open(orders) and "neither" in orders.problem

    # Mended there, and found by the next try: by the one that settles, whoever else was refused in between.
    Backend.objects.update(sealed_next_secret=sealed(orders, "the first secret", is_next=True))
    breaker.note_unreachable(orders.pk, LoginRefused("the old one"), began + timedelta(seconds=299))
    assert rotation.settle_left_over(began + timedelta(seconds=299), 10) == 0, "its time has not come"
    assert rotation.settle_left_over(began + timedelta(seconds=300), 10) == 1
    assert not breaker.is_open(Backend.objects.get())


def test_two_rotations_do_not_meet(orders: Backend) -> None:
    Backend.objects.update(sealed_next_secret=b"x", rotating_since=timezone.now())
    with pytest.raises(rotation.RotationFailed):
        rotation.rotate(orders, ABOUT, timezone.now())


def test_secrets_are_sealed_again_under_a_new_key(orders: Backend, settings: Any) -> None:
    before = target_of(orders).secret
    settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32, **settings.KEY_ENCRYPTION_KEYS}
    assert reseal(Backend) == 1
    settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32}
    orders.refresh_from_db()
    assert target_of(orders).secret == before


# --- what is left, or was never known


def test_an_account_without_a_lease_is_found_and_revoked(
    orders: Backend, role: Role, holder: Holder, postgres_server: PostgresServer
) -> None:
    issued = holder.issue_lease(role)
    with postgres_server.superuser() as connection:
        connection.execute(
            psycopg.sql.SQL("CREATE ROLE {} LOGIN").format(psycopg.sql.Identifier(f"{orders.prefix}stray"))
        )
        connection.execute(
            psycopg.sql.SQL("GRANT {} TO lease_admin WITH ADMIN OPTION").format(
                psycopg.sql.Identifier(f"{orders.prefix}stray")
            )
        )
    Backend.objects.update(scanned_at=None)
    sweep_until_quiet()
    names = postgres_server.one(
        "SELECT array_agg(rolname::text) FROM pg_roles WHERE starts_with(rolname::text, %s)", orders.prefix
    )
    assert names == [issued["credential"]["username"]], "and the lease's own account is left alone"
    kinds = list(Event.objects.filter(kind__startswith="orphan").values_list("kind", flat=True).order_by("id"))
    assert kinds == ["orphan.found", "orphan.revoked"]


def test_another_servers_accounts_on_the_same_system_are_not_touched(
    orders: Backend, role: Role, postgres_server: PostgresServer
) -> None:
    with postgres_server.superuser() as connection:
        connection.execute("CREATE ROLE cs_other1_stray")
    Backend.objects.update(scanned_at=None)
    sweep_until_quiet()
    assert postgres_server.one("SELECT count(*) FROM pg_roles WHERE rolname = 'cs_other1_stray'") == 1
    drop_everything(postgres_server)


def test_after_a_restore_nothing_is_revoked_until_a_user_says_so(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    issued = holder.issue_lease(role)
    session = postgres_server.connect(issued["credential"]["username"], issued["credential"]["password"])
    abandoned = holder.issue_lease(role)  # the backup does not know this one
    RecoveryCommand().handle(act="start")
    Lease.objects.filter(pk=abandoned["lease"]["lease_id"]).delete()
    Lease.objects.update(expires_at=timezone.now())
    Backend.objects.update(scanned_at=None)
    sweep = revocation.sweep(timezone.now(), 100)
    assert sweep == 0 and session.execute("SELECT 1").fetchone() == (1,)
    assert holder.request_lease(holder.approved_token(role)).json()["error"] == "not_issuing"
    assert any("recovery" in worry for worry in Client().get("/readyz").json()["leases"])

    command = RecoveryCommand()
    command.handle(act="report")
    report = capsys.readouterr().out
    assert "1 leases would be revoked" in report and abandoned["credential"]["username"] in report
    assert issued["credential"]["username"] not in report

    command.handle(act="end")
    sweep_until_quiet()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert postgres_server.one("SELECT count(*) FROM pg_roles WHERE starts_with(rolname::text, %s)", orders.prefix) == 0
    assert [e.kind for e in Event.objects.filter(kind__startswith="recovery").order_by("id")] == [
        "recovery.started", "recovery.ended",
    ]  # fmt: skip


def test_recovery_is_one_at_a_time(db: None) -> None:
    assert recovery.start("user:a", timezone.now()) and not recovery.start("user:b", timezone.now())
    assert recovery.end("user:b", timezone.now()) and not recovery.end("user:b", timezone.now())


def attempts(lease: Lease, count: int) -> None:
    for _ in range(count):
        Lease.objects.filter(pk=lease.pk).update(due_at=timezone.now())
        revocation.revoke_now(lease.pk)


def test_what_cannot_be_revoked_is_visible_alarmed_and_still_tried(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    holder.issue_lease(role)
    lease = Lease.objects.get()
    with monkeypatch.context() as broken:

        def may_not(*_: Any) -> None:
            raise EngineError("42501: permission denied")

        broken.setattr(PostgresLink, "revoke", may_not)
        lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
        attempts(lease, 7)
        lease.refresh_from_db()
        assert (lease.state, lease.attempts) == ("stuck", 7)
        assert lease.due_at and lease.due_at > timezone.now(), "and it is tried again"
        assert Event.objects.filter(kind="lease.stuck").count() == 1, "one alarm"
        assert "could not be revoked" in caplog.text
        health = Client().get("/readyz")
        assert health.status_code == 200 and "could not be revoked" in health.json()["leases"][0]
        figures = figures_of(metrics.read_figures(timezone.now()))
        assert figures["countersign_leases_oldest_overdue_seconds", "orders"] > 0
        assert figures["countersign_leases", "orders", "stuck"] == 1
    attempts(lease, 1)
    lease.refresh_from_db()
    assert lease.state == "revoked"


def test_disabled_is_a_state_of_its_own(
    holder: Holder, orders: Backend, role: Role, postgres_server: PostgresServer
) -> None:
    """What others built on it keeps it; nobody can use it; when they are done it goes."""
    Role.objects.filter(pk=role.pk).update(settings={"groups": ["orders_writer"]})
    issued = holder.issue_lease(role)
    with postgres_server.connect(issued["credential"]["username"], issued["credential"]["password"]) as session:
        session.execute("CREATE TABLE public.notes (id int)")
    with postgres_server.superuser("orders") as connection:
        connection.execute("CREATE VIEW relies AS SELECT * FROM notes")
    assert holder.revoke(issued["lease"]["lease_id"]).json()["state"] == "disabled"
    assert Event.objects.filter(kind="lease.disabled").count() == 1
    with pytest.raises(psycopg.OperationalError):
        postgres_server.connect(issued["credential"]["username"], issued["credential"]["password"])
    with postgres_server.superuser("orders") as connection:
        connection.execute("DROP VIEW relies")
    lifecycle.retry_now(Q(), timezone.now())
    sweep_until_quiet()
    assert Lease.objects.get().state == "revoked"


def test_an_engine_that_is_gone_is_a_state_and_not_a_crash(holder: Holder, role: Role, orders: Backend) -> None:
    holder.issue_lease(role)
    Backend.objects.update(engine="no longer installed")
    links.close_all()
    lease = Lease.objects.get()
    lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    attempts(lease, 5)
    lease.refresh_from_db()
    assert (lease.state, lease.problem) == ("stuck", "no engine named no longer installed is installed")
    token = holder.approved_token(role)
    assert holder.request_lease(token).json()["error"] == "not_issuing"
    listed = holder.call("GET", "/v1/leases", holder.routine_token()).json()["leases"]
    assert [one["revocable"] for one in listed] == [None]
    Backend.objects.update(engine="postgres")
    attempts(lease, 1)
    lease.refresh_from_db()
    assert lease.state == "revoked"


def test_the_order_leaves_it_harmless_wherever_it_stops(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    """Login off, then sessions: even where the rest fails nobody works on with it."""
    Role.objects.filter(pk=role.pk).update(settings={"groups": ["orders_writer"]})
    issued = holder.issue_lease(role)
    session = postgres_server.connect(issued["credential"]["username"], issued["credential"]["password"])
    session.execute("CREATE TABLE public.notes (id int)")
    with postgres_server.superuser("orders") as connection:
        connection.execute("CREATE VIEW relies AS SELECT * FROM notes")
    lease = Lease.objects.get()
    with closing(orders.find_engine().connect(target_of(orders))) as link:
        with pytest.raises(EngineError, match="2BP01"):  # dependent objects still exist
            link.revoke(account_of(lease))
        left = link.verify(lease.account_name)
        assert (left.exists, left.can_log_in, left.sessions) == (True, False, 0)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not can_log_in(postgres_server, issued)
    with postgres_server.superuser("orders") as connection:
        connection.execute("DROP VIEW relies")
    drop_everything(postgres_server)


def test_a_secret_that_cannot_be_opened_is_a_state_and_not_a_crash(
    holder: Holder, role: Role, orders: Backend, settings: Any
) -> None:
    holder.issue_lease(role)
    links.close_all()
    keys, settings.KEY_ENCRYPTION_KEYS = settings.KEY_ENCRYPTION_KEYS, {"other": b"o" * 32}
    lease = Lease.objects.get()
    lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    attempts(lease, 1)
    lease.refresh_from_db()
    assert lease.state == "revoking" and "not in KEY_ENCRYPTION_KEYS_FILE" in lease.problem
    settings.KEY_ENCRYPTION_KEYS = keys
    attempts(lease, 1)
    lease.refresh_from_db()
    assert lease.state == "revoked"


# --- people


def test_a_user_sees_and_ends_their_own(holder: Holder, role: Role, browser_of_user: Client, stranger: Any) -> None:
    issued = holder.issue_lease(role)["lease"]["lease_id"]
    page = browser_of_user.get("/activity").content.decode()
    assert "Read orders" in page and "look at orders" in page and "End it now" in page
    theirs = sign_in(stranger)
    assert "Read orders" not in theirs.get("/activity").content.decode()
    assert theirs.post(f"/leases/{issued}/end").status_code == 404
    assert Lease.objects.get().state == "active"
    assert browser_of_user.get(f"/leases/{issued}/end").status_code == 405
    assert Client(enforce_csrf_checks=True).post(f"/leases/{issued}/end").status_code in (302, 403)
    assert browser_of_user.post(f"/leases/{issued}/end").status_code == 302
    assert (Lease.objects.get().state, Lease.objects.get().end_reason) == ("revoked", "revoked by user")


@pytest.fixture
def admin_browser(administrator: Any) -> Client:
    return sign_in(administrator)


def backend_form(server: PostgresServer, **more: Any) -> dict[str, Any]:
    import json

    form = {"name": "new-one", "engine": "postgres", "settings": json.dumps(server.settings("lease_admin"))}
    return form | {"secret": "the first secret", "max_leases": "100"} | more


def test_a_backend_is_saved_checked_drained_and_never_deleted(
    admin_browser: Client, postgres_server: PostgresServer, holder: Holder, role: Role, orders: Backend
) -> None:
    answer = admin_browser.post("/admin/credentials/backend/add/", backend_form(postgres_server), follow=True)
    assert b"was created and revoked, but not used: no role is active" in answer.content
    backend = Backend.objects.get(name="new-one")
    assert backend.status == "enabled"
    page = admin_browser.get(f"/admin/credentials/backend/{backend.pk}/change/").content
    assert b"the first secret" not in page and b"a read confirms that it is gone" in page
    assert admin_browser.post(f"/admin/credentials/backend/{orders.pk}/delete/", {"post": "yes"}).status_code == 403

    issued = holder.issue_lease(role)
    act = {"action": "drain", "_selected_action": [str(orders.pk)]}
    admin_browser.post("/admin/credentials/backend/", act)
    assert holder.request_lease(holder.approved_token(role)).json()["error"] == "not_issuing"
    assert (
        holder.call("GET", f"/v1/leases/{issued['lease']['lease_id']}", holder.routine_token()).json()["state"]
        == "active"
    )
    listing = admin_browser.get("/admin/credentials/backend/").content.decode()
    assert "draining" in listing
    admin_browser.post("/admin/credentials/backend/", act)
    assert Event.objects.filter(kind="backend.drained").count() == 1, "a second time changes nothing"
    admin_browser.post("/admin/credentials/backend/", act | {"action": "end_leases"})
    assert Lease.objects.get().state == "revoked"


def test_a_backend_with_a_wrong_secret_issues_nothing_and_the_page_says_why(
    admin_browser: Client, postgres_server: PostgresServer
) -> None:
    form = backend_form(postgres_server, secret="wrong")
    answer = admin_browser.post("/admin/credentials/backend/add/", form, follow=True)
    assert b"issues no leases" in answer.content and b"authentication failed" in answer.content
    assert Backend.objects.get().status == "new"


@pytest.mark.parametrize(
    "settings",
    [
        '{"host": "x"}',
        '{"host": "a\\n", "database": "d", "user": "u"}',
        '{"host": "a b", "database": "d", "user": "u"}',
        "[]",
        '{"password": "p"}',
    ],
)
def test_settings_that_do_not_fit_are_refused(
    admin_browser: Client, postgres_server: PostgresServer, settings: str
) -> None:
    form = backend_form(postgres_server, settings=settings)
    answer = admin_browser.post("/admin/credentials/backend/add/", form)
    assert answer.status_code == 200 and not Backend.objects.exists()


def test_a_backend_does_not_become_another_system_while_leases_are_live(
    admin_browser: Client, orders: Backend, role: Role, holder: Holder, postgres_server: PostgresServer
) -> None:
    """On another system every account is "gone": leases would be called revoked whose accounts live."""
    import json

    holder.issue_lease(role)
    settings = json.dumps({**orders.settings, "host": "localhost"})
    form = {"settings": settings, "max_leases": "100"}
    url = f"/admin/credentials/backend/{orders.pk}/change/"
    assert b"Drain it first" in admin_browser.post(url, form).content
    assert admin_browser.post(url, form | {"is_same_system": "on"}).status_code == 302
    orders.refresh_from_db()
    assert orders.settings["host"] == "localhost" and orders.status == "enabled"


def test_a_role_takes_no_type_that_is_there_already(admin_browser: Client, orders: Backend, role: Role) -> None:
    from operations.models import OperationType

    OperationType.objects.create(resource=role.operation_type.resource, name="credential:taken")
    form = {"backend": str(orders.pk), "name": "taken", "settings": "{}"}
    assert (
        b"The operation type credential:taken already exists"
        in admin_browser.post("/admin/credentials/role/add/", form).content
    )


def test_a_role_writes_its_operation_type(admin_browser: Client, orders: Backend) -> None:
    form = {
        "backend": str(orders.pk), "name": "reports", "title": "Reports", "summary": "Read the reports",
        "risk": "sensitive", "assurance": "session", "uses": "2", "settings": '{"groups": ["orders_reader"]}',
        "default_lifetime": "60", "max_lifetime": "600", "max_leases": "5", "max_per_agent": "1",
        "max_per_user": "1", "is_active": "on",
    }  # fmt: skip
    answer = admin_browser.post("/admin/credentials/role/add/", form, follow=True)
    assert b"was created, used and revoked" in answer.content, answer.content
    role = Role.objects.get(name="reports")
    version = role.operation_type.current
    assert version and (version.risk, version.uses, version.lifetime) == ("sensitive", 2, 600)
    assert version.schema["properties"]["lifetime"]["maximum"] == 600
    admin_browser.post(f"/admin/credentials/role/{role.pk}/change/", form | {"risk": "critical"})
    role.operation_type.refresh_from_db()
    assert role.operation_type.current and role.operation_type.current.number == 2
    assert role.operation_type.current.risk == "critical"


def test_the_kill_switch_shows_progress_until_all_is_gone(
    admin_browser: Client, holder: Holder, role: Role, other_agent: Caller, postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And another agent, with the same role and user, goes on as if nothing were."""
    issued = holder.issue_lease(role)
    lease = Lease.objects.get()
    other = allow_leases(other_agent, holder.user)
    others_issued, others_token = other.issue_lease(role), other.routine_token()
    others_question = other.caller.ask(
        holder.user, authorization_details=[{"type": role.operation_type.name, "purpose": "more"}]
    ).json()
    waiting = holder.caller.ask(
        holder.user, authorization_details=[{"type": role.operation_type.name, "purpose": "more"}]
    )
    assert waiting.status_code == 200
    token = holder.routine_token()
    url = f"/admin/clients/agent/{holder.caller.agent.pk}/stop/"
    before = admin_browser.get(url).content.decode()
    assert "Stop Assistant now" in before and "1 active" in before
    with monkeypatch.context() as broken:

        def away(*_: Any) -> None:
            raise EngineError("not now")

        broken.setattr(PostgresLink, "revoke", away)
        during = admin_browser.post(url, follow=True).content.decode()
        assert "is revoking the remaining accounts" in during and "1 revoking" in during
        due = Lease.objects.get(pk=lease.pk).due_at
        admin_browser.get(url)
        assert Lease.objects.get(pk=lease.pk).due_at == due, "looking is not trying"
    admin_browser.post(url)
    sweep_until_quiet()
    after = admin_browser.get(url).content.decode()
    assert "confirmed gone" in after and "is revoking the remaining accounts" not in after
    assert "validates them locally accepts" in " ".join(after.split()), "the agent's tokens have not ended yet"
    assert BackchannelRequest.objects.filter(state="cancelled").count() == 1
    assert not Grant.objects.filter(agent=holder.caller.agent, revoked_at=None).exists()
    assert holder.call("GET", "/v1/leases", token).status_code == 401
    assert Lease.objects.get(pk=lease.pk).state == "revoked"
    assert not can_log_in(postgres_server, issued)

    assert [one["state"] for one in other.call("GET", "/v1/leases", others_token).json()["leases"]] == ["active"]
    assert can_log_in(postgres_server, others_issued)
    assert other.caller.poll(others_question["auth_req_id"]).json()["error"] == "authorization_pending"
    assert not Grant.objects.filter(agent=other.caller.agent).exclude(revoked_at=None).exists()


def test_only_who_may_change_agents_reaches_the_kill_switch(holder: Holder, browser_of_user: Client) -> None:
    url = f"/admin/clients/agent/{holder.caller.agent.pk}/stop/"
    assert browser_of_user.post(url).status_code in (302, 403)
    assert holder.caller.agent.__class__.objects.get(pk=holder.caller.agent.pk).is_active


@pytest.mark.parametrize("page", ["backend", "role", "lease", "recovery"])
def test_the_pages_open(admin_browser: Client, holder: Holder, role: Role, orders: Backend, page: str) -> None:
    holder.issue_lease(role)
    assert admin_browser.get(f"/admin/credentials/{page}/").status_code == 200
    assert admin_browser.get(f"/admin/credentials/lease/{Lease.objects.get().pk}/change/").status_code == 200


def test_the_api_is_described(db: None) -> None:
    described = Client().get("/v1/schema?format=json").json()["paths"]
    assert {path for path in described if "lease" in path} >= {"/v1/leases/", "/v1/leases/unwrap/"}
