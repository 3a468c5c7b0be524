"""An unreachable backend: no work is lost, no one waits for it, and all work is done when it is back."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.models import Event
from clients.models import Agent
from credentials import metrics
from credentials.backends import breaker, links, preflight
from credentials.engines import BackendUnreachable, DatabaseAccount, EngineError, LoginRefused, SessionTrace
from credentials.engines.postgres import Postgres, PostgresLink
from credentials.leases import issuance, lifecycle, revocation
from credentials.models import Backend, Lease, Role
from tests.support.cable import Cable, laid
from tests.support.duel import at_once
from tests.support.leases import ABOUT, Holder, allow_leases, make_backend, make_grant, make_role, request_lease, sweep
from tests.support.systems import PostgresServer, System

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
def far(request: pytest.FixtureRequest, postgres_server: PostgresServer, holder: Holder) -> Iterator[Far]:
    system: System = (
        postgres_server.system("lease_admin")
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
        allow_leases(holder.caller, holder.user)
        yield Far(system, cable, backend, Role.objects.select_related("backend", "operation_type").get(pk=role.pk))
        links.close_all()


def test_down_longer_than_the_lease_gone_with_the_first_sweep_after_its_return(holder: Holder, far: Far) -> None:
    issued = [request_lease(make_grant(holder, far.role), far.role) for _ in range(3)]
    with far.system.engine.log_in(far.system.target, issued[0].lease.account_name, issued[0].password) as session:
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
    """Also if no work is due there: when the backend answers again, it issues again."""
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
def test_one_that_refuses_has_answered(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would never issue again."""

    def refuse(*_: Any) -> list[str]:
        raise EngineError("not this")

    monkeypatch.setattr(PostgresLink, "list_owned", refuse)
    open_breaker(far.backend)
    Backend.objects.update(scanned_at=None)
    sweep()
    far.backend.refresh_from_db()
    assert not breaker.is_open(far.backend)


def open_breaker(backend: Backend) -> None:
    """A moment ago: the next sweep asks again."""
    breaker.note_unreachable(backend.pk, BackendUnreachable("gone"), timezone.now() - breaker.RETRY_INTERVAL)
    backend.refresh_from_db()


def test_the_breaker_lets_one_ask_at_a_time(orders: Backend) -> None:
    open_breaker(orders)
    now = timezone.now()
    with breaker.probing(orders, now) as first, breaker.probing(orders, now) as second:
        assert first and not second
    with breaker.probing(orders, now) as at_once:
        assert not at_once, "it was asked just now"
    with breaker.probing(orders, now + breaker.PROBE_CLAIM) as later:
        assert later
    breaker.note_reached(orders)
    orders.refresh_from_db()
    with breaker.probing(orders, now) as first, breaker.probing(orders, now) as second:
        assert first and second


def test_one_that_answered_meanwhile_is_not_kept_waiting(orders: Backend) -> None:
    """A sweeper that read it as open comes second: what is due there is due with the next sweep."""
    open_breaker(orders)
    breaker.note_reached(Backend.objects.get(pk=orders.pk))
    with breaker.probing(orders, timezone.now()) as stale:
        assert not stale
    orders.refresh_from_db()
    assert (orders.failing_since, orders.retry_at) == (None, None)
    assert Backend.objects.filter(breaker.may_be_contacted(timezone.now()), pk=orders.pk).exists()


@pytest.mark.parametrize("raised", [EngineError("blocked"), KeyError("ours")])
def test_whatever_went_wrong_the_next_sweep_asks_again(
    holder: Holder, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    issued = request_lease(make_grant(holder, role), role)
    links.close_all()
    open_breaker(orders)
    lifecycle.end(issued.lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())

    def fail(*_: Any) -> None:
        raise raised

    with monkeypatch.context() as broken, suppress(KeyError):
        broken.setattr(Postgres, "connect", fail)
        revocation.serve(orders.pk, until=time.monotonic() + 5)
    Lease.objects.update(due_at=timezone.now(), claimed_until=None)
    time.sleep(SWEEP)
    sweep()
    assert Lease.objects.get().state == "revoked"


def test_a_secret_that_is_refused_is_tried_less_and_less(orders: Backend) -> None:
    """Else our administrator would be locked out, where systems do that."""
    pauses = []
    for _ in range(9):
        now = timezone.now()
        breaker.note_unreachable(orders.pk, LoginRefused("authentication failed"), now)
        orders.refresh_from_db()
        assert orders.retry_at
        pauses.append((orders.retry_at - now).total_seconds())
    assert pauses[0] <= 1 < pauses[2] < pauses[4] and 45 <= pauses[8] <= 60
    assert preflight.check_backend(orders, ABOUT, timezone.now()).passed
    assert not breaker.is_open(Backend.objects.get()), "whoever mends it does not wait for the next try"


def test_while_it_is_asked_whether_it_answers_nobody_looks_for_orphans(orders: Backend) -> None:
    """A preflight may be under way, whose probe is none."""
    with links.link_to(orders) as link:
        link.create(
            DatabaseAccount(
                f"{orders.prefix}probe1", {}, timezone.now() + timedelta(minutes=5), SessionTrace("", "", "", "")
            ),
            "x",
        )
    open_breaker(orders)
    sweep()
    orders.refresh_from_db()
    assert not breaker.is_open(orders)
    with links.link_to(orders) as link:
        assert link.verify(f"{orders.prefix}probe1").exists
    assert not Event.objects.filter(kind__startswith="orphan").exists()
    Backend.objects.update(scanned_at=None)
    sweep()


def test_what_was_drained_and_has_nothing_left_may_be_gone(holder: Holder, role: Role, orders: Backend) -> None:
    issued = request_lease(make_grant(holder, role), role)
    open_breaker(orders)
    Backend.objects.update(status=Backend.Status.DRAINING, scanned_at=None)
    assert revocation.due_backends(timezone.now()) == [orders.pk], "one account is left"
    assert "has not answered" in str(metrics.find_worries())
    lifecycle.end(issued.lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoked"
    open_breaker(orders)
    assert revocation.due_backends(timezone.now()) == []
    assert metrics.find_worries() == []
    Backend.objects.update(scanned_at=None, orphans=["cs_left"])
    assert revocation.due_backends(timezone.now()) == [orders.pk], "once a minute, for what nobody accounts for"
    assert "cs_left" not in str(metrics.find_worries()) and metrics.find_worries()


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_while_it_is_down_nothing_is_spent_and_nobody_waits(
    holder: Holder, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = make_grant(holder, far.role)
    stored = request_lease(make_grant(holder, far.role), far.role).lease
    wrapped = lifecycle.request_lease(
        lifecycle.LeaseRequest(far.role, make_grant(holder, far.role).id, "later", None, None, 60, "a key"),
        timezone.now(),
    )
    assert isinstance(wrapped, lifecycle.RequestedLease) and wrapped.handle
    repeated = lifecycle.LeaseRequest(far.role, make_grant(holder, far.role).id, "again", None, None, None, "a key")
    assert isinstance(issuance.issue_lease(repeated, timezone.now()), issuance.IssuedLease)
    far.cable.cut()
    first = request_lease(grant, far.role)
    assert (first.status, first.retry_after) == (503, 5)
    leases = Lease.objects.count()
    connects: list[Any] = []
    monkeypatch.setattr(Postgres, "connect", lambda _, target: connects.append(target))
    answers: list[Any] = [
        request_lease(grant, far.role),
        issuance.issue_lease(repeated, timezone.now()),
        issuance.renew(Lease.objects.select_related("backend", "role").get(pk=stored.pk), 1200, timezone.now()),
        issuance.unwrap(wrapped.handle, timezone.now()),
    ]
    assert [one.code for one in answers] == ["temporarily_unavailable"] * 4
    assert connects == [], "it was not asked"
    monkeypatch.undo()
    assert Lease.objects.count() == leases, "nothing more was written down"
    grant.refresh_from_db()
    assert grant.uses_left == 1
    far.cable.mend()
    time.sleep(SWEEP)
    sweep()
    assert isinstance(request_lease(grant, far.role), issuance.IssuedLease)
    assert isinstance(issuance.issue_lease(repeated, timezone.now()), issuance.IssuedLease)
    assert isinstance(issuance.unwrap(wrapped.handle, timezone.now()), issuance.IssuedLease), (
        "the handle was still good"
    )
    assert Lease.objects.filter(pk=stored.pk, state="active").exists()


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_who_unwraps_when_it_has_just_gone_raises_no_alarm(holder: Holder, far: Far) -> None:
    """The handle is used up, and nobody has got anything by it: not a second holder's doing."""
    grant = make_grant(holder, far.role)
    wanted = lifecycle.LeaseRequest(far.role, grant.id, "later", None, None, 60, "a key")
    wrapped = lifecycle.request_lease(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.RequestedLease) and wrapped.handle
    far.cable.cut()
    answer: Any = issuance.unwrap(wrapped.handle, timezone.now())
    assert (answer.status, answer.retry_after) == (502, None) and "request a new lease" in answer.description
    assert issuance.unwrap(wrapped.handle, timezone.now()) is None
    assert not Event.objects.filter(kind="lease.unwrapped_twice").exists()
    far.cable.mend()
    time.sleep(SWEEP)
    sweep()
    again = lifecycle.request_lease(wanted, timezone.now())
    assert isinstance(again, lifecycle.RequestedLease) and again.handle, "nothing was spent"


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_a_dead_backend_uses_up_nothing_elsewhere(holder: Holder, far: Far, role: Role) -> None:
    Agent.objects.update(max_leases=1)
    issued = request_lease(make_grant(holder, far.role), far.role)
    assert request_lease(make_grant(holder, role), role).code == "quota_exceeded"
    far.cable.cut()
    lifecycle.end(issued.lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoking"
    assert request_lease(make_grant(holder, role), role).password, "of another backend"


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_whoever_ends_a_lease_then_does_not_wait_for_its_system(holder: Holder, far: Far) -> None:
    issued = request_lease(make_grant(holder, far.role), far.role)
    Backend.objects.filter(pk=far.backend.pk).update(failing_since=timezone.now(), failures=1)
    lifecycle.end(issued.lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    revocation.revoke_now(issued.lease.pk)
    assert Lease.objects.get().attempts == 0, "the sweepers alone ask"
    Backend.objects.filter(pk=far.backend.pk).update(retry_at=timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoked"
    assert Event.objects.filter(kind="lease.revoked").count() == 1


def test_who_comes_with_many_others_waits_a_moment(holder: Holder, role: Role, postgres_server: PostgresServer) -> None:
    """As many as a web process has threads, at two systems that are well."""
    other = make_role(make_backend(postgres_server.system("lease_admin"), "other"), "other", role.settings)
    both = [Role.objects.select_related("backend", "operation_type__resource").get(pk=one.pk) for one in (role, other)]
    requested = [(make_grant(holder, one), one) for one in both for _ in range(4)]
    answers = at_once(*[lambda one=one: request_lease(*one) for one in requested])
    assert [type(one) for one in answers] == [issuance.IssuedLease] * 8


def test_who_unwraps_where_it_is_slow_may_come_again(
    holder: Holder, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuance, "SLOT_WAIT_S", 0.05)
    wanted = lifecycle.LeaseRequest(role, make_grant(holder, role).id, "later", None, None, 60, None)
    wrapped = lifecycle.request_lease(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.RequestedLease) and wrapped.handle
    with ExitStack() as busy:
        for _ in range(links.SLOTS_PER_BACKEND):
            assert busy.enter_context(links.slot(orders.pk, wait=0))
        slow: Any = issuance.unwrap(wrapped.handle, timezone.now())
        assert (slow.code, slow.retry_after) == ("temporarily_unavailable", 2)
    assert isinstance(issuance.unwrap(wrapped.handle, timezone.now()), issuance.IssuedLease)


def test_a_second_unwrapping_waits_for_nobody(holder: Holder, role: Role, orders: Backend) -> None:
    """Whoever opened it first has a password that works."""
    wanted = lifecycle.LeaseRequest(role, make_grant(holder, role).id, "later", None, None, 60, None)
    wrapped = lifecycle.request_lease(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.RequestedLease) and wrapped.handle
    assert isinstance(issuance.unwrap(wrapped.handle, timezone.now()), issuance.IssuedLease)
    with ExitStack() as busy:
        for _ in range(links.SLOTS_PER_BACKEND):
            assert busy.enter_context(links.slot(orders.pk, wait=0))
        assert isinstance(issuance.unwrap(wrapped.handle, timezone.now()), lifecycle.AlreadyUnwrapped)
    assert (Lease.objects.get().state, Lease.objects.get().end_reason) == ("revoking", "unwrapped twice")
    assert Event.objects.filter(kind="lease.unwrapped_twice").count() == 1


@pytest.mark.parametrize("trouble", [EngineError("not this one"), BackendUnreachable("hangs")])
def test_one_account_that_is_never_answered_for_holds_up_nobody_else(
    holder: Holder, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch, trouble: EngineError
) -> None:
    bad, good = [request_lease(make_grant(holder, role), role).lease for _ in range(2)]
    revoke, verify = PostgresLink.revoke, PostgresLink.verify

    def fail_to_revoke(link: PostgresLink, account: DatabaseAccount) -> None:
        if account.name == bad.account_name:
            raise trouble
        revoke(link, account)

    def fail_to_verify(link: PostgresLink, name: str) -> Any:
        if name == bad.account_name:
            raise BackendUnreachable("hangs")
        return verify(link, name)

    monkeypatch.setattr(PostgresLink, "revoke", fail_to_revoke)
    monkeypatch.setattr(PostgresLink, "verify", fail_to_verify)
    for one in (bad, good):
        lifecycle.end(one, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    sweep()
    good.refresh_from_db()
    bad.refresh_from_db()
    orders.refresh_from_db()
    assert (good.state, bad.state, bad.attempts) == ("revoked", "revoking", 1)
    assert bad.problem and not breaker.is_open(orders)
    monkeypatch.undo()
    Lease.objects.filter(pk=bad.pk).update(due_at=timezone.now())
    sweep()
    assert Lease.objects.get(pk=bad.pk).state == "revoked"


def test_one_that_the_system_does_not_stand_goes_last(
    holder: Holder, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes at this account: whatever else is due there is done between two crashes."""
    bad, good = [request_lease(make_grant(holder, role), role).lease for _ in range(2)]
    revoke, verify, connect = PostgresLink.revoke, PostgresLink.verify, Postgres.connect
    down: list[bool] = []

    def crash(link: PostgresLink, account: DatabaseAccount) -> None:
        if account.name == bad.account_name:
            down.append(True)
        if down:
            raise BackendUnreachable("crashed")
        revoke(link, account)

    def crashed(*_: Any) -> Any:
        if down:
            raise BackendUnreachable("crashed")
        return connect(*_)

    monkeypatch.setattr(PostgresLink, "revoke", crash)
    monkeypatch.setattr(PostgresLink, "verify", lambda link, name: crashed() if down else verify(link, name))
    monkeypatch.setattr(Postgres, "connect", crashed)
    for one in (bad, good):
        lifecycle.end(one, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    for _ in range(2):
        sweep()
        down.clear()
        Backend.objects.update(retry_at=timezone.now())
    assert Lease.objects.get(pk=good.pk).state == "revoked"
    assert Lease.objects.get(pk=bad.pk).state == "revoking"


def test_slow_systems_leave_threads_for_everybody_else(holder: Holder, role: Role, routine_role: Role) -> None:
    """Two that never come back hold fewer threads than a web process has."""
    from foundation.handles import new_id

    free, go_on, held = [], threading.Event(), threading.Barrier(2 * links.SLOTS_PER_BACKEND + 1)
    dead = [new_id(), new_id()]

    def call(backend_id: Any) -> None:
        with links.slot(backend_id, wait=0) as got:
            free.append(got)
            held.wait(10)
            go_on.wait(10)

    threads = [threading.Thread(target=call, args=(one,)) for one in dead * links.SLOTS_PER_BACKEND]
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
