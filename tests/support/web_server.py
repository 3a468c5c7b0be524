"""The real web server over the tests' own database, for what only a real connection shows."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.processes import Process
from tests.patience import until

ROOT = Path(__file__).resolve().parent.parent.parent


def make_server(port: int, folder: Path, *, workers: int = 1, **environment: str) -> Process:
    """granian on this port; `environment` are settings beside those of the run."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "authserver.asgi:application", "--http", "1"]
    command += [
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--respawn-failed-workers",
        "--no-ws",
        "--log-level",
        "error",
        "--working-dir",
        str(ROOT),
    ]
    return Process("server", command, os.environ | {"PORT": str(port), **environment}, log=folder / "server.log")


@contextmanager
def running(process: Process, port: int) -> Iterator[None]:
    """From when it listens on this port until the end of the block."""
    process.start()
    try:
        _wait_for(port, process)
        yield
    finally:
        process.stop()


def _wait_for(port: int, process: Process) -> None:
    def listens() -> bool:
        assert process.is_running and process.log, process.log and process.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    until(listens, lambda: f"{process.name} does not listen")
