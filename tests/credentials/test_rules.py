"""The pure rules: states, limits, what may be bought and renewed, when to try again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials.limits import NOT_REVOCABLE, Bound, Limits, Renewal, life_of, renewed_life
from credentials.policy import BuyFacts, BuyVerdict, Quota, RenewFacts, RenewVerdict, judge_buy, judge_renew
from credentials.retrying import MOST, MOST_HARMLESS, is_stuck, pause
from credentials.states import COUNTED, ENDING, LIVE, TRANSITIONS, State, sources

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_nothing_leaves_revoked_and_everything_leads_there() -> None:
    assert State.REVOKED not in TRANSITIONS and State.FORGOTTEN not in TRANSITIONS
    for state in set(State) - {State.FORGOTTEN}:
        reached, frontier = {state}, [state]
        while frontier:
            for target in TRANSITIONS.get(frontier.pop(), frozenset()) - reached:
                reached.add(target)
                frontier.append(target)
        assert State.REVOKED in reached, state


def test_an_account_that_may_live_is_never_called_revoked_without_being_taken_back() -> None:
    assert set(sources(State.REVOKED)) == ENDING | {State.WRAPPED}, "wrapped: there never was an account"
    assert set(sources(State.ACTIVE)) == {State.CREATING}, "and nothing becomes active again"
    assert LIVE | {State.WRAPPED} == COUNTED
    assert set(sources(State.FORGOTTEN)) == ENDING, "and nothing is forgotten that somebody may still use by right"


LIMITS = Limits(asked=None, approved=None, default=600, longest=3600, grant_ends_at=NOW + 3 * HOUR, is_revocable=True)


@pytest.mark.parametrize(
    ("changes", "seconds", "bound", "most", "most_bound"),
    [
        ({}, 600, Bound.DEFAULT, 3600, Bound.LONGEST),
        ({"asked": 60}, 60, Bound.ASKED, 3600, Bound.LONGEST),
        ({"asked": 7200}, 3600, Bound.LONGEST, 3600, Bound.LONGEST),
        ({"asked": 7200, "approved": 120}, 120, Bound.APPROVED, 120, Bound.APPROVED),
        ({"asked": 7200, "agent_longest": 400}, 400, Bound.AGENT, 400, Bound.AGENT),
        ({"agent_longest": 7200}, 600, Bound.DEFAULT, 3600, Bound.LONGEST),
        ({"grant_ends_at": NOW + timedelta(seconds=300)}, 300, Bound.GRANT, 300, Bound.GRANT),
        ({"is_revocable": False, "default": 1800}, 900, Bound.NOT_REVOCABLE, 900, Bound.NOT_REVOCABLE),
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
    changes: dict[str, object], seconds: int, bound: Bound, most: int, most_bound: Bound
) -> None:
    life = life_of(replace(LIMITS, **changes), NOW)  # type: ignore[arg-type]
    assert (life.expires_at - NOW).total_seconds() == seconds and life.bound_by == bound
    assert (life.max_expires_at - NOW).total_seconds() == most and life.most_bound_by == most_bound


@given(
    asked=st.none() | st.integers(10, 10**6), approved=st.none() | st.integers(10, 10**6),
    default=st.integers(10, 86400), longest=st.integers(30, 86400), grant=st.integers(1, 10**6),
    is_revocable=st.booleans(), agent=st.none() | st.integers(10, 10**6),
)  # fmt: skip
def test_no_limit_is_ever_passed(
    asked: int | None,
    approved: int | None,
    default: int,
    longest: int,
    grant: int,
    is_revocable: bool,
    agent: int | None,
) -> None:
    limits = Limits(asked, approved, default, longest, NOW + timedelta(seconds=grant), is_revocable, agent)
    life = life_of(limits, NOW)
    assert life.expires_at <= life.max_expires_at <= limits.grant_ends_at
    assert life.max_expires_at <= NOW + timedelta(seconds=longest)
    assert agent is None or life.max_expires_at <= NOW + timedelta(seconds=agent)
    assert approved is None or life.max_expires_at <= NOW + timedelta(seconds=approved)
    assert is_revocable or life.max_expires_at <= NOW + NOT_REVOCABLE
    renewal = Renewal(10**6, Bound.ASKED, NOW, life.max_expires_at, life.most_bound_by, longest, agent)
    renewed = renewed_life(renewal, NOW + timedelta(seconds=1))
    assert renewed.expires_at == life.max_expires_at, "renewing never goes beyond"
    assert renewed.bound_by == life.most_bound_by


RENEWAL = Renewal(
    seconds=600, wish=Bound.ASKED, created_at=NOW, max_expires_at=NOW + HOUR, most_bound_by=Bound.GRANT, longest=3600,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "seconds", "bound"),
    [
        ({}, 660, Bound.ASKED),
        ({"seconds": 7200}, 3600, Bound.GRANT),
        ({"longest": 7200, "agent_longest": 7200, "seconds": 9000}, 3600, Bound.GRANT),
        ({"longest": 300}, 300, Bound.LONGEST),
        ({"agent_longest": 400}, 400, Bound.AGENT),
        ({"longest": 300, "agent_longest": 200}, 200, Bound.AGENT),
        ({"longest": 200, "agent_longest": 300}, 200, Bound.LONGEST),
        ({"longest": 30}, 30, Bound.LONGEST),
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
def test_how_long_it_lives_when_renewed(changes: dict[str, int], seconds: int, bound: Bound) -> None:
    """A minute after the purchase; the limits count from the purchase."""
    life = renewed_life(replace(RENEWAL, **changes), NOW + timedelta(minutes=1))  # type: ignore[arg-type]
    assert ((life.expires_at - NOW).total_seconds(), life.bound_by) == (seconds, bound)


BUY = BuyFacts(
    role_is_active=True, backend_lends=True, is_recovering=False, backend_is_reachable=True,
    quotas=[Quota("agent", 0, 1), Quota("backend", 5, 10)], bought_in_last_minute=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, BuyVerdict.BUY),
        ({"role_is_active": False}, BuyVerdict.NOT_LENDING),
        ({"backend_lends": False}, BuyVerdict.NOT_LENDING),
        ({"is_recovering": True}, BuyVerdict.NOT_LENDING),
        ({"backend_is_reachable": False}, BuyVerdict.UNREACHABLE),
        ({"quotas": [Quota("person", 3, 3)]}, BuyVerdict.FULL),
        ({"bought_in_last_minute": 60}, BuyVerdict.TOO_FAST),
    ],
)
def test_may_it_be_bought(changes: dict[str, object], verdict: BuyVerdict) -> None:
    assert judge_buy(replace(BUY, **changes)) is verdict  # type: ignore[arg-type]


RENEW = RenewFacts(is_active=True, grant_is_alive=True, is_lent=True, may_ask=True, is_longer=True)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, RenewVerdict.RENEW),
        ({"is_active": False}, RenewVerdict.ENDED),
        ({"grant_is_alive": False}, RenewVerdict.ENDED),
        ({"is_lent": False}, RenewVerdict.NOT_LENDING),
        ({"may_ask": False}, RenewVerdict.NOT_ALLOWED),
        ({"is_longer": False}, RenewVerdict.AT_MOST),
    ],
)
def test_may_it_be_renewed(changes: dict[str, bool], verdict: RenewVerdict) -> None:
    assert judge_renew(replace(RENEW, **changes)) is verdict


@given(st.integers(1, 10**9))
def test_pauses_grow_and_never_end(attempts: int) -> None:
    assert 0.75 <= pause(attempts).total_seconds() <= MOST
    assert pause(attempts, harmless=True).total_seconds() <= MOST_HARMLESS
    assert is_stuck(attempts) == (attempts >= 5)
