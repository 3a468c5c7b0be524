"""`make soak` finds every test that has a long budget."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
USES_A_BUDGET = re.compile(r"\bROUNDS\b|\brounds\(|^@examples\(|\bbudget\.(rounds|examples)\(", re.MULTILINE)


def test_every_module_with_a_budget_carries_the_mark() -> None:
    with_budget = [path for path in TESTS.rglob("test_*.py") if USES_A_BUDGET.search(path.read_text())]
    assert len(with_budget) >= 8
    assert [path.name for path in with_budget if "pytest.mark.soak" not in path.read_text()] == []
