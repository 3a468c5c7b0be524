"""The keys that an agent publishes at its `client_jwks_uri` (RFC 7591 2, `jwks_uri`).

They are stored in PostgreSQL and not in a process. So one fetch serves every process, the limit on
fetches covers all processes together, and the keys are available after a restart while the agent's
host is unreachable.

A key set is fetched again after KEYS_FRESH_FOR, and at once if it lacks a needed key. If fetching
fails, the previous keys stay valid for at most KEYS_STORED_FOR.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record
from clients import keys
from clients.models import Agent, PublishedKeys
from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.outbound import OutboundFailed, OutboundRefused, Trust, fetch
from foundation.transactions import outside_transaction

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 3.0  # seconds: a request waits for it
MAX_BYTES = 64 * 1024
KEYS_FRESH_FOR = timedelta(minutes=10)  # a key that the agent has removed works no longer than this
KEYS_STORED_FOR = timedelta(hours=24)  # while the agent's host is unreachable
# Anyone can send an assertion in an agent's name with a new `kid`. This interval limits the load on
# the agent's host. It is also the longest wait for keys that the agent has just rotated.
MIN_FETCH_INTERVAL = timedelta(seconds=10)
MIN_INTERVAL_AFTER_FAILURE = timedelta(seconds=30)
# The maximum of threads per process that wait for agents' hosts, so that slow hosts do not occupy
# all threads.
MAX_CONCURRENT_FETCHES = 3
_places = threading.BoundedSemaphore(MAX_CONCURRENT_FETCHES)


def published_jwks(agent: Agent, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> dict[str, Any] | None:
    """The agent's key set, or None if no valid one is known. Fetches it first if it is stale or not enough.

    `is_enough` tells whether a key set has the needed key. Calls the network, so never call it
    inside a transaction.
    """
    outside_transaction("fetching keys")
    stored = _stored(agent)
    if agent.is_active and not _is_usable(stored, is_enough, now):
        with _place() as has_place:
            if has_place:
                _refresh(agent, now)
                stored = _stored(agent)
    if stored is None or stored.jwks is None or stored.fetched_at is None or stored.fetched_at <= now - KEYS_STORED_FOR:
        return None
    return dict(stored.jwks)


def _stored(agent: Agent) -> PublishedKeys | None:
    """The keys fetched from the agent's current URL. Keys from an earlier URL do not count."""
    return PublishedKeys.objects.filter(agent=agent, uri=agent.client_jwks_uri).first()


def _is_usable(stored: PublishedKeys | None, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> bool:
    if stored is None or stored.jwks is None or stored.fetched_at is None or stored.fetched_at <= now - KEYS_FRESH_FOR:
        return False
    return is_enough(stored.jwks)


@contextmanager
def _place() -> Iterator[bool]:
    accepted = _places.acquire(blocking=False)
    try:
        yield accepted
    finally:
        if accepted:
            _places.release()


def _refresh(agent: Agent, now: datetime) -> None:
    """Fetches the keys, waits for a fetch in progress, or does nothing if the last fetch is too recent."""
    if _claim(agent, now):
        _fetch(agent)
    else:
        _wait(agent)


def _claim(agent: Agent, now: datetime) -> bool:
    """Claims the fetch in one statement, so that only one caller fetches."""
    uri = agent.client_jwks_uri
    PublishedKeys.objects.bulk_create([PublishedKeys(agent=agent, uri=uri)], ignore_conflicts=True)
    row = PublishedKeys.objects.filter(agent=agent)
    moved = row.exclude(uri=uri).update(
        uri=uri, jwks=None, fetched_at=None, last_attempt_at=now, settled_at=None, problem=""
    )  # fmt: skip
    is_due = (
        Q(last_attempt_at=None)
        | Q(problem="", last_attempt_at__lte=now - MIN_FETCH_INTERVAL)
        | Q(last_attempt_at__lte=now - MIN_INTERVAL_AFTER_FAILURE)
    )
    return bool(moved or row.filter(is_due, uri=uri).update(last_attempt_at=now, settled_at=None))


def _wait(agent: Agent) -> None:
    give_up = time.monotonic() + FETCH_TIMEOUT_S
    while time.monotonic() < give_up:
        stored = _stored(agent)
        if stored is None or not stored.is_being_fetched:
            return
        time.sleep(0.05)


def _fetch(agent: Agent) -> None:
    uri = agent.client_jwks_uri
    try:
        accepted = {"Accept": "application/jwk-set+json, application/json"}
        answer = fetch("GET", uri, trust=Trust.SUPPLIED, headers=accepted, timeout=FETCH_TIMEOUT_S, max_bytes=MAX_BYTES)
        if answer.status != 200:
            raise OutboundFailed(f"it answered {answer.status}")
        jwks = keys.usable(parse_json(answer.body, "the key set"))
    except (OutboundRefused, OutboundFailed, InvalidRequest, ValueError) as error:
        problem = error.description if isinstance(error, InvalidRequest) else str(error)
        log.warning("the keys of agent %s could not be fetched: %s", agent.client_id, problem)
        PublishedKeys.objects.filter(agent=agent, uri=uri).update(settled_at=timezone.now(), problem=problem[:300])
        return
    _store(agent, uri, jwks, timezone.now())


@transaction.atomic(durable=True)
def _store(agent: Agent, uri: str, jwks: dict[str, Any], now: datetime) -> None:
    """Stores the new keys, with an event if they differ from the previous ones."""
    row = PublishedKeys.objects.select_for_update().filter(agent=agent, uri=uri).first()
    if row is None:
        return  # the agent's URL has changed meanwhile
    before, after = keys.thumbprints(row.jwks), keys.thumbprints(jwks)
    PublishedKeys.objects.filter(pk=row.pk).update(jwks=jwks, fetched_at=now, settled_at=now, problem="")
    if before != after:
        about = About(SYSTEM, client_id=agent.client_id)
        added, removed = sorted(after - before), sorted(before - after)
        record(events.AGENT_KEYS_CHANGED, about, now, uri=uri, added=added, removed=removed)
