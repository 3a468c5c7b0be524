"""Leases at the same moment: one use buys one, one handle opens one, and an ending always wins."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.models import Event
from clients.models import Agent
from credentials import lending, lifecycle, taking_back
from credentials.errors import LeaseEnded
from credentials.lending import Lent
from credentials.models import Backend, Lease, Role
from credentials.states import LIVE
from oauth.models import Grant, Use
from tests.credentials.conftest import buyer, orders, postgres_server, role, routine_role
from tests.credentials.lending import Buyer, allow_leases, make_backend, make_grant, make_role, sweep_until_quiet
from tests.credentials.systems import PostgresServer
from tests.credentials.test_crashes import accounts
from tests.patience import PATIENCE
from tests.races.racing import ROUNDS, Duel, at_once
from tests.world import Caller

__all__ = ["buyer", "orders", "postgres_server", "role", "routine_role"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


@pytest.fixture(autouse=True)
def plenty(role: Role, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    from credentials import policy

    settings.LEASES_MAX_PER_AGENT = settings.LEASES_MAX_PER_PERSON = 10_000
    monkeypatch.setattr(policy, "MOST_A_MINUTE", 100_000)
    Role.objects.update(most_per_agent=10_000, most_per_person=10_000, most_leases=10_000)


def wanted(grant: Grant, role: Role, **more: Any) -> lifecycle.Wanted:
    fields: dict[str, Any] = {"lifetime": None, "approved_lifetime": None, "wrap_for": None, "idempotency_key": None}
    return lifecycle.Wanted(role, grant.id, "to race", **(fields | more))


def fresh(role: Role) -> Role:
    return Role.objects.select_related("backend", "operation_type__resource").get(pk=role.pk)


def test_one_use_buys_one_lease(buyer: Buyer, role: Role) -> None:
    for _ in range(ROUNDS):
        grant = make_grant(buyer, role)
        answers = at_once(*[lambda: lifecycle.buy(wanted(grant, fresh(role)), timezone.now())] * 2)  # noqa: B023
        assert sorted(type(one).__name__ for one in answers) == ["Bought", "UsedUp"]
        assert Lease.objects.filter(grant=grant).count() == Use.objects.filter(grant=grant).count() == 1


def test_one_key_is_one_lease(buyer: Buyer, role: Role) -> None:
    for _ in range(ROUNDS):
        grant = make_grant(buyer, role)
        act = [lambda: lifecycle.buy(wanted(grant, fresh(role), idempotency_key="k"), timezone.now())] * 2  # noqa: B023
        assert sorted(type(one).__name__ for one in at_once(*act)) == ["Bought", "LeaseBusy"]
        assert Lease.objects.filter(grant=grant).count() == 1


def test_quotas_hold_for_two_at_once(buyer: Buyer, role: Role) -> None:
    Role.objects.update(most_per_agent=1)
    for _ in range(ROUNDS):
        grants = [make_grant(buyer, role) for _ in range(2)]
        acts = [lambda one=one: lifecycle.buy(wanted(one, fresh(role)), timezone.now()) for one in grants]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["Bought", "QuotaExceeded"]
        Lease.objects.all().delete()


def test_an_agents_quota_holds_for_two_backends_at_once(
    buyer: Buyer, role: Role, postgres_server: PostgresServer
) -> None:
    """They wait for each other, although neither backend's lock is the other's."""
    other = make_role(make_backend(postgres_server.system("lender"), "other"), "other", role.settings)
    Agent.objects.update(most_leases=1)
    for _ in range(ROUNDS):
        both = [(make_grant(buyer, one), fresh(one)) for one in (role, other)]
        acts = [lambda one=one: lifecycle.buy(wanted(*one), timezone.now()) for one in both]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["Bought", "QuotaExceeded"]
        Lease.objects.all().delete()


def test_a_persons_quota_holds_for_two_agents_at_once(
    buyer: Buyer, role: Role, other_agent: Caller, postgres_server: PostgresServer, settings: Any
) -> None:
    """They share neither the agent's lock nor a backend's: the person's alone."""
    other = make_role(make_backend(postgres_server.system("lender"), "other"), "other", role.settings)
    second = allow_leases(other_agent, buyer.person)
    settings.LEASES_MAX_PER_PERSON = 1
    for _ in range(ROUNDS):
        both = [(make_grant(whose, one), fresh(one)) for whose, one in ((buyer, role), (second, other))]
        acts = [lambda one=one: lifecycle.buy(wanted(*one), timezone.now()) for one in both]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["Bought", "QuotaExceeded"]
        Lease.objects.all().delete()


def test_a_revoked_grant_against_issuing_leaves_no_account(
    buyer: Buyer, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    duel = Duel()
    for _ in range(ROUNDS):
        grant = make_grant(buyer, role)

        def issue(grant: Grant = grant) -> Any:
            return lending.lend(wanted(grant, fresh(role)), timezone.now())

        def revoke(grant: Grant = grant) -> None:
            Grant.objects.filter(pk=grant.pk).update(revoked_at=timezone.now())

        answer, _ = duel.fight(issue, revoke)
        duel.note(first_won=isinstance(answer, Lent))
    sweep_until_quiet()
    assert not Lease.objects.filter(state__in=LIVE).exists()
    assert accounts(postgres_server, orders) == set()
    duel.assert_both_won()


def test_two_revokes_at_once_are_one(
    buyer: Buyer, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    for _ in range(ROUNDS // 4):
        lent = lending.lend(wanted(make_grant(buyer, role), fresh(role)), timezone.now())
        assert isinstance(lent, Lent)

        def end(lease: Lease = lent.lease) -> bool:
            ended = lifecycle.end(lease, lifecycle.Why.AGENT, "agent:race", timezone.now())
            taking_back.take_back_now(lease.pk)
            return ended

        assert sorted(at_once(end, end)) == [False, True]
        assert Event.objects.filter(kind="lease.ended", grant_id=lent.lease.grant_id).count() == 1
    sweep_until_quiet()
    assert accounts(postgres_server, orders) == set()
    assert Event.objects.filter(kind="lease.revoked").count() == ROUNDS // 4


def test_one_handle_opens_one_account(
    buyer: Buyer, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    """And the lease is ended: who has it twice has lost it, before the account was handed over or after."""
    duel = Duel()
    for _ in range(ROUNDS // 4):
        bought = lifecycle.buy(wanted(make_grant(buyer, role), fresh(role), wrap_for=60), timezone.now())
        assert isinstance(bought, lifecycle.Bought) and bought.handle

        def unwrap(handle: str = bought.handle) -> Any:
            return lending.unwrap(handle, timezone.now())

        answers = duel.fight(unwrap, unwrap)
        assert sum(isinstance(one, lifecycle.AlreadyUnwrapped) for one in answers) == 1
        (other,) = [one for one in answers if not isinstance(one, lifecycle.AlreadyUnwrapped)]
        assert isinstance(other, Lent | LeaseEnded)
        duel.note(first_won=isinstance(answers[0], Lent))
    duel.assert_both_won()
    assert Event.objects.filter(kind="lease.unwrapped").count() == ROUNDS // 4
    sweep_until_quiet()
    assert not Lease.objects.filter(state__in=LIVE).exists()
    assert accounts(postgres_server, orders) == set()


def test_a_renewal_against_the_end_revives_nothing(
    buyer: Buyer, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    for _ in range(ROUNDS // 4):
        lent = lending.lend(wanted(make_grant(buyer, role), fresh(role), lifetime=60), timezone.now())
        assert isinstance(lent, Lent)
        lease = Lease.objects.select_related("role", "agent", "backend").get(pk=lent.lease.pk)

        def end(lease: Lease = lease) -> None:
            lifecycle.end(lease, lifecycle.Why.AGENT, "agent:race", timezone.now())
            taking_back.take_back_now(lease.pk)

        at_once(lambda: lending.renew(lease, 1000, timezone.now()), end)  # noqa: B023
    Lease.objects.filter(claimed_until__isnull=False).update(claimed_until=timezone.now() - timedelta(seconds=1))
    sweep_until_quiet()
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
    assert accounts(postgres_server, orders) == set()


def test_two_sweepers_share(buyer: Buyer, role: Role, orders: Backend, postgres_server: PostgresServer) -> None:
    for _ in range(20):
        lending.lend(wanted(make_grant(buyer, role), fresh(role)), timezone.now())
    Lease.objects.update(expires_at=timezone.now())
    import time

    lifecycle.end_due(timezone.now(), 100)
    at_once(*[lambda: taking_back.serve(orders.pk, until=time.monotonic() + PATIENCE)] * 2)
    assert set(Lease.objects.values_list("state", "attempts")) == {("revoked", 1)}
    assert accounts(postgres_server, orders) == set()
