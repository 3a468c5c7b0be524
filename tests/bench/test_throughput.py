"""`make bench` works, and how many SQL statements each of its scenarios costs: pinned, so that none slips in unseen.

They are counted in PostgreSQL's log while the real product serves, so BEGIN and COMMIT count. What the statements are,
tests/oauth/test_query_counts.py says.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
TEST_RUN = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "COUNTERSIGN_TESTING", "DATA_DIR")
STATEMENTS = {
    "client-secret": 3,
    "private-key-jwt": 4,
    "dpop": 4,
    "introspection": 1,
    "backchannel": 11,
    "operation": 12,
    "pending-poll": 2,
    "ciba": 31,  # the request, its approval, and the poll
    "code": 7,
    "refresh": 6,
    "registration": 8,
    "metadata": 0,
    "jwks": 0,
    "userinfo": 1,
    "use": 9,
    "approval": 13,
    "lease": 44,  # issued and revoked, the statements on the backend included
}


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads /proc")
def test_every_scenario_works_with_this_many_statements(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("`make bench` needs wrk: apt-get install wrk")
    environment = {name: value for name, value in os.environ.items() if name not in TEST_RUN}
    command = [sys.executable, "bench/throughput.py", "--smoke", "--json", str(tmp_path / "figures.json")]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name: one["statements"] for name, one in figures.items()} == STATEMENTS
