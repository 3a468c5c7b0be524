"""A backend that is not there, hangs or is slow, and many that end at once. Kills: test_kills.py."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from psycopg import sql

from audit.models import Event
from clients.models import Agent
from credentials.backends import links
from credentials.leases import lifecycle, revocation
from credentials.models import Backend, Lease, Role
from foundation.handles import new_id
from oauth.models import Grant
from tests.patience import PATIENCE
from tests.support.leases import Holder, make_grant, request_lease, sweep, sweep_until_quiet, wait_for_sweep
from tests.support.systems import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)


def accounts(server: PostgresServer, backend: Backend) -> set[str]:
    with server.superuser() as connection:
        query = "SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, %s)"
        return {name for (name,) in connection.execute(query, [backend.prefix])}


@pytest.fixture
def crash_role(orders: Backend, role: Role, holder: Holder) -> Role:
    """The only one."""
    Role.objects.exclude(pk=role.pk).delete()
    Role.objects.update(max_per_agent=1000, max_per_user=1000, settings={"groups": ["orders_writer"]})
    return Role.objects.select_related("backend", "operation_type__resource").get()


def test_one_dead_backend_delays_nobody_else(
    holder: Holder,
    crash_role: Role,
    orders: Backend,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dead one hangs (it accepts connections and says nothing), which is the worst."""
    import socket
    import time

    from credentials.engines import postgres
    from tests.support.leases import make_backend, make_role

    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", int(2 * PATIENCE))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        system = postgres_server.system("lease_admin")
        good = make_role(make_backend(system, "good"), "good", {"groups": ["orders_reader"]})
        good_issued = request_lease(make_grant(holder, good), good)
        bad_issued = request_lease(make_grant(holder, crash_role), crash_role)
        links.close_all()
        Backend.objects.filter(pk=orders.pk).update(settings={**orders.settings, "port": silent.getsockname()[1]})
        Lease.objects.update(expires_at=timezone.now())
        began = time.monotonic()
        while Lease.objects.get(pk=good_issued.lease.pk).state != "revoked":
            revocation.sweep(timezone.now(), 100)
            assert time.monotonic() - began < PATIENCE
    assert Lease.objects.get(pk=bad_issued.lease.pk).state == "revoking"
    wait_for_sweep()
    Backend.objects.filter(pk=orders.pk).update(settings=orders.settings, retry_at=timezone.now())
    sweep_until_quiet()
    assert Lease.objects.get(pk=bad_issued.lease.pk).state == "revoked"


def test_many_that_expire_at_once_while_others_are_served(
    holder: Holder, crash_role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    """10,000 of them: `make bench-leases`. No batch holds more than a few in memory."""
    grant, now = make_grant(holder, crash_role), timezone.now()
    ids = [new_id() for _ in range(150)]
    names = [f"{orders.prefix}{one.hex[:20]}" for one in ids]
    with links.link_to(orders) as link:
        for name in names:
            link._do("CREATE ROLE {} LOGIN IN ROLE orders_reader", sql.Identifier(name))  # type: ignore[attr-defined]
    Lease.objects.bulk_create(
        Lease(
            id=one, role=crash_role, backend=orders, grant=grant, agent=grant.agent, user=grant.user, use_id=new_id(),
            operation_digest="d" * 43, account_name=name, settings=crash_role.settings, state="active", created_at=now,
            issued_at=now, lifetime=60, expires_at=now, max_expires_at=now, bound_by="requested", max_bound_by="grant",
        )
        for one, name in zip(ids, names, strict=True)
    )  # fmt: skip
    served = 0
    give_up = timezone.now() + timedelta(seconds=PATIENCE)
    while Lease.objects.exclude(state="revoked").exists():
        assert timezone.now() < give_up
        revocation.sweep(timezone.now(), 100)
        served += holder.call("GET", "/v1/leases", holder.routine_token()).status_code == 200
    wait_for_sweep()
    assert served > 0 and accounts(postgres_server, orders) == set()
    assert set(Lease.objects.values_list("attempts", flat=True)) == {1}, "each was revoked once"
    assert Event.objects.filter(kind="lease.revoked").count() == len(ids)


def test_a_lease_that_takes_too_long_does_not_hold_up_the_others(
    holder: Holder, crash_role: Role, orders: Backend, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody made so much there that dropping it takes longer than a call may: it waits its turn."""
    from credentials.engines import postgres

    slow = request_lease(make_grant(holder, crash_role), crash_role).lease
    quick = request_lease(make_grant(holder, crash_role), crash_role).lease
    clear = postgres.PostgresLink._clear

    def slowly(link: Any, account: Any, *more: Any) -> None:
        if account.name == slow.account_name:
            link._main.execute("SELECT pg_sleep(5)")
        clear(link, account, *more)

    monkeypatch.setattr(postgres.PostgresLink, "_clear", slowly)
    monkeypatch.setattr(postgres, "CALL_TIMEOUT_S", 0.5)
    links.close_all()
    lifecycle.end(slow, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    lifecycle.end(quick, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    sweep()
    slow.refresh_from_db()
    assert (slow.state, slow.attempts) == ("disabled", 1) and "0.5 s" in slow.problem, "read over another link"
    assert slow.due_at and slow.due_at > timezone.now() - timedelta(seconds=2)
    assert Lease.objects.get(pk=quick.pk).state == "revoked", "with the same sweep"
    orders.refresh_from_db()
    assert orders.failing_since is None, "the system answers: others go on buying there"
    assert request_lease(make_grant(holder, crash_role), crash_role).password
    monkeypatch.undo()
    Lease.objects.filter(pk=slow.pk).update(due_at=timezone.now())
    sweep_until_quiet()
    assert Lease.objects.get(pk=slow.pk).state == "revoked"


def test_a_slow_backend_holds_only_some_of_our_threads(
    holder: Holder, crash_role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request beyond the limit is told to come again; no lease is stored for it and no use is spent."""
    import threading

    from credentials.engines.postgres import PostgresLink
    from credentials.leases import issuance

    monkeypatch.setattr(issuance, "SLOT_WAIT_S", 0.05)
    go_on, create = threading.Event(), PostgresLink.create

    def slow(link: Any, account: Any, password: str) -> None:
        go_on.wait(PATIENCE)
        create(link, account, password)

    monkeypatch.setattr(PostgresLink, "create", slow)
    answers: list[Any] = []
    grants = [make_grant(holder, crash_role) for _ in range(links.SLOTS_PER_BACKEND + 1)]

    def act(grant: Grant) -> None:
        try:
            answers.append(request_lease(grant, crash_role))
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=(grant,)) for grant in grants]
    for thread in threads:
        thread.start()
    give_up = timezone.now() + timedelta(seconds=PATIENCE)
    while not answers and timezone.now() < give_up:
        threads[0].join(0.05)
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    refused = [one for one in answers if not hasattr(one, "password")]
    assert [one.code for one in refused] == ["temporarily_unavailable"]
    assert Lease.objects.count() == links.SLOTS_PER_BACKEND


def test_a_revocation_that_races_the_making_wins(
    holder: Holder, crash_role: Role, postgres_server: PostgresServer, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is stopped between the request and the account: no one gets a password."""
    from credentials.engines.postgres import PostgresLink

    create = PostgresLink.create

    def slow(link: Any, account: Any, password: str) -> None:
        create(link, account, password)
        Agent.objects.update(status="suspended")

    monkeypatch.setattr(PostgresLink, "create", slow)
    answer = request_lease(make_grant(holder, crash_role), crash_role)
    assert answer.code == "lease_ended"
    assert Lease.objects.get().state == "revoked"
    assert accounts(postgres_server, orders) == set()
