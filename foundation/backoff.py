"""The pause before the next attempt at anything that failed. Each caller gives its own numbers."""

import random
from datetime import timedelta

_MAX_DOUBLINGS = 16  # far beyond every cap: keeps the power small
_JITTER = (0.75, 1.0)  # of the pause, so that what failed together does not come back together


def doubled(attempts: int, *, first_s: float, max_s: float) -> float:
    """The pause (s) after `attempts` failures: `first_s` after the first, doubled by each other, at most `max_s`."""
    return min(first_s * 2.0 ** min(max(attempts - 1, 0), _MAX_DOUBLINGS), max_s)


def pause(attempts: int, *, first_s: float, max_s: float, at_least_s: float = 0.0) -> timedelta:
    """Like `doubled`, with jitter. `at_least_s` is the delay that the other side requested."""
    jittered = doubled(attempts, first_s=first_s, max_s=max_s) * random.uniform(*_JITTER)  # noqa: S311 - spreads load, guards nothing
    return timedelta(seconds=max(jittered, at_least_s))
