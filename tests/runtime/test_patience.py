"""A start is given up so long after its last progress, and not so long after its beginning."""

import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import CannotStart, up
from runtime.patience import MAX, Patience
from runtime.processes import Process, free_port
from runtime.supervisor import Supervisor

BUSY_THEN_READY = """
    import http.server, time
    began = time.process_time()
    while time.process_time() - began < 2:
        pass

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    http.server.HTTPServer(("127.0.0.1", {port}), Ready).serve_forever()
"""


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, 0.0, "no"), (59, 0.0, "no")], False, id="nothing yet, and not long"),
        pytest.param([(0, 0.0, "no"), (61, 0.0, "no")], True, id="nothing for too long"),
        pytest.param([(0, 0.0, "no"), (50, 1.0, "no"), (100, 2.0, "no")], False, id="slow, and at work"),
        pytest.param([(0, 0.0, "no"), (50, 0.0, "503"), (100, 0.0, "503")], False, id="another answer is progress"),
        pytest.param([(0, 0.0, "no"), (50, 0.0, "503"), (111, 0.0, "503")], True, id="the same answer for too long"),
        pytest.param([(0, 2.0, "no"), (50, 0.5, "no"), (61, 1.9, "no")], True, id="crashes before it gets further"),
        pytest.param([(0, 0.0, "no"), (50, 0.01, "no"), (61, 0.02, "no")], True, id="so little work is none"),
        pytest.param([(n, float(n), "no") for n in range(0, int(MAX) + 2)], True, id="work without end"),
    ],
)
def test_when_it_is_over(looks: list[tuple[float, float, str]], expected: bool) -> None:
    patience = Patience(60, now=0)
    assert [patience.is_over(*check) for check in looks][-1] is expected


def start(supervisor: Supervisor, tmp_path: Path, script: str) -> tuple[up.Plan, Process]:
    port = free_port()
    plan = up.Plan(True, tmp_path, port, port + 1, "127.0.0.1", f"http://localhost:{port}", 1, 8, 100)
    process = Process("web", [sys.executable, "-c", textwrap.dedent(script).format(port=port)], {})
    supervisor.start([process])
    return plan, process


@pytest.fixture
def supervisor() -> Any:
    made = Supervisor(lambda text: None)
    yield made
    made.stop()


def test_a_slow_web_process_is_waited_for(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works for two seconds of processor time: on a busy machine that is far more than the limit."""
    monkeypatch.setattr(up, "READY_TIMEOUT_S", 1.5)
    began = time.monotonic()
    plan, process = start(supervisor, tmp_path, BUSY_THEN_READY)
    assert up._wait_until_ready(plan, supervisor, process)
    assert time.monotonic() - began > 1.5


def test_one_that_hangs_is_given_up(supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "READY_TIMEOUT_S", 1.5)
    plan, process = start(supervisor, tmp_path, "import time; time.sleep(1000)")
    with pytest.raises(CannotStart, match=r"no answer.*no progress for 1\.5 s"):
        up._wait_until_ready(plan, supervisor, process)


def test_processor_time_is_that_of_a_process_and_its_children(supervisor: Supervisor, tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    _, process = start(supervisor, tmp_path, script)
    while process.processor_time() < 0.3:
        time.sleep(0.05)
    assert Process("not started", [], {}).processor_time() == 0
