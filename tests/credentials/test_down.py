"""A system that is out of reach: nothing is lost, nobody waits for it, and all is done when it is back."""

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
from credentials import breaker, lending, lifecycle, links, metrics, preflight, taking_back
from credentials.engines import Account, EngineError, Refused, Trace, Unreachable
from credentials.engines.postgres import Postgres, PostgresLink
from credentials.models import Backend, Lease, Role
from tests.credentials.cable import Cable, laid
from tests.credentials.lending import ABOUT, Buyer, allow_leases, buy, make_backend, make_grant, make_role, sweep
from tests.credentials.systems import PostgresServer, System
from tests.races.racing import at_once

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
    open_breaker(far.backend)
    Backend.objects.update(scanned_at=None)
    sweep()
    far.backend.refresh_from_db()
    assert not breaker.is_open(far.backend)


def open_breaker(backend: Backend) -> None:
    """A moment ago: the next sweep asks again."""
    breaker.note_unreachable(backend.pk, Unreachable("gone"), timezone.now() - breaker.AGAIN)
    backend.refresh_from_db()


def test_the_breaker_lets_one_ask_at_a_time(orders: Backend) -> None:
    open_breaker(orders)
    now = timezone.now()
    with breaker.asking(orders, now) as first, breaker.asking(orders, now) as second:
        assert first and not second
    with breaker.asking(orders, now) as at_once:
        assert not at_once, "it was asked just now"
    with breaker.asking(orders, now + breaker.PROBE) as later:
        assert later
    breaker.note_reached(orders)
    orders.refresh_from_db()
    with breaker.asking(orders, now) as first, breaker.asking(orders, now) as second:
        assert first and second


def test_one_that_answered_meanwhile_is_not_kept_waiting(orders: Backend) -> None:
    """A sweeper that read it as open comes second: what is due there is due with the next sweep."""
    open_breaker(orders)
    breaker.note_reached(Backend.objects.get(pk=orders.pk))
    with breaker.asking(orders, timezone.now()) as stale:
        assert not stale
    orders.refresh_from_db()
    assert (orders.failing_since, orders.tried_again_at) == (None, None)
    assert Backend.objects.filter(breaker.is_askable(timezone.now()), pk=orders.pk).exists()


@pytest.mark.parametrize("raised", [EngineError("blocked"), KeyError("ours")])
def test_whatever_went_wrong_the_next_sweep_asks_again(
    buyer: Buyer, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    lent = buy(make_grant(buyer, role), role)
    links.close_all()
    open_breaker(orders)
    lifecycle.end(lent.lease, lifecycle.Why.AGENT, "agent:x", timezone.now())

    def fail(*_: Any) -> None:
        raise raised

    with monkeypatch.context() as broken, suppress(KeyError):
        broken.setattr(Postgres, "connect", fail)
        taking_back.serve(orders.pk, until=time.monotonic() + 5)
    Lease.objects.update(due_at=timezone.now(), claimed_until=None)
    time.sleep(SWEEP)
    sweep()
    assert Lease.objects.get().state == "revoked"


def test_a_secret_that_is_refused_is_tried_less_and_less(orders: Backend) -> None:
    """Else our administrator would be locked out, where systems do that."""
    pauses = []
    for _ in range(9):
        now = timezone.now()
        breaker.note_unreachable(orders.pk, Refused("authentication failed"), now)
        orders.refresh_from_db()
        assert orders.tried_again_at
        pauses.append((orders.tried_again_at - now).total_seconds())
    assert pauses[0] <= 1 < pauses[2] < pauses[4] and 45 <= pauses[8] <= 60
    assert preflight.check_backend(orders, ABOUT, timezone.now()).passed
    assert not breaker.is_open(Backend.objects.get()), "whoever mends it does not wait for the next try"


def test_while_it_is_asked_whether_it_answers_nobody_looks_for_orphans(orders: Backend) -> None:
    """A preflight may be under way, whose probe is none."""
    with links.link_to(orders) as link:
        link.create(
            Account(f"{orders.prefix}probe1", {}, timezone.now() + timedelta(minutes=5), Trace("", "", "", "")), "x"
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


def test_what_was_drained_and_has_nothing_left_may_be_gone(buyer: Buyer, role: Role, orders: Backend) -> None:
    lent = buy(make_grant(buyer, role), role)
    open_breaker(orders)
    Backend.objects.update(status=Backend.Status.DRAINING, scanned_at=None)
    assert taking_back.due_backends(timezone.now()) == [orders.pk], "one account is left"
    assert "does not answer" in str(metrics.find_worries(timezone.now()))
    lifecycle.end(lent.lease, lifecycle.Why.AGENT, "agent:x", timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoked"
    open_breaker(orders)
    assert taking_back.due_backends(timezone.now()) == []
    assert metrics.find_worries(timezone.now()) == []
    Backend.objects.update(scanned_at=None, orphans=["cs_left"])
    assert taking_back.due_backends(timezone.now()) == [orders.pk], "once a minute, for what nobody accounts for"
    assert "cs_left" not in str(metrics.find_worries(timezone.now())) and metrics.find_worries(timezone.now())


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_while_it_is_down_nothing_is_spent_and_nobody_waits(
    buyer: Buyer, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    connects: list[Any] = []
    monkeypatch.setattr(Postgres, "connect", lambda _, target: connects.append(target))
    answers: list[Any] = [
        buy(grant, far.role),
        lending.lend(repeated, timezone.now()),
        lending.renew(Lease.objects.select_related("backend", "role").get(pk=kept.pk), 1200, timezone.now()),
        lending.unwrap(wrapped.handle, timezone.now()),
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
    assert isinstance(buy(grant, far.role), lending.Lent)
    assert isinstance(lending.lend(repeated, timezone.now()), lending.Lent)
    assert isinstance(lending.unwrap(wrapped.handle, timezone.now()), lending.Lent), "the handle was still good"
    assert Lease.objects.filter(pk=kept.pk, state="active").exists()


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_who_unwraps_when_it_has_just_gone_raises_no_alarm(buyer: Buyer, far: Far) -> None:
    """The handle is used up, and nobody has got anything by it: not a second holder's doing."""
    grant = make_grant(buyer, far.role)
    wanted = lifecycle.Wanted(far.role, grant.id, "later", None, None, 60, "a key")
    wrapped = lifecycle.buy(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.Bought) and wrapped.handle
    far.cable.cut()
    answer: Any = lending.unwrap(wrapped.handle, timezone.now())
    assert (answer.status, answer.retry_after) == (502, None) and "buy it again" in answer.description
    assert lending.unwrap(wrapped.handle, timezone.now()) is None
    assert not Event.objects.filter(kind="lease.unwrapped_twice").exists()
    far.cable.mend()
    time.sleep(SWEEP)
    sweep()
    again = lifecycle.buy(wanted, timezone.now())
    assert isinstance(again, lifecycle.Bought) and again.handle, "nothing was spent"


@pytest.mark.parametrize("far", ["postgres"], indirect=True)
def test_a_dead_backend_uses_up_nothing_elsewhere(buyer: Buyer, far: Far, role: Role) -> None:
    Agent.objects.update(most_leases=1)
    lent = buy(make_grant(buyer, far.role), far.role)
    assert buy(make_grant(buyer, role), role).code == "quota_exceeded"
    far.cable.cut()
    lifecycle.end(lent.lease, lifecycle.Why.AGENT, "agent:x", timezone.now())
    sweep()
    assert Lease.objects.get().state == "revoking"
    assert buy(make_grant(buyer, role), role).password, "of another backend"


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


def test_who_comes_with_many_others_waits_a_moment(buyer: Buyer, role: Role, postgres_server: PostgresServer) -> None:
    """As many as a web process has threads, at two systems that are well."""
    other = make_role(make_backend(postgres_server.system("lender"), "other"), "other", role.settings)
    both = [Role.objects.select_related("backend", "operation_type__resource").get(pk=one.pk) for one in (role, other)]
    bought = [(make_grant(buyer, one), one) for one in both for _ in range(4)]
    answers = at_once(*[lambda one=one: buy(*one) for one in bought])
    assert [type(one) for one in answers] == [lending.Lent] * 8


def test_who_unwraps_where_it_is_slow_may_come_again(
    buyer: Buyer, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "SLOT_WAIT", 0.05)
    wanted = lifecycle.Wanted(role, make_grant(buyer, role).id, "later", None, None, 60, None)
    wrapped = lifecycle.buy(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.Bought) and wrapped.handle
    with ExitStack() as busy:
        for _ in range(links.SLOTS):
            assert busy.enter_context(links.slot(orders.pk, wait=0))
        slow: Any = lending.unwrap(wrapped.handle, timezone.now())
        assert (slow.code, slow.retry_after) == ("temporarily_unavailable", 2)
    assert isinstance(lending.unwrap(wrapped.handle, timezone.now()), lending.Lent)


def test_a_second_unwrapping_waits_for_nobody(buyer: Buyer, role: Role, orders: Backend) -> None:
    """Whoever opened it first has a password that works."""
    wanted = lifecycle.Wanted(role, make_grant(buyer, role).id, "later", None, None, 60, None)
    wrapped = lifecycle.buy(wanted, timezone.now())
    assert isinstance(wrapped, lifecycle.Bought) and wrapped.handle
    assert isinstance(lending.unwrap(wrapped.handle, timezone.now()), lending.Lent)
    with ExitStack() as busy:
        for _ in range(links.SLOTS):
            assert busy.enter_context(links.slot(orders.pk, wait=0))
        assert isinstance(lending.unwrap(wrapped.handle, timezone.now()), lifecycle.AlreadyUnwrapped)
    assert (Lease.objects.get().state, Lease.objects.get().ended_why) == ("revoking", "unwrapped twice")
    assert Event.objects.filter(kind="lease.unwrapped_twice").count() == 1


@pytest.mark.parametrize("trouble", [EngineError("not this one"), Unreachable("hangs")])
def test_one_account_that_is_never_answered_for_holds_up_nobody_else(
    buyer: Buyer, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch, trouble: EngineError
) -> None:
    bad, good = [buy(make_grant(buyer, role), role).lease for _ in range(2)]
    revoke, verify = PostgresLink.revoke, PostgresLink.verify

    def fail_to_revoke(link: PostgresLink, account: Account) -> None:
        if account.name == bad.account_name:
            raise trouble
        revoke(link, account)

    def fail_to_verify(link: PostgresLink, name: str) -> Any:
        if name == bad.account_name:
            raise Unreachable("hangs")
        return verify(link, name)

    monkeypatch.setattr(PostgresLink, "revoke", fail_to_revoke)
    monkeypatch.setattr(PostgresLink, "verify", fail_to_verify)
    for one in (bad, good):
        lifecycle.end(one, lifecycle.Why.AGENT, "agent:x", timezone.now())
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
    buyer: Buyer, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes at this account: whatever else is due there is done between two crashes."""
    bad, good = [buy(make_grant(buyer, role), role).lease for _ in range(2)]
    revoke, verify, connect = PostgresLink.revoke, PostgresLink.verify, Postgres.connect
    down: list[bool] = []

    def crash(link: PostgresLink, account: Account) -> None:
        if account.name == bad.account_name:
            down.append(True)
        if down:
            raise Unreachable("crashed")
        revoke(link, account)

    def crashed(*_: Any) -> Any:
        if down:
            raise Unreachable("crashed")
        return connect(*_)

    monkeypatch.setattr(PostgresLink, "revoke", crash)
    monkeypatch.setattr(PostgresLink, "verify", lambda link, name: crashed() if down else verify(link, name))
    monkeypatch.setattr(Postgres, "connect", crashed)
    for one in (bad, good):
        lifecycle.end(one, lifecycle.Why.AGENT, "agent:x", timezone.now())
    for _ in range(2):
        sweep()
        down.clear()
        Backend.objects.update(tried_again_at=timezone.now())
    assert Lease.objects.get(pk=good.pk).state == "revoked"
    assert Lease.objects.get(pk=bad.pk).state == "revoking"


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
