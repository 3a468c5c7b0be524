"""A user ends a grant, and the account that was issued under it is gone, with all its connections."""

from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.models import User
from audit.models import Event
from credentials.models import Lease, Role
from oauth.models import Grant
from tests.support.leases import Holder, sweep_until_quiet
from tests.support.systems import PostgresServer
from tests.support.world import sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def issued(holder: Holder, role: Role) -> dict[str, Any]:
    return holder.issue_lease(role)


@pytest.fixture
def session(issued: dict[str, Any], postgres_server: PostgresServer) -> psycopg.Connection:
    """Somebody works with the account."""
    opened = postgres_server.connect(issued["credential"]["username"], issued["credential"]["password"])
    assert opened.execute("SELECT item FROM orders").fetchall() == [("paper",)]
    return opened


@pytest.fixture
def grant(issued: dict[str, Any]) -> Grant:
    return Grant.objects.get(pk=issued["lease"]["grant_id"])


def action(page: str, ending: str) -> str:
    """The one form of this page that ends so."""
    (found,) = {
        part.partition('"')[0] for part in page.split('action="')[1:] if part.partition('"')[0].endswith(ending)
    }
    return found


def is_gone(server: PostgresServer, issued: dict[str, Any], session: psycopg.Connection) -> bool:
    name = issued["credential"]["username"]
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        server.connect(name, issued["credential"]["password"])
    return server.one("SELECT 1 FROM pg_roles WHERE rolname = %s", name) is None


def test_the_account_alone(
    browser_of_user: Client, grant: Grant, issued: dict[str, Any], session: Any, postgres_server: PostgresServer
) -> None:
    page = browser_of_user.get(f"/grants/{grant.id}").content.decode()
    assert ">Leases</h2>" in page and "orders-readonly on orders" in page
    end = action(page, f"/lease/{issued['lease']['lease_id']}/end")
    assert browser_of_user.post(end).status_code == 302
    assert is_gone(postgres_server, issued, session), "at once: no sweep was needed"
    grant.refresh_from_db()
    assert grant.revoked_at is None, "what else hangs on it goes on"
    lease = Lease.objects.get()
    assert (lease.state, lease.end_reason) == ("revoked", "revoked by user")
    assert Event.objects.get(kind="lease.ended").actor == f"user:{grant.user_id}"
    assert end not in browser_of_user.get(f"/grants/{grant.id}").content.decode()


@pytest.mark.parametrize("where", ["the grant's page", "the agents' page", "the administration"])
def test_all_of_it(
    where: str,
    browser_of_user: Client,
    administrator: User,
    grant: Grant,
    issued: dict[str, Any],
    session: Any,
    postgres_server: PostgresServer,
) -> None:
    if where == "the administration":
        assert sign_in(administrator).post(f"/admin/oauth/grant/{grant.id}/end/").status_code == 302
    else:
        address = f"/grants/{grant.id}" if where == "the grant's page" else "/agents"
        page = browser_of_user.get(address).content.decode()
        ending = f"/grants/{grant.id}/end" if where == "the grant's page" else "/stop"
        assert browser_of_user.post(action(page, ending)).status_code == 302
    sweep_until_quiet()
    assert is_gone(postgres_server, issued, session)
    lease = Lease.objects.get()
    assert (lease.state, lease.end_reason) == ("revoked", "no longer entitled")


def test_a_stranger_ends_nothing(
    stranger: User, browser_of_user: Client, grant: Grant, issued: dict[str, Any], session: Any
) -> None:
    page = browser_of_user.get(f"/grants/{grant.id}").content.decode()
    assert sign_in(stranger).post(action(page, f"/{issued['lease']['lease_id']}/end")).status_code == 404
    sweep_until_quiet()
    assert session.execute("SELECT 1").fetchone() == (1,)
    session.close()
