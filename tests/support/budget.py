"""How long the long tests are: `make test` runs each with a short budget, `make soak` with a long one.

Both are seeded. The report's first lines name the seed; COUNTERSIGN_SEED repeats a run.
A test with a budget carries the mark `soak`, by which `make soak` finds it.
"""

import os
import random

from hypothesis import HealthCheck, Phase, settings

SOAK = os.environ.get("COUNTERSIGN_SOAK") == "1"
SEED = int(os.environ.get("COUNTERSIGN_SEED") or 20261124)


def rounds(short: int, long: int) -> int:
    """How often a loop runs: `short` in `make test`, `long` in `make soak`."""
    return long if SOAK else short


def examples(short: int, long: int) -> settings:
    """The same for a Hypothesis test, as its decorator."""
    return settings(max_examples=rounds(short, long))


def chance(name: str) -> random.Random:
    """Random numbers of this run's seed. Each name has a sequence of its own, whatever ran before."""
    return random.Random(f"{SEED} {name}")


# A busy machine is no finding: no example has a deadline, and slow examples are not refused. `make test` draws the
# same examples each time; `make soak` draws others with each seed (Hypothesis takes it from --hypothesis-seed).
settings.register_profile(
    "countersign",
    deadline=None,
    derandomize=not SOAK,
    database=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("countersign")


def pytest_report_header() -> str:
    return f"budget: {'long' if SOAK else 'short'}, COUNTERSIGN_SEED={SEED}"
