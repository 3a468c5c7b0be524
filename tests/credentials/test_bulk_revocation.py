"""An administrator ends leases: by agent, user, grant, role, backend, and all of them."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from credentials.engines import DatabaseAccount, EngineError
from credentials.engines.postgres import PostgresLink
from credentials.leases import lifecycle, revocation
from credentials.models import Backend, Lease, Role
from foundation.handles import new_id
from oauth.models import Grant, Use
from tests.support.leases import Holder, allow_leases, can_log_in, make_backend, make_role, sweep_until_quiet
from tests.support.systems import PostgresServer
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
ALL = "/admin/credentials/lease/end/"


@pytest.fixture
def admin_browser(administrator: User) -> Client:
    return sign_in(administrator)


def test_all_of_them(
    admin_browser: Client,
    holder: Holder,
    role: Role,
    routine_role: Role,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routine_token = holder.routine_token(authorization_details=[details(routine_role)])
    issued = [holder.issue_lease(role), holder.request_lease(routine_token, routine_role.name).json()]
    wrapped = holder.issue_lease(role, delivery="wrapped")["wrapped"]["handle"]
    assert 'href="/admin/credentials/lease/end/"' in admin_browser.get("/admin/credentials/lease/").content.decode()
    before = admin_browser.get(ALL).content.decode()
    assert "End every lease of every agent" in before and "End them now" in before and "refresh" not in before
    assert Lease.objects.filter(state="active").count() == 2, "looking changes nothing"

    with monkeypatch.context() as broken:

        def away(*_: Any) -> None:
            raise EngineError("it is locked")

        broken.setattr(PostgresLink, "revoke", away)
        during = admin_browser.post(ALL, follow=True).content.decode()
    assert "is revoking the accounts" in during and "it is locked" in during and 'content="2"' in during
    assert holder.call("POST", "/v1/leases/unwrap", None, {"handle": wrapped}).status_code == 404
    admin_browser.post(ALL)
    sweep_until_quiet()
    after = admin_browser.get(ALL).content.decode()
    assert "Every account is confirmed gone" in after and "refresh" not in after and "<form" not in content_of(after)
    assert not any(can_log_in(postgres_server, one) for one in issued)
    assert set(Lease.objects.values_list("state", "end_reason")) == {("revoked", "revoked by administrator")}
    assert Use.objects.count() == 2, "what was never unwrapped cost nothing"
    first, again = [json.loads(event.body) for event in Event.objects.filter(kind="leases.revoked").order_by("id")]
    assert first["facts"] == {"all": True, "leases": 3} and again["facts"]["leases"] == 0
    assert first["actor"].startswith("user:")
    assert Event.objects.filter(kind="lease.ended", actor=first["actor"]).count() == 3


@pytest.mark.parametrize("whom", ["all", "agent"])
def test_nobody_waits_long_for_a_system_that_is_slow(
    admin_browser: Client, holder: Holder, routine_role: Role, monkeypatch: pytest.MonkeyPatch, whom: str
) -> None:
    """A call may take twenty seconds, and more than one may be slow: what is left is the sweeper's."""
    for _ in range(3):
        requested = holder.request_lease(
            holder.routine_token(authorization_details=[details(routine_role)]), routine_role.name
        )
        assert requested.status_code == 201, requested.content
    sent = []

    def slow(_: PostgresLink, account: DatabaseAccount) -> None:
        sent.append(account.name)
        time.sleep(0.2)
        raise EngineError("it is locked")

    with monkeypatch.context() as slowed:
        slowed.setattr(PostgresLink, "revoke", slow)
        slowed.setattr(revocation, "INLINE_LIMIT_S", 0.1)
        url = ALL if whom == "all" else f"/admin/clients/agent/{holder.caller.agent.pk}/stop/"
        assert admin_browser.post(url).status_code == 302
    assert len(sent) == 1
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoking"}, "all have ended"
    Lease.objects.update(due_at=timezone.now())
    sweep_until_quiet()
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}


def details(role: Role) -> dict[str, str]:
    return {"type": role.operation_type.name, "purpose": "look at orders"}


def content_of(page: str) -> str:
    """Without the header, which has a form to sign out."""
    return page.split('id="content"')[1]


@pytest.fixture
def other_lease(other_agent: Caller, holder: Holder, postgres_server: PostgresServer) -> Lease:
    """Nothing of it is the same."""
    backend = make_backend(postgres_server.system("lease_admin"), name="archive")
    role = make_role(backend, "archive-routine", {"groups": ["orders_reader"]}, {"risk": "routine"})
    other = allow_leases(other_agent)
    requested = other.request_lease(other.routine_token(authorization_details=[details(role)]), role.name)
    assert requested.status_code == 201, requested.content
    return Lease.objects.get(pk=requested.json()["lease"]["lease_id"])


@pytest.mark.parametrize("by", ["agent", "user", "grant", "role", "backend"])
def test_by_what_it_belongs_to(admin_browser: Client, holder: Holder, role: Role, other_lease: Lease, by: str) -> None:
    lease = Lease.objects.get(pk=holder.issue_lease(role)["lease"]["lease_id"])
    found = getattr(lease, {"user": "user"}.get(by, by))
    app = {"agent": "clients/agent", "user": "accounts/user", "grant": "oauth/grant"}.get(by, f"credentials/{by}")
    url = f"/admin/credentials/lease/end/{by}/{found.pk}/"
    assert url in admin_browser.get(f"/admin/{app}/{found.pk}/change/").content.decode()
    assert f"every lease of the {by}" in admin_browser.get(url).content.decode()
    assert "confirmed gone" in admin_browser.post(url, follow=True).content.decode()
    assert Lease.objects.get(pk=lease.pk).state == "revoked"
    assert Lease.objects.get(pk=other_lease.pk).state == "active", "the other is not touched"
    (event,) = Event.objects.filter(kind="leases.revoked")
    reply = {"agent": "Assistant", "user": str(holder.user.pk), "grant": str(lease.grant_id), "role": role.name,
            "backend": "orders"}  # fmt: skip
    assert json.loads(event.body)["facts"] == {by: reply[by], "leases": 1}


@pytest.mark.parametrize(
    "path", ["agent/0/", "agent/x/", "grant/x/", "grant/018f3c6e-0000-7000-8000-000000000000/", "nobody/1/"]
)
def test_what_is_not_there(admin_browser: Client, holder: Holder, role: Role, path: str) -> None:
    holder.issue_lease(role)
    assert admin_browser.post(f"{ALL}{path}").status_code == 404
    assert Lease.objects.get().state == "active"


@pytest.mark.parametrize("staff", [False, True], ids=["a user", "one who may look at the administration"])
def test_only_who_may_change_leases(holder: Holder, role: Role, user: User, staff: bool) -> None:
    holder.issue_lease(role)
    User.objects.filter(pk=user.pk).update(is_staff=staff)
    browser = sign_in(user)
    assert browser.get(ALL).status_code == browser.post(ALL).status_code == (403 if staff else 302)
    assert Lease.objects.get().state == "active"


def test_what_is_given_up_is_on_the_record_and_found_if_it_lives(
    admin_browser: Client, holder: Holder, role: Role, orders: Backend, user: User, postgres_server: PostgresServer
) -> None:
    """A system that is gone for good: a superuser alone says so, with a reason; nothing is called revoked."""
    issued = holder.issue_lease(role)
    lease = Lease.objects.get()
    url = f"/admin/credentials/lease/{lease.pk}/abandon/"
    reason = {"reason": "The machine was scrapped, see ticket 7"}
    assert admin_browser.post(url, reason).status_code == 404, "it is in use"
    with postgres_server.down():
        holder.revoke(issued["lease"]["lease_id"])
        User.objects.filter(pk=user.pk).update(is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="change_lease"))
        assert sign_in(user).post(url, reason).status_code == 403, "who may end leases may not abandon them"
        assert url in admin_browser.get(f"/admin/credentials/lease/{lease.pk}/change/").content.decode()
        assert "This field is required" in admin_browser.post(url, {"reason": " "}).content.decode()
        assert Lease.objects.get().state == "revoking"
        assert admin_browser.post(url, reason).status_code == 302
        lease.refresh_from_db()
        assert (lease.state, lease.revoked_at, lease.due_at) == ("abandoned", None, None)
        facts = json.loads(Event.objects.get(kind="lease.abandoned").body)["facts"]
        assert (facts["reason"], facts["account"]) == (reason["reason"], lease.account_name)
        sweep_until_quiet()
        assert holder.call("GET", "/v1/leases", holder.routine_token()).json()["leases"] == []
        assert "except 1 whose lease was abandoned" in admin_browser.get(ALL).content.decode()
        assert admin_browser.post(url, reason).status_code == 404, "once"
    # It was not gone after all.
    assert postgres_server.one("SELECT 1 FROM pg_roles WHERE rolname = %s", lease.account_name) == 1
    Backend.objects.update(scanned_at=None, retry_at=timezone.now())
    sweep_until_quiet()
    assert postgres_server.one("SELECT 1 FROM pg_roles WHERE rolname = %s", lease.account_name) is None
    assert Event.objects.filter(kind="orphan.revoked").count() == 1


def test_grants_are_locked_in_one_order(holder: Holder, role: Role, orders: Backend) -> None:
    """As by a user's stop of the agent in the same moment: two orders would be a deadlock, and one of both fails."""
    now = timezone.now()
    ids = sorted(new_id() for _ in range(4))
    for grant_id in ids[:2]:
        Grant.objects.create(
            id=grant_id, agent=holder.caller.agent, user=holder.user, operation_digest="d", created_at=now,
            expires_at=now + timedelta(hours=1),
        )  # fmt: skip
    for lease_id, grant_id in zip(ids[2:], reversed(ids[:2]), strict=True):
        Lease.objects.create(
            id=lease_id, role=role, backend=orders, grant_id=grant_id, agent=holder.caller.agent, operation_digest="d",
            use_id=new_id(), account_name=lease_id.hex, settings={}, state="wrapped", created_at=now, lifetime=60,
            expires_at=now + timedelta(hours=1), max_expires_at=now + timedelta(hours=1),
        )  # fmt: skip
    with CaptureQueriesContext(connection) as captured:
        assert lifecycle.end_all(Q(), "user:admin", now, all=True) == 2
    sent = [one["sql"] for one in captured.captured_queries]
    locks = [one for one in sent if 'FROM "oauth_grant"' in one and "FOR UPDATE" in one]
    assert [next(one for one in ids if one.hex in lock.replace("-", "")) for lock in locks] == ids[:2]


def test_thousands_are_ended_in_a_few_statements(holder: Holder, role: Role, orders: Backend) -> None:
    now, many = timezone.now(), 2000
    grant = Grant.objects.create(
        id=new_id(), agent=holder.caller.agent, user=holder.user, operation_digest="d", created_at=now,
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    Lease.objects.bulk_create(
        Lease(
            role=role, backend=orders, grant=grant, agent=grant.agent, operation_digest="d", use_id=new_id(),
            account_name=f"cs_{number}", settings={}, state="active", created_at=now, lifetime=60,
            expires_at=grant.expires_at, max_expires_at=grant.expires_at,
        )
        for number in range(many)
    )  # fmt: skip
    with CaptureQueriesContext(connection) as captured:
        assert lifecycle.end_all(Q(), "user:admin", now, all=True) == many
    assert len(captured) < 12
    assert Event.objects.filter(kind="lease.ended").count() == many
    assert Event.objects.filter(kind="leases.revoked").count() == 1
