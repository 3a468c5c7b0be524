"""A Redis of one test alone, which it may mistreat."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation import poll_throttle, wakeups
from runtime import redis
from tests.patience import until


class OwnRedis:
    def __init__(self, folder: Path) -> None:
        self._server = redis.start(folder)
        self.url = self._server.url
        until(poll_throttle.PollThrottle(self.url).reachable)

    def make_trouble(self, kind: str) -> None:
        """`stopped`, or `hung`: it takes connections and never answers."""
        if kind == "hung":
            self._signal(signal.SIGSTOP)
        else:
            self._server.process.stop()

    def mend(self) -> None:
        """It answers again; what it held is lost, where it was stopped."""
        if self._server.process.is_running:
            self._signal(signal.SIGCONT)
        else:
            self._server.process.start()

    def stop(self) -> None:
        if self._server.process.is_running:
            self._signal(signal.SIGCONT)
        self._server.process.stop()

    def _signal(self, number: signal.Signals) -> None:
        assert self._server.process.popen is not None
        os.kill(self._server.process.popen.pid, number)


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    settings.REDIS_URL = server.url
    monkeypatch.setattr(poll_throttle, "_throttle", None)
    monkeypatch.setattr(wakeups, "_volatile", None)
    yield server
    server.stop()
