"""A system that is out of reach: nothing is lost, nobody waits for it, and all is done when it is back."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.utils import timezone

from audit.models import Event
from credentials import breaker, lending, lifecycle, links, taking_back
from credentials.engines import EngineError
from credentials.engines.postgres import PostgresLink
from credentials.models import Backend, Lease, Role
from tests.credentials.cable import Cable, laid
from tests.credentials.lending import Buyer, allow_leases, buy, make_backend, make_grant, make_role
from tests.credentials.systems import PostgresServer, System

pytestmark = pytest.mark.django_db(transaction=True)
SWEEP = 1.0  # seconds from one sweep to the next, as `manage.py sweeper` makes them


@dataclass
class Far:
    """A system that is reached by a cable; `system` is the same without it."""

    system: System
    cable: Cable
    backend: Backend
    role: Role


@pytest.fixture(params=["postgres", "mysql", "redis"])
def far(request: pytest.FixtureRequest, postgres_server: PostgresServer, buyer: Buyer) -> Iterator[Far]:
    system: System = (
        postgres_server.system("lender")
        if request.param == "postgres"
        else request.getfixturevalue(f"{request.param}_system")
    )
    there = system.target.settings
    # Of two Redis nodes the second alone is far: one node that is missing is enough.
    with laid(there["nodes"][1]["port"] if "nodes" in there else there["port"]) as cable:
        far_away: dict[str, Any] = {"port": cable.port}
        settings = there | far_away
        if "nodes" in there:
            settings = there | {"nodes": [there["nodes"][0], there["nodes"][1] | far_away]}
        backend = make_backend(replace(system, target=replace(system.target, settings=settings)), "far")
        role = make_role(backend, "far-away", system.role)
        allow_leases(buyer.caller, buyer.person)
        yield Far(system, cable, backend, Role.objects.select_related("backend", "operation_type").get(pk=role.pk))
        links.close_all()


def sweep() -> None:
    """One, and what it started."""
    taking_back.sweep(timezone.now(), 100)
    for thread in [thread for threads in taking_back._threads.values() for thread in threads]:
        thread.join(30)


def test_pain_2_down_longer_than_the_lease_gone_with_the_first_sweep_after_its_return(buyer: Buyer, far: Far) -> None:
    lent = [buy(make_grant(buyer, far.role), far.role) for _ in range(3)]
    with far.system.engine.log_in(far.system.target, lent[0].lease.account_name, lent[0].password) as session:
        far.cable.cut()
        Lease.objects.update(expires_at=timezone.now())
        for number in range(1, 4):
            sweep()
            far.backend.refresh_from_db()
            assert far.backend.failures >= number and far.backend.failing_since and far.backend.problem
            assert set(Lease.objects.values_list("state", "attempts")) == {("revoking", 0)}, "nothing is known, or lost"
            time.sleep(SWEEP)
        far.cable.mend()
        sweep()
        assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
        assert not session.is_alive()
    with far.system.link() as link:
        assert link.list_owned(far.backend.prefix) == []
    far.backend.refresh_from_db()
    assert (far.backend.failures, far.backend.failing_since, far.backend.problem) == (0, None, "")


def test_a_backend_is_asked_again_with_every_sweep(far: Far) -> None:
    """Also where nothing is due there: when it answers again, it lends again."""
    far.cable.cut()
    Backend.objects.filter(pk=far.backend.pk).update(scanned_at=None)
    for number in range(1, 4):
        sweep()
        far.backend.refresh_from_db()
        assert far.backend.failures == number
        time.sleep(SWEEP)
    far.cable.mend()
    sweep()
    far.backend.refresh_from_db()
    assert far.backend.failing_since is None


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_one_that_says_no_has_answered(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would never lend again."""

    def refuse(*_: Any) -> list[str]:
        raise EngineError("not this")

    monkeypatch.setattr(PostgresLink, "list_owned", refuse)
    breaker.note_unreachable(far.backend.pk, "gone", timezone.now() - breaker.AGAIN)
    sweep()
    far.backend.refresh_from_db()
    assert not breaker.is_open(far.backend)


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_while_it_is_down_nothing_is_spent_and_nobody_waits(buyer: Buyer, far: Far) -> None:
    grant = make_grant(buyer, far.role)
    kept = buy(make_grant(buyer, far.role), far.role).lease
    wrapped = lifecycle.buy(
        lifecycle.Wanted(far.role, make_grant(buyer, far.role).id, "later", None, None, 60, "a key"), timezone.now()
    )
    assert isinstance(wrapped, lifecycle.Bought) and wrapped.handle
    repeated = lifecycle.Wanted(far.role, make_grant(buyer, far.role).id, "again", None, None, None, "a key")
    assert isinstance(lending.lend(repeated, timezone.now()), lending.Lent)
    far.cable.cut()
    first = buy(grant, far.role)
    assert (first.status, first.retry_after) == (503, 5)
    leases = Lease.objects.count()
    began = time.monotonic()
    answers: list[Any] = [
        buy(grant, far.role),
        lending.lend(repeated, timezone.now()),
        lending.renew(Lease.objects.select_related("backend", "role").get(pk=kept.pk), 1200, timezone.now()),
        lending.unwrap(wrapped.handle, timezone.now()),
    ]
    assert [one.code for one in answers] == ["temporarily_unavailable"] * 4
    assert time.monotonic() - began < 1, "it was not asked"
    assert Lease.objects.count() == leases, "nothing more was written down"
    grant.refresh_from_db()
    assert grant.uses_left == 1
    far.cable.mend()
    time.sleep(SWEEP)
    sweep()
    assert isinstance(buy(grant, far.role), lending.Lent)
    assert isinstance(lending.lend(repeated, timezone.now()), lending.Lent)
    assert isinstance(lending.unwrap(wrapped.handle, timezone.now()), lending.Lent), "the handle was still good"
    assert Lease.objects.filter(pk=kept.pk, state="active").exists()


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_whoever_ends_a_lease_then_does_not_wait_for_its_system(buyer: Buyer, far: Far) -> None:
    lent = buy(make_grant(buyer, far.role), far.role)
    Backend.objects.filter(pk=far.backend.pk).update(failing_since=timezone.now(), failures=1)
    lifecycle.end(lent.lease, lifecycle.Why.AGENT, "agent:x", timezone.now())
    taking_back.take_back_now(lent.lease.pk)
    assert Lease.objects.get().attempts == 0, "the sweepers alone ask"
    Backend.objects.filter(pk=far.backend.pk).update(tried_again_at=timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoked"
    assert Event.objects.filter(kind="lease.revoked").count() == 1


def test_slow_systems_leave_threads_for_everybody_else(buyer: Buyer, role: Role, routine_role: Role) -> None:
    """Two that never come back hold fewer threads than a web process has."""
    from foundation.handles import new_id

    free, go_on, held = [], threading.Event(), threading.Barrier(2 * links.SLOTS + 1)
    dead = [new_id(), new_id()]

    def call(backend_id: Any) -> None:
        with links.slot(backend_id, wait=0) as got:
            free.append(got)
            held.wait(10)
            go_on.wait(10)

    threads = [threading.Thread(target=call, args=(one,)) for one in dead * links.SLOTS]
    for thread in threads:
        thread.start()
    held.wait(10)
    with links.slot(new_id(), wait=0) as third:
        assert not third
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert free.count(True) == links.ALL_SLOTS == 6
    with links.slot(dead[0], wait=0) as again:
        assert again, "and each is free again"
