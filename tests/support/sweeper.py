"""The product's own sweeper, as a process: one sweep a second."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def sweeper(**environment: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "manage.py", "sweeper"], cwd=ROOT, env=os.environ | environment)
    try:
        yield
        assert process.poll() is None, "it is still running"
    finally:
        process.terminate()
        process.wait(20)
