"""`python -m runtime.install`: pip with one line of progress, and what to do where it fails."""

import os
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE
from tests.stories.conftest import ROOT


def install(requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.install", str(requirements)]
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=PATIENCE)


def test_nothing_to_install_succeeds(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# no package\n")
    done = install(tmp_path / "none.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"Installing {tmp_path / 'none.txt'}: 0 packages, once."


def test_a_failure_shows_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("no-such-package==1.0 --hash=sha256:00\n")
    failed = install(tmp_path / "bad.txt")
    assert failed.returncode != 0
    assert "1 packages" in failed.stdout
    assert "no-such-package" in failed.stderr, "pip's own reason"
    assert "pip could not install" in failed.stderr and "check the network" in failed.stderr
