"""Asking Celery's worker costs nobody anything: a Redis that is away or hangs is noticed once, and then left alone."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.patience import PATIENCE
from tests.support.own_redis import OwnRedis

# A process of its own, as web is: Celery keeps its connections for as long as a process lives.
REQUESTING = """
    import sys, time
    from uuid import uuid4
    import django
    django.setup()
    from authserver import celery
    for line in sys.stdin:
        began = time.monotonic()
        for _ in range(int(line)):
            celery.notify_worker(uuid4())
        print(time.monotonic() - began, flush=True)
"""


@pytest.fixture
def ask(own_redis: OwnRedis) -> Iterator[Callable[[int], float]]:
    """Asks so often, and answers how long it took (s)."""
    environment = {**os.environ, "REDIS_URL": own_redis.url, "DJANGO_SETTINGS_MODULE": "authserver.settings"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(REQUESTING)], env=environment, text=True,
        cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip

        def times(count: int) -> float:
            assert process.stdin and process.stdout
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield times
        process.kill()


def waiting(own_redis: OwnRedis) -> int:
    with redis.Redis.from_url(own_redis.url, socket_timeout=5) as client:
        return int(client.llen("countersign"))  # type: ignore[arg-type]


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_a_redis_in_trouble_is_left_alone_and_asked_again(
    trouble: str, own_redis: OwnRedis, ask: Callable[[int], float]
) -> None:
    ask(3)
    assert waiting(own_redis) == 3
    own_redis.make_trouble(trouble)
    assert ask(200) < 25, "one short time-out now and then, and not one each"
    own_redis.mend()
    before = waiting(own_redis) if trouble == "hung" else 0
    give_up = time.monotonic() + PATIENCE
    while True:
        ask(1)
        try:
            if waiting(own_redis) > before:
                return
        except redis.ConnectionError:
            pass
        assert time.monotonic() < give_up, "it never asked again"
        time.sleep(0.5)
