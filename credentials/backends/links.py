"""A pool of links to backends: a login costs more than most statements.

One thread at a time uses a link. A change of a backend's settings or secret changes the pool key,
so that an old link is never reused. A link is closed after an error.
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

from credentials.backends.secrets import target_of
from credentials.engines import EngineError, Link, NotContacted
from credentials.models import Backend
from foundation.keyring import KeyringError

MAX_IDLE_AGE_S = 20.0  # seconds
TRUSTED_IDLE_S = 0.5  # seconds for which an idle link is used without a check
MAX_IDLE_LINKS = 8  # per backend and process

# How many requests of one process may call backends at once: one backend, and all of them. A call
# may take long, and a third-party engine may never return; other threads must stay free.
SLOTS_PER_BACKEND = max(1, settings.WEB_THREADS // 2)
ALL_SLOTS = max(1, settings.WEB_THREADS * 3 // 4)

log = logging.getLogger(__name__)

_slots: dict[UUID, threading.BoundedSemaphore] = {}
_all_slots = threading.BoundedSemaphore(ALL_SLOTS)
_idle: dict[tuple[UUID, bytes], list[tuple[float, Link]]] = {}
_lock = threading.Lock()


@contextmanager
def link_to(backend: Backend) -> Iterator[Link]:
    """A link to the backend.

    Raises BackendUnreachable and EngineError; a link that raised is closed.
    """
    key = (backend.id, _version(backend))
    link = _take_idle(key) or _connect(backend)
    try:
        yield link
    except BaseException:
        _close(link)
        raise
    _return_idle(key, link)


def _connect(backend: Backend) -> Link:
    try:
        target = target_of(backend)
    except KeyringError as error:
        raise NotContacted(str(error)) from error
    return backend.find_engine().connect(target)


@contextmanager
def slot(backend_id: UUID, *, wait: float) -> Iterator[bool]:
    """A slot for a call during a request; False if slow backends already hold as many threads as
    they may.

    `wait`: seconds in total.
    """
    give_up = time.monotonic() + wait
    with _lock:
        slots = _slots.setdefault(backend_id, threading.BoundedSemaphore(SLOTS_PER_BACKEND))
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


def _take_idle(key: tuple[UUID, bytes]) -> Link | None:
    """An idle link that still answers: the backend may have been restarted meanwhile."""
    while True:
        with _lock:
            idle_links = _idle.get(key)
            if not idle_links:
                return None
            since, link = idle_links.pop()
        age = time.monotonic() - since
        try:
            if age < MAX_IDLE_AGE_S:
                if age > TRUSTED_IDLE_S:
                    link.verify("")
                return link
        except EngineError:
            pass  # closed below; the next link is tried, or a new one is made
        _close(link)


def _return_idle(key: tuple[UUID, bytes], link: Link) -> None:
    with _lock:
        for known in list(_idle):
            is_new = [(since, one) for since, one in _idle[known] if time.monotonic() - since < MAX_IDLE_AGE_S]
            for since, one in _idle[known]:
                if (since, one) not in is_new:
                    _close(one)
            _idle[known] = is_new
            if not is_new:
                del _idle[known]
        if len(_idle.setdefault(key, [])) < MAX_IDLE_LINKS:
            _idle[key].append((time.monotonic(), link))
            return
    _close(link)


def _close(link: Link) -> None:
    """Closes a link that is no longer used. A failing close must not affect other backends."""
    try:
        link.close()
    except EngineError as error:
        log.warning("a connection could not be closed: %s", error)


def close_all() -> None:
    """Closes all idle links, for tests and for an orderly shutdown."""
    with _lock:
        for idle_links in _idle.values():
            for _, link in idle_links:
                _close(link)
        _idle.clear()
