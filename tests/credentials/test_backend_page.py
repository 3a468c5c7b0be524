"""The pages of a backend and of a role: real inputs, the test of a backend, the statements of a role."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from audit.models import Event
from credentials.backends.connection_rungs import rungs_of
from credentials.engines import BackendAddress
from credentials.models import Backend, Role
from operations.models import OperationType
from tests.credentials.test_backend_administration import admin_browser
from tests.foundation.test_settings_form import sent
from tests.support.leases import make_backend
from tests.support.systems import PostgresServer, System
from tests.support.world import make_user, sign_in

__all__ = ["admin_browser"]
pytestmark = pytest.mark.django_db(transaction=True)
ADD = "/admin/credentials/backend/add/"
PASSED, FAILED, UNKNOWN = "passed", "failed", "unknown"


def rungs(browser: Client, backend: Backend) -> dict[str, str]:
    """Presses the button and reads the page: rung → its state, or what went wrong."""
    response = browser.post(f"/admin/credentials/backend/{backend.pk}/test/", follow=True)
    page = unescape(response.content.decode())
    found = re.findall(r'<li class="(passed|failed|unknown)">.*?<strong>(.*?)</strong>(.*?)</div>', page, re.DOTALL)
    return {text.removesuffix(": no").removesuffix(": not tried"): state if state != FAILED else
            " ".join(re.sub(r"<[^>]*>", " ", more).split()) for state, text, more in found}  # fmt: skip


HOST, TLS, LOGIN = "The host answers", "TLS works", "The administrator account logs in"
DATABASE, RIGHTS = "The database is there", "Accounts can be made, used and revoked"


@pytest.mark.parametrize(
    ("engine", "settings", "has_tls"),
    [("postgres", {"host": "a", "database": "b", "user": "c"}, True),
     ("postgres", {"database": "b", "sslmode": "prefer"}, False), ("postgres", {"sslmode": "disable"}, False),
     ("postgres", {"sslmode": "require"}, True), ("redis", {"nodes": []}, False), ("redis", {"tls": True}, True),
     ("no-such-engine", {"database": "b"}, False)],
)  # fmt: skip
def test_tls_is_called_working_only_where_it_must_be_used(engine: str, settings: dict[str, Any], has_tls: bool) -> None:
    found = rungs_of({"steps": [{"ok": True, "problem": ""}]}, engine, settings)
    assert (TLS in [rung.text for rung in found]) == has_tls


def test_a_backend_that_works(admin_browser: Client, orders: Backend, role: Role) -> None:
    Backend.objects.update(status="new")
    assert rungs(admin_browser, orders) == {HOST: PASSED, LOGIN: PASSED, DATABASE: PASSED, RIGHTS: PASSED}
    orders.refresh_from_db()
    assert orders.status == "enabled" and Event.objects.filter(kind="backend.checked").exists()


@pytest.mark.parametrize(
    ("settings", "secret", "rung", "said"),
    [
        ({"port": 1}, None, HOST, ('"127.0.0.1", port 1 failed: Connection refused', "Check host and port")),
        ({"host": "no-such-host.invalid"}, None, HOST, ("no-such-host.invalid", "Check host and port")),
        ({"sslmode": "require"}, None, TLS, ("SSL", "Check that the server offers TLS")),
        ({}, "wrong", LOGIN, ("password authentication failed", "Enter its secret anew")),
        ({"user": "nobody_there"}, None, LOGIN, ("authentication failed", "Check the account's name")),
        ({"database": "no_such_database"}, None, DATABASE, ('"no_such_database" does not exist', "or create it")),
    ],
)
def test_the_step_that_fails_on_postgresql(
    admin_browser: Client, postgres_server: PostgresServer, settings: dict[str, Any], secret: str | None, rung: str,
    said: tuple[str, str],
) -> None:  # fmt: skip
    system = postgres_server.system("lease_admin")
    system.target = BackendAddress(dict(system.target.settings) | settings, secret or system.target.secret)
    backend = make_backend(system)
    found = rungs(admin_browser, backend)
    order = list(found)
    assert all(text in found[rung] for text in said), found
    assert "Is the server running" not in found[rung], "a question to the reader helps nobody"
    assert all(found[one] == PASSED for one in order[: order.index(rung)])
    assert all(found[one] == UNKNOWN for one in order[order.index(rung) + 1 :])
    backend.refresh_from_db()
    assert backend.status == "new", "it issues nothing"


def test_missing_rights_on_postgresql(
    admin_browser: Client, orders: Backend, role: Role, postgres_server: PostgresServer
) -> None:
    Role.objects.update(settings={"groups": ["orders_owner"]})
    found = rungs(admin_browser, orders)
    assert found[LOGIN] == PASSED and "permission denied" in found[RIGHTS] and "Grant the" in found[RIGHTS]


@pytest.mark.parametrize(
    ("change", "secret", "rung", "said"),
    [
        ({"port": 1}, None, HOST, "127.0.0.1:1: no answer"),
        ({}, "wrong", LOGIN, "the login was refused (1045)"),
        ({"tls": True}, None, TLS, "no trusted TLS connection"),
    ],
)
def test_the_step_that_fails_on_mysql(
    admin_browser: Client, mysql_system: System, change: dict[str, Any], secret: str | None, rung: str, said: str
) -> None:
    check_other(admin_browser, mysql_system, change, secret, rung, said)


@pytest.mark.parametrize(
    ("change", "secret", "rung", "said"),
    [
        ({"nodes": [{"host": "127.0.0.1", "port": 1}]}, None, HOST, "127.0.0.1:1: no answer"),
        ({}, "wrong", LOGIN, "the login was refused"),
    ],
)
def test_the_step_that_fails_on_redis(
    admin_browser: Client, redis_system: System, change: dict[str, Any], secret: str | None, rung: str, said: str
) -> None:
    check_other(admin_browser, redis_system, change, secret, rung, said)


def check_other(
    browser: Client, system: System, change: dict[str, Any], secret: str | None, rung: str, said: str
) -> None:
    target = BackendAddress(dict(system.target.settings) | change, secret or system.target.secret)
    found = rungs(browser, make_backend(System(system.engine_name, target, system.role)))
    assert said in found[rung] and found[RIGHTS] == UNKNOWN, found


def test_who_may_test_a_backend(orders: Backend) -> None:
    url = f"/admin/credentials/backend/{orders.pk}/test/"
    viewer = make_user("viewer@example.com", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_backend"))
    browser = Client()
    assert browser.post(url).status_code == 302
    browser.force_login(viewer)
    assert browser.post(url).status_code == 403
    assert "Run the preflight" not in browser.get(f"/admin/credentials/backend/{orders.pk}/change/").content.decode()
    assert browser.get(ADD).status_code == 403
    assert not Event.objects.filter(kind="backend.checked").exists()


def test_hostile_tests(admin_browser: Client, orders: Backend) -> None:
    assert admin_browser.get(f"/admin/credentials/backend/{orders.pk}/test/").status_code == 404
    unknown = "00000000-0000-4000-8000-000000000000"
    assert admin_browser.post(f"/admin/credentials/backend/{unknown}/test/").status_code == 404
    # What a backend answers is text on the page.
    Backend.objects.update(
        preflight={"steps": [{"step": "x", "ok": False, "problem": "<script>alert(1)</script>"}], "failed_at": "odd"}
    )
    page = admin_browser.get(f"/admin/credentials/backend/{orders.pk}/change/").content.decode()
    assert "<script>alert" not in page


# --- inputs


def test_the_engine_is_chosen_first_and_its_inputs_save(admin_browser: Client, postgres_server: PostgresServer) -> None:
    first = admin_browser.get(ADD).content.decode()
    assert 'href="?engine=postgres"' in first and "Redis or Valkey" in first and "<textarea" not in first
    page = admin_browser.get(ADD, {"engine": "postgres"}).content.decode()
    assert 'name="settings-sslmode"' in page and 'name="settings-nodes' not in page and 'name="settings"' not in page
    assert "Password of the administrator account" in page
    form = {"name": "orders", "engine": "postgres", "secret": "the first secret", "max_leases": "9"}
    settings = postgres_server.settings("lease_admin")
    refused = admin_browser.post(ADD, form | sent(settings | {"port": "none"}).dict())
    assert "Port: Enter a whole number" in refused.content.decode() and not Backend.objects.exists()
    wrong = admin_browser.post(ADD, form | {"name": "wrong", "secret": "wrong"} | sent(settings).dict(), follow=True)
    assert 'class="error"' in wrong.content.decode() and 'class="success"' not in wrong.content.decode()
    Backend.objects.all().delete()
    assert admin_browser.post(ADD, form | sent(settings).dict()).status_code == 302
    backend = Backend.objects.get()
    assert backend.settings == settings and backend.status == "enabled"
    # The page as it is shown changes nothing, and runs no preflight.
    checks = Event.objects.filter(kind="backend.checked").count()
    url = f"/admin/credentials/backend/{backend.pk}/change/"
    assert admin_browser.post(url, {"max_leases": "10"} | sent(settings).dict()).status_code == 302
    backend.refresh_from_db()
    assert backend.max_leases == 10 and backend.settings == settings
    assert Event.objects.filter(kind="backend.checked").count() == checks


def role_form(backend: Backend, **more: Any) -> dict[str, Any]:
    return {
        "backend": str(backend.pk), "name": "reports", "title": "Reports", "summary": "Read the reports",
        "risk": "sensitive", "assurance": "session", "uses": "1", "default_lifetime": "60", "max_lifetime": "600",
        "max_leases": "5", "max_per_agent": "1", "max_per_user": "1", "is_active": "on",
    } | more  # fmt: skip


def test_a_role_has_the_rights_of_its_engine_and_shows_what_runs(admin_browser: Client, orders: Backend) -> None:
    assert f"?backend={orders.pk}" in admin_browser.get("/admin/credentials/role/add/").content.decode()
    rungs(admin_browser, orders)
    page = admin_browser.get("/admin/credentials/role/add/", {"backend": str(orders.pk)}).content.decode()
    assert "found these names for a role: orders_reader, orders_writer." in page, "the names need not be guessed"
    Backend.objects.update(preflight={"grantable": ["<script>alert(1)</script>"]})
    hostile = admin_browser.get("/admin/credentials/role/add/", {"backend": str(orders.pk)}).content.decode()
    assert "<script>alert" not in hostile and "&lt;script&gt;alert" in hostile
    assert 'name="settings-groups"' in page and "Save the role: its statements appear here." in page
    form = role_form(orders) | sent({"groups": ["orders_reader"]}).dict()
    answer = admin_browser.post("/admin/credentials/role/add/", form, follow=True)
    assert b"was created, used and revoked" in answer.content, answer.content
    role = Role.objects.get()
    assert role.settings == {"groups": ["orders_reader"]}
    page = unescape(admin_browser.get(f"/admin/credentials/role/{role.pk}/change/").content.decode())
    assert f'GRANT "orders_reader" TO "{orders.prefix}example"' in page and "PASSWORD '...'" in page
    assert "SCRAM-SHA-256" not in page


def test_the_rights_of_mysql_are_rows(admin_browser: Client, mysql_system: System) -> None:
    backend = make_backend(mysql_system)
    form = role_form(backend) | {key: values if len(values) > 1 else values[0]
                                 for key, values in sent(mysql_system.role).lists()}  # fmt: skip
    answer = admin_browser.post("/admin/credentials/role/add/", form, follow=True)
    assert b"was created, used and revoked" in answer.content
    role = Role.objects.get()
    assert role.settings == mysql_system.role
    page = unescape(admin_browser.get(f"/admin/credentials/role/{role.pk}/change/").content.decode())
    assert "GRANT SELECT ON `shop_1`.`orders` TO" in page


def test_the_statements_that_are_shown_are_those_that_run(
    mysql_system: System, redis_system: System, postgres_server: PostgresServer
) -> None:
    """Each engine makes an account by the same list."""
    for system in (mysql_system, redis_system, postgres_server.system("lease_admin")):
        account, _ = system.issue_lease()
        try:
            statements = system.engine.statements(system.target, account)  # type: ignore[attr-defined]
            assert statements and all(account.name in statement for statement in statements)
            with system.link() as link:
                assert link.verify(account.name).can_log_in
        finally:
            system.take_back(account)


def test_the_prompt_of_a_role_is_previewed(admin_browser: Client, orders: Backend) -> None:
    form = role_form(orders, summary="Read <b>the reports</b> for {purpose}") | sent({"groups": ["x"]}).dict()
    page = unescape(admin_browser.post("/admin/prompt-preview/role/", form).content.decode())
    assert "At most, in seconds" in page and "within the next 10 minutes" in page
    assert f'GRANT "x" TO "{orders.prefix}example"' in page, "what would run, before it is saved"
    assert not OperationType.objects.filter(name="credential:reports").exists()
    assert "there is no such field" in unescape(
        admin_browser.post("/admin/prompt-preview/role/", form | {"summary": "{nothing}"}).content.decode()
    )


def test_an_empty_list_says_what_it_is_for(admin_browser: Client) -> None:
    page = admin_browser.get("/admin/credentials/backend/").content.decode()
    assert "There are no backends yet" in page and "Add the first backend" in page and "PostgreSQL server" in page
    assert "There is none yet" in admin_browser.get("/admin/credentials/role/add/").content.decode()
    found = admin_browser.get("/admin/credentials/backend/", {"q": "x"}).content.decode()
    assert "Add the first backend" in found, "a search in an empty list finds the same"
    for path in ("oauth/grant", "devices/device", "audit/setasideevent", "credentials/lease", "accounts/invitation"):
        assert "There are no" in admin_browser.get(f"/admin/{path}/").content.decode(), path


def test_an_operator_does_not_change_what_users_are_asked(admin_browser: Client, orders: Backend) -> None:
    """A role may be granted to agents already, and `routine` would ask nobody."""
    rungs(admin_browser, orders)
    form = role_form(orders) | sent({"groups": ["orders_reader"]}).dict()
    admin_browser.post("/admin/credentials/role/add/", form)
    role = Role.objects.get()
    operator = make_user("operator@example.com", is_staff=True)
    operator.groups.add(Group.objects.get(name="Staff: Operator"))
    browser, url = sign_in(operator), f"/admin/credentials/role/{role.pk}/change/"
    opened = {f"initial-{name}": value for name, value in form.items()}
    opened["initial-settings"] = json.dumps(role.settings)
    for name, value in {"risk": "routine", "uses": "9", "title": "Other", "summary": "Other"}.items():
        page = browser.post(url, opened | form | {name: value})
        assert set(page.context["adminform"].form.errors) == {name}
    assert browser.post(url, opened | form | {"max_leases": "4"}).status_code == 302
    role.refresh_from_db()
    assert role.max_leases == 4
    assert role.operation_type.current is not None
    assert role.operation_type.current.risk == "sensitive"
