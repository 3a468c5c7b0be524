"""The way to Redis, which holds only what may be lost: short time-outs, and left alone after a failure.

A Redis that hangs costs a single short time-out in a few seconds, and not one per request.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import redis

log = logging.getLogger(__name__)

TIMEOUT = 0.25  # seconds, to connect and to answer
LEAVE_ALONE = 5.0  # seconds

T = TypeVar("T")


class Unreachable(Exception):
    """Redis does not answer, or did not a moment ago. The caller goes on without it."""


class Volatile:
    """One process's connections to Redis, for one purpose (`what`, for the log)."""

    def __init__(self, url: str, what: str) -> None:
        self.client = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=None, health_check_interval=0
        )
        self._what = what
        self._left_alone_until = 0.0

    def ask(self, question: Callable[[], T]) -> T:
        """What `question` answers, which speaks to Redis through `client`. Raises Unreachable."""
        if time.monotonic() < self._left_alone_until:
            raise Unreachable
        try:
            return question()
        except redis.RedisError as error:
            self._left_alone_until = time.monotonic() + LEAVE_ALONE
            log.warning("Redis is out of reach; %s: %s", self._what, error)
            raise Unreachable from error
