"""Renewing asks again: is everything alive, may the agent still ask, and how long by the limits of now."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from clients import lifecycle as agents
from clients.models import Agent
from credentials.engines import DatabaseAccount
from credentials.engines.postgres import PostgresLink
from credentials.errors import LeaseEnded
from credentials.leases import issuance
from credentials.models import Backend, Lease, Role
from oauth.models import Grant
from operations.models import OperationType, Resource
from tests.support.leases import Holder
from tests.support.systems import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)

Die = Callable[[], None]
# What a lease hangs on, and how an agent is answered that renews after it: a suspended one has no token any more.
HANGS_ON = {"grant": 409, "user": 409, "agent": 401, "resource": 409}


@pytest.fixture
def dies(holder: Holder, administrator: User, request: pytest.FixtureRequest) -> Die:
    """What ends, each in its own way."""
    return {
        "grant": lambda: Grant.objects.filter(user=holder.user).update(revoked_at=timezone.now()),
        "user": lambda: users.disable(holder.user, administrator, timezone.now()),
        "agent": lambda: agents.suspend(holder.caller.agent, administrator, timezone.now()),
        "resource": lambda: Resource.objects.filter(identifier__endswith="/v1").update(is_active=False),
    }[request.param]


def renew(holder: Holder, lease: Lease, token: str | None = None, **body: Any) -> Any:
    return holder.call("POST", f"/v1/leases/{lease.pk}/renew", token or holder.routine_token(), body)


def requested(holder: Holder, role: Role, **more: Any) -> Lease:
    issued = holder.issue_lease(role, **more)["lease"]
    return Lease.objects.select_related("role", "agent", "backend", "grant").get(pk=issued["lease_id"])


def until(server: PostgresServer, lease: Lease) -> Any:
    return server.one("SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s", lease.account_name)


@pytest.mark.parametrize(("dies", "status"), HANGS_ON.items(), indirect=["dies"], ids=HANGS_ON)
def test_nothing_is_renewed_that_belongs_to_something_dead(
    holder: Holder, role: Role, postgres_server: PostgresServer, dies: Die, status: int
) -> None:
    """And the backend is not called."""
    lease, token = requested(holder, role, lifetime=60), holder.routine_token()
    before = until(postgres_server, lease)
    dies()
    answer = renew(holder, lease, token, lifetime=300)
    assert answer.status_code == status, answer.content
    if status == 409:
        assert answer.json()["error"] == "lease_ended"
        assert Event.objects.filter(kind="lease.refused").count() == 1
    # Also where no token was looked at before.
    assert isinstance(issuance.renew(lease, 300, timezone.now()), LeaseEnded)
    assert until(postgres_server, lease) == before
    assert Lease.objects.get().expires_at == lease.expires_at
    assert not Event.objects.filter(kind="lease.renewed").exists()


@pytest.mark.parametrize("dies", HANGS_ON, indirect=True)
def test_what_dies_while_the_system_is_called_is_not_renewed(
    holder: Holder, role: Role, dies: Die, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = requested(holder, role, lifetime=60)
    renew_account = PostgresLink.renew

    def meanwhile(link: PostgresLink, account: DatabaseAccount) -> None:
        dies()
        renew_account(link, account)

    monkeypatch.setattr(PostgresLink, "renew", meanwhile)
    answer = renew(holder, lease, lifetime=300)
    assert (answer.status_code, answer.json()["error"]) == (409, "lease_ended")
    assert Lease.objects.get().expires_at == lease.expires_at
    assert not Event.objects.filter(kind="lease.renewed").exists()


@pytest.mark.parametrize("how", ["of the agent", "of everybody"])
def test_what_the_agent_may_not_ask_for_any_more_lasts_until_its_end(
    holder: Holder, role: Role, postgres_server: PostgresServer, how: str
) -> None:
    lease = requested(holder, role, lifetime=60)
    before = until(postgres_server, lease)
    if how == "of the agent":
        holder.caller.agent.operation_types.clear()
    else:
        OperationType.objects.filter(pk=role.operation_type_id).update(is_active=False)
    answer = renew(holder, lease, lifetime=300)
    assert (answer.status_code, answer.json()["error"]) == (409, "not_renewable")
    assert "may no longer request this role" in answer.json()["error_description"]
    assert until(postgres_server, lease) == before and Lease.objects.get().state == "active"
    assert Event.objects.filter(kind="lease.refused").count() == 1


@pytest.mark.parametrize("what", ["role", "backend"])
def test_what_issues_no_more_renews_no_more(holder: Holder, role: Role, what: str) -> None:
    lease = requested(holder, role, lifetime=60)
    if what == "role":
        Role.objects.update(is_active=False)
    else:
        Backend.objects.update(status="draining")
    answer = renew(holder, lease, lifetime=300)
    assert (answer.status_code, answer.json()["error"]) == (503, "not_issuing")


@pytest.mark.parametrize("holder_of", ["agent_maximum", "role_maximum"])
def test_limits_that_were_lowered_count_from_the_request(
    holder: Holder, role: Role, postgres_server: PostgresServer, holder_of: str
) -> None:
    lease = requested(holder, role, lifetime=60)
    if holder_of == "agent_maximum":
        Agent.objects.update(max_lease_lifetime=120)
    else:
        Role.objects.update(max_lifetime=120)
    answer = renew(holder, lease, lifetime=3000).json()
    end = lease.created_at + timedelta(seconds=120)
    assert (answer["expires_at"], answer["bound_by"]) == (end.isoformat(), holder_of)
    assert until(postgres_server, lease) == end + timedelta(seconds=5)
    again = renew(holder, lease, lifetime=3000)
    assert (again.status_code, again.json()["error"]) == (409, "not_renewable")
    assert f"{holder_of} sets its end" in again.json()["error_description"]


def test_a_limit_lower_than_what_it_has_takes_nothing_away(holder: Holder, role: Role) -> None:
    lease = requested(holder, role)
    Agent.objects.update(max_lease_lifetime=60)
    assert renew(holder, lease, lifetime=3000).json()["error"] == "not_renewable"
    assert Lease.objects.get().expires_at == lease.expires_at


def test_a_renewal_that_asks_for_nothing_is_for_as_long_as_the_request(holder: Holder, role: Role) -> None:
    lease = requested(holder, role, lifetime=60)
    before = timezone.now()
    answer = renew(holder, lease).json()
    assert answer["bound_by"] == "requested"
    life = (Lease.objects.get().expires_at - before).total_seconds()
    assert 60 <= life < 65, "and not the role's default of 600"
    lease = requested(holder, role)
    assert renew(holder, lease).json()["bound_by"] == "role_default"
