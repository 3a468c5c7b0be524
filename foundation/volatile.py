"""Access to Redis, which holds only data that may be lost. Time-outs are short, and calls pause after a failure.

So a hanging Redis costs one short time-out every few seconds and not one per request.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import redis

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 0.25  # seconds, to connect and to answer
RETRY_AFTER_FAILURE_S = 5.0  # seconds

T = TypeVar("T")


class RedisUnreachable(Exception):
    """Redis does not answer, or did not answer a moment ago. The caller continues without it."""


class Volatile:
    """One process's Redis connections for one purpose. The log shows `what` as the consequence of a failure."""

    def __init__(self, url: str, what: str) -> None:
        self.client = redis.Redis.from_url(
            url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=None,
            health_check_interval=0,
        )
        self._what = what
        self._left_alone_until = 0.0

    def ask(self, question: Callable[[], T]) -> T:
        """Runs `question`, which calls Redis through `client`, and returns its result. Raises RedisUnreachable."""
        if time.monotonic() < self._left_alone_until:
            raise RedisUnreachable
        try:
            return question()
        except redis.RedisError as error:
            self._left_alone_until = time.monotonic() + RETRY_AFTER_FAILURE_S
            log.warning("Redis is out of reach; %s: %s", self._what, error)
            raise RedisUnreachable from error
