"""Wrapped delivery: one handle, once, for a short time; a second time ends the lease and raises an alarm."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from audit.models import Event
from credentials.backends import recovery
from credentials.models import Backend, Lease, Role
from foundation import attempts
from oauth.models import Grant
from tests.support.duel import at_once
from tests.support.leases import Holder, sweep_until_quiet
from tests.support.systems import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)


def wrap(holder: Holder, role: Role, **more: Any) -> tuple[str, dict[str, Any]]:
    answer = holder.request_lease(holder.approved_token(role), delivery="wrapped", **more)
    assert answer.status_code == 201, answer.content
    return answer.json()["wrapped"]["handle"], answer.json()


def unwrap(holder: Holder, handle: str) -> Any:
    """By whoever has it: no token."""
    return holder.call("POST", "/v1/leases/unwrap", None, {"handle": handle})


def test_the_account_is_made_when_it_is_unwrapped(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    handle, requested = wrap(holder, role)
    assert requested["lease"]["state"] == "wrapped" and "credential" not in requested
    lease = Lease.objects.get()
    there = "SELECT count(*) FROM pg_roles WHERE rolname = %s"
    assert postgres_server.one(there, lease.account_name) == 0
    issued = unwrap(holder, handle)
    assert issued.status_code == 201 and issued["Cache-Control"] == "no-store"
    assert issued.json()["lease"]["lease_id"] == requested["lease"]["lease_id"], "whose it is can be seen"
    credential = issued.json()["credential"]
    with postgres_server.connect(credential["username"], credential["password"]) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_second_unwrapping_ends_it_and_raises_an_alarm(
    holder: Holder, role: Role, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    handle, _ = wrap(holder, role)
    credential = unwrap(holder, handle).json()["credential"]
    session = postgres_server.connect(credential["username"], credential["password"])
    second, never_given = unwrap(holder, handle), unwrap(holder, "never-given-out")
    assert (second.status_code, second.content) == (404, never_given.content), "the thief learns nothing"
    assert (Lease.objects.get().state, Lease.objects.get().end_reason) == ("revoked", "unwrapped twice")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert Event.objects.filter(kind="lease.unwrapped_twice").count() == 1
    assert "a second time" in caplog.text and handle not in caplog.text


def test_many_are_unwrapped_at_once_from_one_address(
    holder: Holder, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAX_FROM_ADDRESS", 1)
    handles = [wrap(holder, role)[0] for _ in range(3)]
    answers = at_once(*[lambda handle=handle: unwrap(holder, handle) for handle in handles])
    assert [answer.status_code for answer in answers] == [201] * 3, "none of them was wrong"


def test_what_is_not_unwrapped_in_time_is_over_and_costs_nothing(holder: Holder, role: Role) -> None:
    handle, _ = wrap(holder, role, wrap_lifetime=5)
    late = timezone.now() - timedelta(seconds=1)
    Lease.objects.update(wrap_expires_at=late, claimed_until=late)
    assert unwrap(holder, handle).status_code == 404
    sweep_until_quiet()
    assert (Lease.objects.get().state, Lease.objects.get().end_reason) == ("revoked", "not unwrapped")
    assert unwrap(holder, handle).status_code == 404
    assert not Event.objects.filter(kind="lease.unwrapped_twice").exists(), "whoever comes late is no second one"
    assert Grant.objects.get().uses_left == 1


def test_a_wrapped_lease_ends_unopened(holder: Holder, role: Role) -> None:
    handle, requested = wrap(holder, role)
    assert holder.revoke(requested["lease"]["lease_id"]).json()["state"] == "revoked"
    assert unwrap(holder, handle).status_code == 404
    assert Lease.objects.get().end_reason == "revoked by agent"
    assert not Event.objects.filter(kind="lease.unwrapped_twice").exists(), "it was never opened"


def test_nothing_is_unwrapped_under_a_dead_grant(holder: Holder, role: Role) -> None:
    handle, _ = wrap(holder, role)
    Grant.objects.update(revoked_at=timezone.now())
    assert unwrap(holder, handle).status_code == 404
    assert Lease.objects.get().state == "wrapped"


def test_a_repeat_replaces_the_handle(holder: Holder, role: Role) -> None:
    token = holder.approved_token(role)
    first = holder.request_lease(token, key="one", delivery="wrapped").json()["wrapped"]["handle"]
    second = holder.request_lease(token, key="one", delivery="wrapped")
    assert second.status_code == 200
    assert unwrap(holder, first).status_code == 404
    assert unwrap(holder, second.json()["wrapped"]["handle"]).status_code == 201


@pytest.mark.parametrize("what", ["draining", "recovering"])
def test_nothing_is_unwrapped_or_renewed_while_nothing_is_issued(holder: Holder, role: Role, what: str) -> None:
    handle, _ = wrap(holder, role)
    issued = holder.issue_lease(role)["lease"]["lease_id"]
    if what == "draining":
        Backend.objects.update(status="draining")
    else:
        recovery.start("user:x", timezone.now())
    assert unwrap(holder, handle).status_code == 404
    assert Lease.objects.filter(state="wrapped").count() == 1
    renewed = holder.call("POST", f"/v1/leases/{issued}/renew", holder.routine_token(), {"lifetime": 900})
    assert renewed.json()["error"] == "not_issuing"


@pytest.mark.parametrize("body", [{}, {"handle": 1}, {"handle": "é"}, {"handle": "x" * 200}, {"handle": "x", "y": 1}])
def test_bodies_are_read_strictly(holder: Holder, body: Any) -> None:
    assert holder.call("POST", "/v1/leases/unwrap", None, body).status_code == 400
