"""Programs for Node in tests: public clients and the MCP conformance suite, all from tests/node_clients.

npm installs their packages once per lock file; so it does for bench/peer. They run under the Node that Playwright
brings: the same version everywhere, and new enough for the suite (22), which Debian's and Ubuntu's is not.
"""

import contextlib
import hashlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import playwright
import pytest

SOURCES = Path(__file__).parent / "node_clients"
INSTALLED = Path(__file__).parent.parent / "test-output" / "node_clients"
BUNDLED_NODE = Path(playwright.__file__).parent / "driver" / "node"
PATIENCE = 120  # seconds for one answer, on a busy machine


class NodeProgram:
    """A running program; it and the test tell each other one JSON object a line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in stop()
        self.process = subprocess.Popen(
            [node(), *arguments], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def next_line(self) -> str | None:
        """None at the end."""
        try:
            return self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            pytest.fail(f"the program says nothing: {self.stderr()}")

    def receive(self) -> dict[str, Any]:
        line = self.next_line()
        assert line is not None, f"the program has ended: {self.stderr()}"
        return dict(json.loads(line))

    def exit_code(self) -> int:
        return self.process.wait(timeout=PATIENCE)

    def stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


def node() -> str:
    return str(BUNDLED_NODE) if BUNDLED_NODE.exists() else "node"


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[NodeProgram]:
    program = NodeProgram(folder, *arguments)
    try:
        yield program
    finally:
        program.stop()


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs of tests/node_clients, and the packages of their lock file."""
    if shutil.which("npm") is None:
        problem = "The public clients for Node need npm: apt-get install nodejs npm"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
    folder = tmp_path_factory.mktemp("node-clients") / "programs"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(installed_packages(SOURCES))
    return folder


def installed_packages(sources: Path) -> Path:
    """The folder node_modules of the lock file in `sources`.

    Installed beside its place first: another run, or one that was interrupted, never shows a half of it.
    """
    lock_digest = hashlib.sha256((sources / "package-lock.json").read_bytes()).hexdigest()
    installed = INSTALLED / lock_digest[:16]
    if not installed.exists():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=INSTALLED) as name:
            unfinished = Path(name) / "unfinished"
            unfinished.mkdir()
            for file in ("package.json", "package-lock.json"):
                shutil.copy(sources / file, unfinished)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            subprocess.run(command, cwd=unfinished, check=True, timeout=600)
            with contextlib.suppress(OSError):  # another run was first
                unfinished.rename(installed)
        assert installed.exists()
    return installed / "node_modules"
