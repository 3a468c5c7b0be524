"""Leases at the same moment: one use gives one lease, one handle unwraps one, and an end always wins."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.models import Event
from clients.models import Agent
from credentials.errors import LeaseEnded
from credentials.leases import issuance, lifecycle, revocation
from credentials.leases.issuance import IssuedLease
from credentials.leases.states import LIVE_STATES
from credentials.models import Backend, Lease, Role
from oauth.models import Grant, Use
from tests.credentials.conftest import holder, orders, postgres_server, role, routine_role
from tests.credentials.test_crashes import accounts
from tests.patience import PATIENCE
from tests.support.duel import ROUNDS, Duel, at_once
from tests.support.leases import Holder, allow_leases, make_backend, make_grant, make_role, sweep_until_quiet
from tests.support.systems import PostgresServer
from tests.support.world import Caller

__all__ = ["holder", "orders", "postgres_server", "role", "routine_role"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


@pytest.fixture(autouse=True)
def plenty(role: Role, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    from credentials.leases import policy

    settings.LEASES_MAX_PER_AGENT = settings.LEASES_MAX_PER_USER = 10_000
    monkeypatch.setattr(policy, "MAX_PER_MINUTE", 100_000)
    Role.objects.update(max_per_agent=10_000, max_per_user=10_000, max_leases=10_000)


def wanted(grant: Grant, role: Role, **more: Any) -> lifecycle.LeaseRequest:
    fields: dict[str, Any] = {"lifetime": None, "approved_lifetime": None, "wrap_for": None, "idempotency_key": None}
    return lifecycle.LeaseRequest(role, grant.id, "to race", **(fields | more))


def fresh(role: Role) -> Role:
    return Role.objects.select_related("backend", "operation_type__resource").get(pk=role.pk)


def test_one_use_allows_one_lease(holder: Holder, role: Role) -> None:
    for _ in range(ROUNDS):
        grant = make_grant(holder, role)
        answers = at_once(*[lambda: lifecycle.request_lease(wanted(grant, fresh(role)), timezone.now())] * 2)  # noqa: B023
        assert sorted(type(one).__name__ for one in answers) == ["RequestedLease", "UsedUp"]
        assert Lease.objects.filter(grant=grant).count() == Use.objects.filter(grant=grant).count() == 1


def test_one_key_is_one_lease(holder: Holder, role: Role) -> None:
    for _ in range(ROUNDS):
        grant = make_grant(holder, role)
        act = [lambda: lifecycle.request_lease(wanted(grant, fresh(role), idempotency_key="k"), timezone.now())] * 2  # noqa: B023
        assert sorted(type(one).__name__ for one in at_once(*act)) == ["LeaseBusy", "RequestedLease"]
        assert Lease.objects.filter(grant=grant).count() == 1


def test_quotas_hold_for_two_at_once(holder: Holder, role: Role) -> None:
    Role.objects.update(max_per_agent=1)
    for _ in range(ROUNDS):
        grants = [make_grant(holder, role) for _ in range(2)]
        acts = [lambda one=one: lifecycle.request_lease(wanted(one, fresh(role)), timezone.now()) for one in grants]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["QuotaExceeded", "RequestedLease"]
        Lease.objects.all().delete()


def test_an_agents_quota_holds_for_two_backends_at_once(
    holder: Holder, role: Role, postgres_server: PostgresServer
) -> None:
    """They wait for each other, although neither backend's lock is the other's."""
    other = make_role(make_backend(postgres_server.system("lease_admin"), "other"), "other", role.settings)
    Agent.objects.update(max_leases=1)
    for _ in range(ROUNDS):
        both = [(make_grant(holder, one), fresh(one)) for one in (role, other)]
        acts = [lambda one=one: lifecycle.request_lease(wanted(*one), timezone.now()) for one in both]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["QuotaExceeded", "RequestedLease"]
        Lease.objects.all().delete()


def test_a_users_quota_holds_for_two_agents_at_once(
    holder: Holder, role: Role, other_agent: Caller, postgres_server: PostgresServer, settings: Any
) -> None:
    """They share neither the agent's lock nor a backend's: the user's alone."""
    other = make_role(make_backend(postgres_server.system("lease_admin"), "other"), "other", role.settings)
    second = allow_leases(other_agent, holder.user)
    settings.LEASES_MAX_PER_USER = 1
    for _ in range(ROUNDS):
        both = [(make_grant(holder_of, one), fresh(one)) for holder_of, one in ((holder, role), (second, other))]
        acts = [lambda one=one: lifecycle.request_lease(wanted(*one), timezone.now()) for one in both]
        assert sorted(type(one).__name__ for one in at_once(*acts)) == ["QuotaExceeded", "RequestedLease"]
        Lease.objects.all().delete()


def test_a_revoked_grant_against_issuing_leaves_no_account(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    duel = Duel()
    for _ in range(ROUNDS):
        grant = make_grant(holder, role)

        def issue(grant: Grant = grant) -> Any:
            return issuance.issue_lease(wanted(grant, fresh(role)), timezone.now())

        def revoke(grant: Grant = grant) -> None:
            Grant.objects.filter(pk=grant.pk).update(revoked_at=timezone.now())

        answer, _ = duel.fight(issue, revoke)
        duel.note(first_won=isinstance(answer, IssuedLease))
    sweep_until_quiet()
    assert not Lease.objects.filter(state__in=LIVE_STATES).exists()
    assert accounts(postgres_server, orders) == set()
    duel.assert_both_won()


def test_two_revokes_at_once_are_one(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    for _ in range(ROUNDS // 4):
        issued = issuance.issue_lease(wanted(make_grant(holder, role), fresh(role)), timezone.now())
        assert isinstance(issued, IssuedLease)

        def end(lease: Lease = issued.lease) -> bool:
            ended = lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:race", timezone.now())
            revocation.revoke_now(lease.pk)
            return ended

        assert sorted(at_once(end, end)) == [False, True]
        assert Event.objects.filter(kind="lease.ended", grant_id=issued.lease.grant_id).count() == 1
    sweep_until_quiet()
    assert accounts(postgres_server, orders) == set()
    assert Event.objects.filter(kind="lease.revoked").count() == ROUNDS // 4


def test_one_handle_opens_one_account(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    """And the lease is ended: who has it twice has lost it, before the account was handed over or after."""
    duel = Duel()
    for _ in range(ROUNDS // 4):
        requested = lifecycle.request_lease(wanted(make_grant(holder, role), fresh(role), wrap_for=60), timezone.now())
        assert isinstance(requested, lifecycle.RequestedLease) and requested.handle

        def unwrap(handle: str = requested.handle) -> Any:
            return issuance.unwrap(handle, timezone.now())

        answers = duel.fight(unwrap, unwrap)
        assert sum(isinstance(one, lifecycle.AlreadyUnwrapped) for one in answers) == 1
        (other,) = [one for one in answers if not isinstance(one, lifecycle.AlreadyUnwrapped)]
        assert isinstance(other, IssuedLease | LeaseEnded)
        duel.note(first_won=isinstance(answers[0], IssuedLease))
    duel.assert_both_won()
    assert Event.objects.filter(kind="lease.unwrapped").count() == ROUNDS // 4
    sweep_until_quiet()
    assert not Lease.objects.filter(state__in=LIVE_STATES).exists()
    assert accounts(postgres_server, orders) == set()


def test_a_renewal_against_the_end_revives_nothing(
    holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer
) -> None:
    for _ in range(ROUNDS // 4):
        issued = issuance.issue_lease(wanted(make_grant(holder, role), fresh(role), lifetime=60), timezone.now())
        assert isinstance(issued, IssuedLease)
        lease = Lease.objects.select_related("role", "agent", "backend").get(pk=issued.lease.pk)

        def end(lease: Lease = lease) -> None:
            lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:race", timezone.now())
            revocation.revoke_now(lease.pk)

        at_once(lambda: issuance.renew(lease, 1000, timezone.now()), end)  # noqa: B023
    Lease.objects.filter(claimed_until__isnull=False).update(claimed_until=timezone.now() - timedelta(seconds=1))
    sweep_until_quiet()
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
    assert accounts(postgres_server, orders) == set()


def test_two_sweepers_share(holder: Holder, role: Role, orders: Backend, postgres_server: PostgresServer) -> None:
    for _ in range(20):
        issuance.issue_lease(wanted(make_grant(holder, role), fresh(role)), timezone.now())
    Lease.objects.update(expires_at=timezone.now())
    import time

    lifecycle.end_due(timezone.now(), 100)
    at_once(*[lambda: revocation.serve(orders.pk, until=time.monotonic() + PATIENCE)] * 2)
    assert set(Lease.objects.values_list("state", "attempts")) == {("revoked", 1)}
    assert accounts(postgres_server, orders) == set()
