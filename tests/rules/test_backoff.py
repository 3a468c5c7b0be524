"""The pause before the next attempt."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from foundation.backoff import doubled, pause


def test_each_pause_is_twice_the_one_before_up_to_a_cap() -> None:
    assert [doubled(attempts, first_s=0.5, max_s=5.0) for attempts in range(1, 6)] == [0.5, 1.0, 2.0, 4.0, 5.0]
    assert doubled(0, first_s=0.5, max_s=5.0) == 0.5, "before any attempt"


@given(st.integers(0, 10**9), st.floats(0.001, 60.0), st.floats(0.001, 10_000.0))
def test_jitter_only_shortens_it_and_by_a_quarter_at_most(attempts: int, first_s: float, max_s: float) -> None:
    whole = doubled(attempts, first_s=first_s, max_s=max_s)
    seconds = pause(attempts, first_s=first_s, max_s=max_s).total_seconds()
    assert 0.75 * whole - 1e-5 <= seconds <= whole + 1e-5 <= max_s + 1e-5


def test_it_is_as_long_as_the_other_side_requests() -> None:
    assert pause(1, first_s=1.0, max_s=60.0, at_least_s=40.0) == timedelta(seconds=40)
    assert pause(30, first_s=1.0, max_s=60.0, at_least_s=2.0) >= timedelta(seconds=45)
