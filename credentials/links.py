"""Ways into backends, kept open for a while: logging in costs more than most statements.

Each is used by one thread at a time. A backend whose settings or secret changed has another key, so that an old way in
is never taken again; nothing is kept after an error.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings

from credentials.backends import target_of
from credentials.engines import EngineError, Link, NotAsked
from credentials.models import Backend
from foundation.keyring import KeyringError

IDLE = 20.0  # seconds
FRESH = 0.5  # seconds that an idle one is believed to answer
MOST_IDLE = 8  # per backend and process

# Requests of one process that speak to systems at once: to one, and to all of them. A call may take long, and somebody
# else's engine may never come back: threads are left for everybody else.
SLOTS = max(1, settings.WEB_THREADS // 2)
ALL_SLOTS = max(1, settings.WEB_THREADS * 3 // 4)

log = logging.getLogger(__name__)

_slots: dict[UUID, threading.BoundedSemaphore] = {}
_all_slots = threading.BoundedSemaphore(ALL_SLOTS)
_idle: dict[tuple[UUID, bytes], list[tuple[float, Link]]] = {}
_lock = threading.Lock()


@contextmanager
def link_to(backend: Backend) -> Iterator[Link]:
    """Raises Unreachable and EngineError; a link that raised is closed."""
    key = (backend.id, _version(backend))
    link = _take(key) or _connect(backend)
    try:
        yield link
    except BaseException:
        _close(link)
        raise
    _keep(key, link)


def _connect(backend: Backend) -> Link:
    try:
        target = target_of(backend)
    except KeyringError as error:
        raise NotAsked(str(error)) from error
    return backend.find_engine().connect(target)


@contextmanager
def slot(backend_id: UUID, *, wait: float) -> Iterator[bool]:
    """For who answers a request meanwhile: False where slow backends hold as many threads as they may already.

    `wait`: seconds, altogether.
    """
    give_up = time.monotonic() + wait
    with _lock:
        slots = _slots.setdefault(backend_id, threading.BoundedSemaphore(SLOTS))
    with _one_of(slots, give_up) as free:
        if not free:
            yield False
            return
        with _one_of(_all_slots, give_up) as free_of_all:
            yield free_of_all


@contextmanager
def _one_of(slots: threading.BoundedSemaphore, give_up: float) -> Iterator[bool]:
    free = slots.acquire(timeout=max(0.0, give_up - time.monotonic()))
    try:
        yield free
    finally:
        if free:
            slots.release()


def _version(backend: Backend) -> bytes:
    what = json.dumps([backend.engine, backend.settings], sort_keys=True).encode() + bytes(backend.sealed_secret)
    return hashlib.sha256(what).digest()


def _take(key: tuple[UUID, bytes]) -> Link | None:
    """One that still answers: the system may have been started again meanwhile."""
    while True:
        with _lock:
            kept = _idle.get(key)
            if not kept:
                return None
            since, link = kept.pop()
        age = time.monotonic() - since
        try:
            if age < IDLE:
                if age > FRESH:
                    link.verify("")
                return link
        except EngineError:
            pass  # closed below; the next one is tried, or a new one made
        _close(link)


def _keep(key: tuple[UUID, bytes], link: Link) -> None:
    with _lock:
        for known in list(_idle):
            fresh = [(since, one) for since, one in _idle[known] if time.monotonic() - since < IDLE]
            for since, one in _idle[known]:
                if (since, one) not in fresh:
                    _close(one)
            _idle[known] = fresh
            if not fresh:
                del _idle[known]
        if len(_idle.setdefault(key, [])) < MOST_IDLE:
            _idle[key].append((time.monotonic(), link))
            return
    _close(link)


def _close(link: Link) -> None:
    """One that is not used any more: that it does not close in order stops nobody, of other backends least of all."""
    try:
        link.close()
    except EngineError as error:
        log.warning("a link was not closed in order: %s", error)


def close_all() -> None:
    """For tests, and for who ends a process in order."""
    with _lock:
        for kept in _idle.values():
            for _, link in kept:
                _close(link)
        _idle.clear()
