"""The pure rules: states, limits, what may be requested and renewed, when to try again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.backends.states import BACKEND_STATES, BackendStatus
from credentials.leases.limits import MAX_NOT_REVOCABLE_LIFETIME, LifetimeLimit, Limits, Renewal, life_of, renewed_life
from credentials.leases.policy import (
    LeaseFacts,
    LeaseVerdict,
    Quota,
    RenewFacts,
    RenewVerdict,
    judge_lease_request,
    judge_renew,
)
from credentials.leases.retries import MAX_DISABLED_PAUSE_S, MAX_PAUSE_S, is_stuck, pause
from credentials.leases.states import COUNTED_STATES, ENDING_STATES, LEASE_STATES, LIVE_STATES, State

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_nothing_leaves_revoked_and_everything_leads_there() -> None:
    assert LEASE_STATES.final_states == {State.REVOKED, State.ABANDONED}
    for state in set(State) - {State.ABANDONED}:
        reached, frontier = {state}, [state]
        while frontier:
            for target in LEASE_STATES.transitions.get(frontier.pop(), frozenset()) - reached:
                reached.add(target)
                frontier.append(target)
        assert State.REVOKED in reached, state


def test_an_account_that_may_live_is_never_called_revoked_without_a_revocation() -> None:
    sources = LEASE_STATES.sources
    assert set(sources(State.REVOKED)) == ENDING_STATES | {State.WRAPPED}, "wrapped: there never was an account"
    assert set(sources(State.ACTIVE)) == {State.CREATING}, "and nothing becomes active again"
    assert LIVE_STATES | {State.WRAPPED} == COUNTED_STATES
    assert set(sources(State.ABANDONED)) == ENDING_STATES, "and no lease is abandoned that its holder may still use"


def test_a_draining_backend_is_enabled_by_an_administrator_and_a_preflight_only() -> None:
    assert BACKEND_STATES.sources(BackendStatus.ENABLED) == [BackendStatus.NEW]
    assert BACKEND_STATES.transitions[BackendStatus.DRAINING] == {BackendStatus.NEW}
    assert not BACKEND_STATES.final_states


LIMITS = Limits(
    requested=None, approved=None, default=600, max_lifetime=3600, grant_ends_at=NOW + 3 * HOUR, is_revocable=True
)


@pytest.mark.parametrize(
    ("changes", "seconds", "bound", "max_length", "max_bound"),
    [
        ({}, 600, LifetimeLimit.DEFAULT, 3600, LifetimeLimit.ROLE),
        ({"requested": 60}, 60, LifetimeLimit.REQUESTED, 3600, LifetimeLimit.ROLE),
        ({"requested": 7200}, 3600, LifetimeLimit.ROLE, 3600, LifetimeLimit.ROLE),
        ({"requested": 7200, "approved": 120}, 120, LifetimeLimit.APPROVED, 120, LifetimeLimit.APPROVED),
        ({"requested": 7200, "agent_max": 400}, 400, LifetimeLimit.AGENT, 400, LifetimeLimit.AGENT),
        ({"agent_max": 7200}, 600, LifetimeLimit.DEFAULT, 3600, LifetimeLimit.ROLE),
        ({"grant_ends_at": NOW + timedelta(seconds=300)}, 300, LifetimeLimit.GRANT, 300, LifetimeLimit.GRANT),
        (
            {"is_revocable": False, "default": 1800},
            900,
            LifetimeLimit.MAX_NOT_REVOCABLE_LIFETIME,
            900,
            LifetimeLimit.MAX_NOT_REVOCABLE_LIFETIME,
        ),
    ],
    ids=[
        "role's default",
        "asked for less",
        "asked for more than the role",
        "the yes was for less",
        "the agent may have less",
        "the agent may have more than the role",
        "the grant ends",
        "pain 10",
    ],
)
def test_how_long_it_lives(
    changes: dict[str, object], seconds: int, bound: LifetimeLimit, max_length: int, max_bound: LifetimeLimit
) -> None:
    life = life_of(replace(LIMITS, **changes), NOW)  # type: ignore[arg-type]
    assert (life.expires_at - NOW).total_seconds() == seconds and life.bound_by == bound
    assert (life.max_expires_at - NOW).total_seconds() == max_length and life.max_bound_by == max_bound


@given(
    requested=st.none() | st.integers(10, 10**6), approved=st.none() | st.integers(10, 10**6),
    default=st.integers(10, 86400), max_lifetime=st.integers(30, 86400), grant=st.integers(1, 10**6),
    is_revocable=st.booleans(), agent=st.none() | st.integers(10, 10**6),
)  # fmt: skip
def test_no_limit_is_ever_passed(
    requested: int | None,
    approved: int | None,
    default: int,
    max_lifetime: int,
    grant: int,
    is_revocable: bool,
    agent: int | None,
) -> None:
    limits = Limits(requested, approved, default, max_lifetime, NOW + timedelta(seconds=grant), is_revocable, agent)
    life = life_of(limits, NOW)
    assert life.expires_at <= life.max_expires_at <= limits.grant_ends_at
    assert life.max_expires_at <= NOW + timedelta(seconds=max_lifetime)
    assert agent is None or life.max_expires_at <= NOW + timedelta(seconds=agent)
    assert approved is None or life.max_expires_at <= NOW + timedelta(seconds=approved)
    assert is_revocable or life.max_expires_at <= NOW + MAX_NOT_REVOCABLE_LIFETIME
    renewal = Renewal(10**6, LifetimeLimit.REQUESTED, NOW, life.max_expires_at, life.max_bound_by, max_lifetime, agent)
    renewed = renewed_life(renewal, NOW + timedelta(seconds=1))
    assert renewed.expires_at == life.max_expires_at, "renewing never goes beyond"
    assert renewed.bound_by == life.max_bound_by


RENEWAL = Renewal(
    seconds=600,
    requested_limit=LifetimeLimit.REQUESTED,
    created_at=NOW,
    max_expires_at=NOW + HOUR,
    max_bound_by=LifetimeLimit.GRANT,
    max_lifetime=3600,
)


@pytest.mark.parametrize(
    ("changes", "seconds", "bound"),
    [
        ({}, 660, LifetimeLimit.REQUESTED),
        ({"seconds": 7200}, 3600, LifetimeLimit.GRANT),
        ({"max_lifetime": 7200, "agent_max": 7200, "seconds": 9000}, 3600, LifetimeLimit.GRANT),
        ({"max_lifetime": 300}, 300, LifetimeLimit.ROLE),
        ({"agent_max": 400}, 400, LifetimeLimit.AGENT),
        ({"max_lifetime": 300, "agent_max": 200}, 200, LifetimeLimit.AGENT),
        ({"max_lifetime": 200, "agent_max": 300}, 200, LifetimeLimit.ROLE),
        ({"max_lifetime": 30}, 30, LifetimeLimit.ROLE),
    ],
    ids=[
        "as asked, from now",
        "what it was given at the most",
        "limits that were raised give nothing",
        "the role may have less by now",
        "the agent may have less by now",
        "both, the agent less",
        "both, the role less",
        "less than it has had already",
    ],
)
def test_how_long_it_lives_when_renewed(changes: dict[str, int], seconds: int, bound: LifetimeLimit) -> None:
    """A minute after the request; the limits count from the request."""
    life = renewed_life(replace(RENEWAL, **changes), NOW + timedelta(minutes=1))  # type: ignore[arg-type]
    assert ((life.expires_at - NOW).total_seconds(), life.bound_by) == (seconds, bound)


ISSUE = LeaseFacts(
    role_is_active=True, backend_issues=True, is_recovering=False, backend_is_reachable=True,
    quotas=[Quota("agent", 0, 1), Quota("backend", 5, 10)], requested_in_last_minute=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, LeaseVerdict.ISSUE),
        ({"role_is_active": False}, LeaseVerdict.NOT_ISSUING),
        ({"backend_issues": False}, LeaseVerdict.NOT_ISSUING),
        ({"is_recovering": True}, LeaseVerdict.NOT_ISSUING),
        ({"backend_is_reachable": False}, LeaseVerdict.UNREACHABLE),
        ({"quotas": [Quota("user", 3, 3)]}, LeaseVerdict.FULL),
        ({"requested_in_last_minute": 60}, LeaseVerdict.TOO_FAST),
    ],
)
def test_may_it_be_requested(changes: dict[str, object], verdict: LeaseVerdict) -> None:
    assert judge_lease_request(replace(ISSUE, **changes)) is verdict  # type: ignore[arg-type]


RENEW = RenewFacts(is_active=True, grant_is_alive=True, is_issuing=True, may_ask=True, is_longer=True)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, RenewVerdict.RENEW),
        ({"is_active": False}, RenewVerdict.ENDED),
        ({"grant_is_alive": False}, RenewVerdict.ENDED),
        ({"is_issuing": False}, RenewVerdict.NOT_ISSUING),
        ({"may_ask": False}, RenewVerdict.NOT_ALLOWED),
        ({"is_longer": False}, RenewVerdict.AT_MAXIMUM),
    ],
)
def test_may_it_be_renewed(changes: dict[str, bool], verdict: RenewVerdict) -> None:
    assert judge_renew(replace(RENEW, **changes)) is verdict


@given(st.integers(1, 10**9))
def test_pauses_grow_and_never_end(attempts: int) -> None:
    assert 0.75 <= pause(attempts).total_seconds() <= MAX_PAUSE_S
    assert pause(attempts, harmless=True).total_seconds() <= MAX_DISABLED_PAUSE_S
    assert is_stuck(attempts) == (attempts >= 5)
