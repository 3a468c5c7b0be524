"""POST /v1/leases and its consequences: one grant, one use, one delivery, and a certain end."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import ProgrammingError
from django.test import Client
from django.utils import timezone

from audit.models import Event
from clients import lifecycle as agents
from clients.models import Agent
from credentials.leases import lifecycle
from credentials.models import Backend, Lease, Role
from oauth.models import Grant, Use
from tests.support.leases import Holder, allow_leases, audit_closed, make_role, sweep_until_quiet
from tests.support.systems import PostgresServer
from tests.support.world import Caller

pytestmark = pytest.mark.django_db(transaction=True)


def connect(server: PostgresServer, issued: dict[str, Any]) -> psycopg.Connection:
    credential, at = issued["credential"], issued["connection"]
    return server.connect(credential["username"], credential["password"], at["database"])


def test_from_the_approval_to_the_account_and_back(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    token = holder.approved_token(role)
    answer = holder.request_lease(token)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    issued = answer.json()
    lease = Lease.objects.get()
    assert issued["lease"]["lease_id"] == str(lease.id)
    assert issued["lease"]["state"] == lease.state == "active"
    assert issued["lease"]["bound_by"] == "role_default"
    assert issued["connection"] == {
        "host": "127.0.0.1", "port": postgres_server.port, "database": "orders", "sslmode": "disable",
    }  # fmt: skip
    session = connect(postgres_server, issued)
    assert session.execute("SELECT item FROM orders").fetchall() == [("paper",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("INSERT INTO orders VALUES (2, 'ink')")

    grant = Grant.objects.get(pk=lease.grant_id)
    assert grant.uses_left == 0 and Use.objects.get().pk == lease.use_id
    assert lease.operation_digest == grant.operation_digest

    ended = holder.call("POST", f"/v1/leases/{lease.id}/revoke", token)
    assert ended.json()["state"] == "revoked"
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert postgres_server.one("SELECT count(*) FROM pg_roles WHERE rolname = %s", lease.account_name) == 0
    trail = list(Event.objects.filter(grant_id=grant.id).order_by("id").values_list("kind", flat=True))
    assert trail[-5:] == ["use.spent", "lease.requested", "lease.issued", "lease.ended", "lease.revoked"]
    # A second time does nothing.
    assert holder.call("POST", f"/v1/leases/{lease.id}/revoke", token).json() == ended.json()
    assert Event.objects.filter(kind="lease.ended").count() == 1


def test_the_account_leads_back_to_lease_agent_user_and_approval(
    holder: Holder, role: Role, postgres_server: PostgresServer
) -> None:
    issued = holder.issue_lease(role)
    lease = Lease.objects.get()
    comment = postgres_server.one(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", lease.account_name
    )
    for known in (lease.id, holder.caller.agent.client_id, holder.user.id, lease.grant_id, lease.request_id,
                  lease.operation_digest):  # fmt: skip
        assert str(known) in comment
    assert comment.endswith(" purpose=look at orders")
    with connect(postgres_server, issued) as session:
        assert session.execute("SHOW application_name").fetchone() == (f"countersign:{lease.id}",)


def test_without_a_grant_the_answer_says_what_to_ask(holder: Holder, role: Role) -> None:
    refused = holder.request_lease(holder.routine_token(), purpose="find a late parcel", lifetime=120)
    assert refused.status_code == 403
    body = refused.json()
    assert body["error"] == "insufficient_authorization"
    assert body["backchannel_authentication_endpoint"].endswith("/bc-authorize")
    # And that works as it stands.
    details = body["authorization_details"]
    assert details == [{"type": "credential:orders-readonly", "purpose": "find a late parcel", "lifetime": 120}]
    requested = holder.caller.ask(holder.user, authorization_details=details, resource=body["resource"])
    assert requested.status_code == 200
    assert not Lease.objects.exists()


def test_a_routine_role_needs_nobody(holder: Holder, routine_role: Role, postgres_server: PostgresServer) -> None:
    refused = holder.request_lease(holder.routine_token(), "orders-routine", purpose="nightly report").json()
    assert refused["token_endpoint"].endswith("/oauth/token")
    token = holder.routine_token(authorization_details=refused["authorization_details"])
    issued = holder.request_lease(token, "orders-routine").json()
    with connect(postgres_server, issued) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert Lease.objects.get().user is None


def test_one_approval_allows_one_lease(holder: Holder, role: Role) -> None:
    token = holder.approved_token(role)
    assert holder.request_lease(token).status_code == 201
    again = holder.request_lease(token)
    assert (again.status_code, again.json()["error"]) == (409, "used_up")
    assert Lease.objects.count() == 1


def test_the_same_key_again_is_the_same_lease_with_a_new_password(
    holder: Holder, role: Role, postgres_server: PostgresServer
) -> None:
    token = holder.approved_token(role)
    first = holder.request_lease(token, key="one").json()
    second = holder.request_lease(token, key="one")
    assert second.status_code == 200
    assert second.json()["lease"] == first["lease"]
    assert Lease.objects.count() == Use.objects.count() == 1
    with connect(postgres_server, second.json()) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        connect(postgres_server, first)


def test_another_grants_key_is_another_key(holder: Holder, role: Role) -> None:
    first = holder.request_lease(holder.approved_token(role), key="one").json()
    second = holder.request_lease(holder.approved_token(role), key="one").json()
    assert first["lease"]["lease_id"] != second["lease"]["lease_id"]


def test_the_key_of_an_ended_lease_allows_nothing(holder: Holder, role: Role) -> None:
    token = holder.approved_token(role)
    issued = holder.request_lease(token, key="one").json()
    holder.revoke(issued["lease"]["lease_id"])
    assert holder.request_lease(token, key="one").json()["error"] == "lease_ended"


def test_a_stranger_learns_nothing(holder: Holder, role: Role, other_agent: Caller) -> None:
    issued = holder.issue_lease(role)
    lease_id = issued["lease"]["lease_id"]
    stranger = allow_leases(other_agent, holder.user)
    token = stranger.routine_token()
    unknown = stranger.call("GET", "/v1/leases/00000000-0000-4000-8000-000000000000", token)
    for method, path in (("GET", ""), ("POST", "/renew"), ("POST", "/revoke")):
        answer = stranger.call(method, f"/v1/leases/{lease_id}{path}", token)
        assert (answer.status_code, answer.content) == (404, unknown.content)
    assert stranger.call("GET", "/v1/leases", token).json() == {"leases": []}
    assert stranger.call("GET", f"/v1/leases/{'-' * 36}", token).status_code == 404
    assert Lease.objects.get().state == "active"


def test_a_role_that_the_agent_may_not_ask_for_is_unknown(holder: Holder, role: Role, orders: Backend) -> None:
    make_role(orders, "orders-all", {"groups": ["orders_writer"]})
    token = holder.approved_token(role)
    hidden, missing = holder.request_lease(token, "orders-all"), holder.request_lease(token, "no-such-role")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content


@pytest.mark.parametrize("other", ["none", "rubbish", "another audience"])
def test_only_a_live_token_for_this_api(holder: Holder, role: Role, other: str) -> None:
    tokens = {
        "none": None,
        "rubbish": "rubbish",
        "another audience": holder.routine_token(scope="calendar.read"),
    }
    answer = holder.call("POST", "/v1/leases", tokens[other], {"role": "orders-readonly"})
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer


def test_a_dead_grant_allows_nothing(holder: Holder, role: Role) -> None:
    token = holder.approved_token(role)
    Grant.objects.update(revoked_at=timezone.now())
    assert holder.request_lease(token).status_code == 401
    assert not Lease.objects.exists()


@pytest.mark.parametrize(
    ("role_life", "requested", "approved", "seconds", "bound"),
    [
        ({}, None, None, 600, "role_default"),
        ({}, 60, None, 60, "requested"),
        ({"max_lifetime": 300, "default_lifetime": 300}, 900, None, 300, "role_maximum"),
        ({}, 900, 120, 120, "approved"),
        ({}, 900, None, 240, "agent_maximum"),
        ({}, 7200, None, 3600, "grant"),
    ],
)
def test_the_answer_says_which_limit_bound(
    holder: Holder,
    role: Role,
    role_life: dict[str, int],
    requested: int | None,
    approved: int | None,
    seconds: int,
    bound: str,
) -> None:
    for name, value in role_life.items():
        setattr(role, name, value)
    role.save()
    if bound == "agent_maximum":
        Agent.objects.update(max_lease_lifetime=240)
    token = holder.approved_token(role, **({"lifetime": approved} if approved else {}))
    if bound == "role_maximum":
        Grant.objects.update(expires_at=timezone.now() + timedelta(hours=2))
    lease = holder.request_lease(token, **({"lifetime": requested} if requested else {})).json()["lease"]
    assert lease["bound_by"] == bound
    stored = Lease.objects.get()
    life = (stored.expires_at - stored.created_at).total_seconds()
    assert seconds - 5 < life <= seconds
    assert lease["max_expires_at"] >= lease["expires_at"]
    assert lease["renewable"] == (bound in ("role_default", "requested"))


def test_what_else_ends_it_is_said(holder: Holder, role: Role, routine_role: Role) -> None:
    assert holder.issue_lease(role)["lease"]["ends_with"] == ["grant", "agent", "user"]


def test_renewing_counts_from_now_and_never_beyond(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    issued = holder.issue_lease(role, lifetime=60)["lease"]
    path, token = f"/v1/leases/{issued['lease_id']}/renew", holder.routine_token()
    renewed = holder.call("POST", path, token, {"lifetime": 300}).json()
    assert renewed["expires_at"] > issued["expires_at"]
    lease = Lease.objects.get()
    until = postgres_server.one("SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s", lease.account_name)
    assert until == lease.expires_at + timedelta(seconds=5)
    max_length = holder.call("POST", path, token, {"lifetime": 86400}).json()
    assert max_length["expires_at"] == issued["max_expires_at"] and max_length["bound_by"] == "grant"
    again = holder.call("POST", path, token, {"lifetime": 86400})
    assert (again.status_code, again.json()["error"]) == (409, "not_renewable")


@pytest.mark.parametrize("what", ["grant", "agent", "user", "resource"])
def test_a_lease_ends_with_what_it_belongs_to(
    holder: Holder, role: Role, what: str, administrator: Any, postgres_server: PostgresServer
) -> None:
    issued = holder.issue_lease(role)
    session = connect(postgres_server, issued)
    match what:
        case "grant":
            Grant.objects.update(revoked_at=timezone.now())
        case "agent":
            agents.suspend(holder.caller.agent, administrator, timezone.now())
        case "user":
            from accounts import lifecycle as users

            users.disable(holder.user, administrator, timezone.now())
        case "resource":
            role.operation_type.resource.__class__.objects.update(is_active=False)
    sweep_until_quiet()
    lease = Lease.objects.get()
    assert (lease.state, lease.end_reason) == ("revoked", "no longer entitled")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_a_lease_whose_time_is_up_is_gone_within_a_sweep(
    holder: Holder, role: Role, postgres_server: PostgresServer
) -> None:
    issued = holder.issue_lease(role, lifetime=60)
    session = connect(postgres_server, issued)
    Lease.objects.update(expires_at=timezone.now() + timedelta(milliseconds=200))
    sweep_until_quiet()
    assert session.execute("SELECT 1").fetchone() == (1,), "not a moment before"
    import time

    time.sleep(0.2)
    assert sweep_until_quiet() == 1
    assert Lease.objects.get().state == "revoked"
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


@pytest.mark.parametrize(
    "holder_of",
    [
        "agent's leases of this role", "agent's leases", "this agent's own", "user's leases of this role",
        "user's leases", "leases of this role", "backend's leases",
    ],
)  # fmt: skip
def test_quotas_are_kept(holder: Holder, role: Role, routine_role: Role, settings: Any, holder_of: str) -> None:
    first_of, words = role, holder_of
    match holder_of:
        case "agent's leases of this role":
            Role.objects.filter(pk=role.pk).update(max_per_agent=1)
        case "agent's leases":
            settings.LEASES_MAX_PER_AGENT, first_of = 1, routine_role
        case "this agent's own":
            Agent.objects.update(max_leases=1)
            words, first_of = "agent's leases", routine_role
        case "user's leases of this role":
            Role.objects.filter(pk=role.pk).update(max_per_user=1)
        case "user's leases":
            settings.LEASES_MAX_PER_USER, first_of = 1, routine_role
        case "leases of this role":
            Role.objects.filter(pk=role.pk).update(max_leases=1)
        case "backend's leases":
            Backend.objects.update(max_leases=1)
    first = holder.issue_lease(first_of)
    token = holder.approved_token(role)
    full = holder.request_lease(token)
    assert (full.status_code, full.json()["error"]) == (429, "quota_exceeded")
    assert full.json()["error_description"] == f"the limit of the {words} is reached: 1 of 1"
    assert Grant.objects.latest("created_at").uses_left == 1, "nothing was spent"
    holder.revoke(first["lease"]["lease_id"])
    assert holder.request_lease(token).status_code == 201


def test_a_backend_that_refuses_costs_no_use(holder: Holder, role: Role, orders: Backend) -> None:
    Role.objects.update(settings={"groups": ["no such group"]})
    token = holder.approved_token(role)
    refused = holder.request_lease(token, key="one")
    assert (refused.status_code, refused.json()["error"]) == (502, "backend_unavailable")
    assert Lease.objects.get().state == "revoked"
    Role.objects.update(settings={"groups": ["orders_reader"]})
    assert holder.request_lease(token, key="one").status_code == 201
    kinds = Event.objects.filter(kind__in=["use.spent", "use.refunded"]).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["use.spent", "use.refunded", "use.spent"]


def test_the_password_is_nowhere(
    holder: Holder, role: Role, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in our tables, not in our log, not in the system's own statement log."""
    from django.apps import apps

    with postgres_server.superuser() as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
    try:
        token = holder.approved_token(role)
        passwords = [holder.request_lease(token, key="one").json()["credential"]["password"] for _ in range(2)]
    finally:
        with postgres_server.superuser() as connection:
            connection.execute("ALTER SYSTEM RESET log_statement")
            connection.execute("SELECT pg_reload_conf()")
    log = postgres_server.embedded.process.log
    assert log is not None
    their_log = log.read_text(errors="replace")
    assert "CREATE ROLE" in their_log, "the statements are logged"
    rows = [str(row) for model in apps.get_models() for row in model.objects.values()]
    stored = [json.loads(event.body)["facts"].get("fingerprint") for event in Event.objects.order_by("id")]
    assert [one for one in stored if one] == [hashlib.sha256(one.encode()).hexdigest()[:16] for one in passwords]
    for password in passwords:
        assert password not in their_log
        assert password not in caplog.text
        assert not any(password in row for row in rows)


def test_lease_bodies_are_read_strictly(holder: Holder, role: Role) -> None:
    token = holder.routine_token()
    for body in (
        {}, {"role": 1}, {"role": "orders-readonly", "more": 1}, {"role": "orders-readonly", "lifetime": "60"},
        {"role": "orders-readonly", "lifetime": True}, {"role": "orders-readonly", "lifetime": 0},
        {"role": "orders-readonly", "delivery": "by post"}, {"role": "orders-readonly", "wrap_lifetime": 5}, [],
    ):  # fmt: skip
        answer = holder.call("POST", "/v1/leases", token, body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body


def test_a_fast_agent_is_slowed_down(holder: Holder, routine_role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    from credentials.leases import policy

    monkeypatch.setattr(policy, "MAX_PER_MINUTE", 2)
    details = [{"type": "credential:orders-routine", "purpose": "again and again"}]
    token = holder.routine_token(authorization_details=details)
    codes = [holder.request_lease(token, "orders-routine").status_code for _ in range(3)]
    assert codes == [201, 201, 429]


def test_what_is_read_from_the_lease_alone_revokes_it(holder: Holder, role: Role) -> None:
    """The role may have changed or gone to sleep since."""
    issued = holder.issue_lease(role)
    Role.objects.update(settings={"groups": ["somebody else"]}, is_active=False)
    assert holder.revoke(issued["lease"]["lease_id"]).json()["state"] == "revoked"


def test_ending_is_not_held_up_by_audit(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    """The events are set aside, and the account is gone all the same; health is red, during and after."""
    from audit.models import SetAsideEvent

    issued = holder.issue_lease(role)
    token = holder.routine_token()
    with audit_closed():
        assert "audit events cannot be written" in Client().get("/readyz").content.decode()
        answer = holder.call("POST", f"/v1/leases/{issued['lease']['lease_id']}/revoke", token)
    assert answer.json()["state"] == "revoked"
    assert sorted(SetAsideEvent.objects.values_list("kind", flat=True)) == ["lease.ended", "lease.revoked"]
    health = Client().get("/readyz")
    assert health.status_code == 503 and "audit events were set aside" in health.content.decode()


def test_the_sweeper_is_not_held_up_by_audit(holder: Holder, role: Role) -> None:
    """Pain 12, for many at once: what cannot be written together is set aside one by one."""
    from audit.models import SetAsideEvent

    for _ in range(3):
        holder.issue_lease(role)
    Lease.objects.update(expires_at=timezone.now())
    with audit_closed():
        sweep_until_quiet()
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
    kinds = list(SetAsideEvent.objects.order_by("kind").values_list("kind", flat=True))
    assert kinds == ["lease.ended"] * 3 + ["lease.revoked"] * 3


def test_no_event_no_lease(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    """Issuing fails closed."""

    token = holder.approved_token(role)
    with audit_closed(), pytest.raises(ProgrammingError, match="permission denied"):
        holder.request_lease(token)
    assert not Lease.objects.exists()
    assert Grant.objects.get().uses_left == 1


def test_an_administrator_ends_many_with_one_record(holder: Holder, role: Role, routine_role: Role) -> None:
    from django.db.models import Q

    for _ in range(3):
        holder.issue_lease(role)
    assert lifecycle.end_all(Q(role=role), "user:admin", timezone.now(), role=role.name) == 3
    sweep_until_quiet()
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
    assert Event.objects.filter(kind="leases.revoked").count() == 1
