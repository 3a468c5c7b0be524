"""A page of the administration saves what was changed on it: what was committed since it was read stays."""

import html
import json
import re
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.record import SYSTEM, About
from clients import lifecycle as agents
from clients.admin import AgentForm
from clients.models import Agent
from credentials.admin.backends import BackendForm
from credentials.admin.roles import RoleForm
from credentials.backends import roles, rotation
from credentials.backends.secrets import sealed, target_of
from credentials.models import Backend, Role
from operations.models import OperationType
from tests.credentials.test_backend_administration import admin_browser, reset_secret
from tests.support.duel import at_once
from tests.support.leases import Holder
from tests.support.systems import PostgresServer

__all__ = ["admin_browser"]
pytestmark = pytest.mark.django_db(transaction=True)
ABOUT = About(SYSTEM)


def meanwhile(monkeypatch: pytest.MonkeyPatch, form: type, act: Callable[[], Any]) -> None:
    """Something is committed after the page's row was read and before it is saved."""
    clean = form.clean

    def committed(self: Any) -> Any:
        at_once(act)
        return clean(self)

    monkeypatch.setattr(form, "clean", committed)


def page_of(page: Any) -> dict[str, Any]:
    """What a browser sends of a page on which nothing was touched: every field, and what it held at first."""
    form = page.context["adminform"].form
    sent = {}
    for bound in form:
        value = bound.value()
        if value is not False:
            sent[bound.html_name] = "on" if value is True else value
        if hidden := re.search(rf'name="{bound.html_initial_name}" value="([^"]*)"', page.content.decode()):
            sent[bound.html_initial_name] = html.unescape(hidden[1])
    return sent


@pytest.mark.parametrize("how", ["rotated", "settled"])
def test_saving_a_backend_brings_no_older_secret_back(
    admin_browser: Client, orders: Backend, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The one before logs in nowhere any more: with it back, nobody could take anything back."""
    url, form = f"/admin/credentials/backend/{orders.pk}/change/", {"settings": json.dumps(orders.settings)}

    def rotate() -> None:
        if how == "rotated":
            rotation.rotate(Backend.objects.get(), ABOUT, timezone.now())
            return
        following = sealed(orders, "the next secret", is_next=True)
        Backend.objects.update(sealed_next_secret=following, rotating_since=timezone.now() - timedelta(minutes=5))
        with closing(orders.find_engine().connect(target_of(orders))) as link:
            link.set_own_secret("the next secret")
        assert rotation.settle_left_over(timezone.now(), 10) == 1
        Backend.objects.update(failures=3, failing_since=timezone.now(), orphans=["x"], status="draining")

    meanwhile(monkeypatch, BackendForm, rotate)
    try:
        assert admin_browser.post(url, form | {"max_leases": "77"}).status_code == 302
        backend = Backend.objects.get()
        assert backend.max_leases == 77
        orders.find_engine().connect(target_of(backend)).close()
        assert backend.sealed_next_secret is None and backend.rotating_since is None
        assert backend.secret_changed_at is not None
        if how == "settled":
            assert (backend.failures, backend.orphans, backend.status) == (3, ["x"], "draining")
    finally:
        reset_secret(postgres_server)


def test_a_secret_that_is_typed_in_counts_and_a_drained_backend_stays_drained(
    admin_browser: Client, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, form = f"/admin/credentials/backend/{orders.pk}/change/", {"settings": json.dumps(orders.settings)}
    Backend.objects.update(sealed_secret=sealed(orders, "wrong"))
    meanwhile(monkeypatch, BackendForm, lambda: Backend.objects.update(status="draining"))
    assert admin_browser.post(url, form | {"max_leases": "77", "secret": "the first secret"}).status_code == 302
    backend = Backend.objects.get()
    assert target_of(backend).secret == "the first secret" and backend.secret_changed_at is not None
    assert backend.status == "draining"


def test_saving_a_role_wakes_none_that_was_deactivate(
    admin_browser: Client, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a preflight that found that it cannot be given."""
    url = f"/admin/credentials/role/{role.pk}/change/"
    sent = page_of(admin_browser.get(url)) | {"max_lifetime": "900", "max_leases": "5"}

    def sleep() -> None:
        Role.objects.update(is_active=False)
        OperationType.objects.filter(credential_role=role).update(is_active=False)

    meanwhile(monkeypatch, RoleForm, sleep)
    assert admin_browser.post(url, sent).status_code == 302
    role.refresh_from_db()
    role.operation_type.refresh_from_db()
    assert not role.is_active and not role.operation_type.is_active
    assert (role.max_leases, role.max_lifetime) == (5, 900)
    assert role.operation_type.current and role.operation_type.current.lifetime == 900


def test_a_page_that_was_opened_before_brings_nothing_older_back(
    admin_browser: Client, orders: Backend, role: Role
) -> None:
    """It may be open for hours: a checkbox that nobody touched wakes no role, and lowers no risk."""
    url = f"/admin/credentials/role/{role.pk}/change/"
    sent = page_of(admin_browser.get(url))
    assert (sent["is_active"], sent["initial-is_active"], sent["initial-risk"]) == ("on", "True", "sensitive")
    meaning = {"title": "Read orders", "summary": "Read every order", "risk": "critical", "assurance": "session"}
    role.is_active, role.max_lifetime = False, 1800
    roles.put(role, meaning | {"uses": 1}, ABOUT, timezone.now())
    assert admin_browser.post(url, sent | {"max_leases": "5", "title": "Read the orders"}).status_code == 302
    role.refresh_from_db()
    role.operation_type.refresh_from_db()
    now_there = role.operation_type.current
    assert now_there and (now_there.title, now_there.summary) == ("Read the orders", "Read every order")
    assert (now_there.risk, now_there.lifetime, role.max_lifetime, role.max_leases) == ("critical", 1800, 1800, 5)
    assert not role.is_active and not role.operation_type.is_active

    sent = page_of(admin_browser.get(url))
    assert "is_active" not in sent and sent["initial-is_active"] == "False"
    assert admin_browser.post(url, sent | {"is_active": "on", "risk": "sensitive"}).status_code == 302
    role.refresh_from_db()
    role.operation_type.refresh_from_db()
    assert role.is_active and role.operation_type.is_active, "what was touched counts"
    assert role.operation_type.current and role.operation_type.current.risk == "sensitive"
    sent = page_of(admin_browser.get(url))
    del sent["is_active"]
    assert admin_browser.post(url, sent).status_code == 302
    role.refresh_from_db()
    assert not role.is_active


def test_saving_an_agent_resumes_none_that_was_suspended(
    admin_browser: Client, holder: Holder, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kill switch, in the moment in which somebody else changes its name."""
    agent = holder.caller.agent
    page = admin_browser.get(f"/admin/clients/agent/{agent.pk}/change/")
    content = page.context["adminform"].form
    form = {name: content[name].value() for name in content.fields}
    form = {name: value for name, value in form.items() if value not in (None, "", False)}
    form |= {"client_jwks": json.dumps(agent.client_jwks), "name": "Renamed"}
    for name in ("scopes", "operation_types", "groups", "linked_users"):
        form[name] = [getattr(one, "pk", one) for one in form.get(name, [])]

    def suspend() -> None:
        assert agents.suspend(agent, administrator, timezone.now())
        Agent.objects.update(first_used_at=timezone.now())

    meanwhile(monkeypatch, AgentForm, suspend)
    answer = admin_browser.post(f"/admin/clients/agent/{agent.pk}/change/", form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    before = agent.updated
    agent.refresh_from_db()
    assert (agent.name, agent.status) == ("Renamed", "suspended") and agent.first_used_at is not None
    assert agent.updated > before, "and the row says when"
