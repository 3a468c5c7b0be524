"""How long a test waits for something: far longer than it takes, because a busy machine is no finding.

A test waits for a condition. Where it wants to show that something comes at once, it makes sure that nothing else could
bring it within PATIENCE, rather than to measure.
"""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 180.0  # seconds
LOOK_EVERY = 0.02  # seconds

Found = TypeVar("Found")


def until(condition: Callable[[], Found], reason: Callable[[], object] = lambda: "it did not happen in time") -> Found:
    """What the condition answers, once that is true. `reason` says more where it never is."""
    give_up = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < give_up, reason()
        time.sleep(LOOK_EVERY)
    return found
