"""The keys that an agent publishes at its `client_jwks_uri` (RFC 7591 2, `jwks_uri`).

Kept in PostgreSQL and not in a process: one fetch serves every process, the pace of fetching holds for all
of them together, whoever causes it, and a restart while the agent's host is away finds its keys.

A key set is fetched again after FRESH, and at once for a key that it does not have. Where fetching fails,
the keys from before go on working, for at most KEEP.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record
from clients import keys
from clients.models import Agent, PublishedKeys
from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.outbound import OutboundFailed, OutboundRefused, Trust, fetch

log = logging.getLogger(__name__)

TIMEOUT = 3.0  # seconds: somebody's request waits for it
MAX_BYTES = 64 * 1024
FRESH = timedelta(minutes=10)  # a key that was taken off the list works no longer than this
KEEP = timedelta(hours=24)  # while the agent's host is away
# Anybody can send an assertion in an agent's name under a new `kid`. It costs the agent's host this little,
# and the agent itself waits no longer than this for keys that it has just rotated.
PAUSE = timedelta(seconds=10)
PAUSE_AFTER_FAILURE = timedelta(seconds=30)
# Of one process's threads so many at once wait for agents' hosts. Slow ones do not take them all.
AT_ONCE = 3
_places = threading.BoundedSemaphore(AT_ONCE)


def published_jwks(agent: Agent, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> dict[str, Any] | None:
    """The agent's key set, fetched first where it is old or not enough; None where there is none to rely on.

    `is_enough` says whether a key set has what the caller needs. Speaks to the network: never inside a transaction.
    """
    if connection.in_atomic_block:
        raise RuntimeError("keys are fetched before a transaction, not inside it")
    stored = _stored(agent)
    if agent.is_active and not _is_usable(stored, is_enough, now):
        with _place() as has_place:
            if has_place:
                _refresh(agent, now)
                stored = _stored(agent)
    if stored is None or stored.jwks is None or stored.fetched_at is None or stored.fetched_at <= now - KEEP:
        return None
    return dict(stored.jwks)


def _stored(agent: Agent) -> PublishedKeys | None:
    """What was fetched from where the agent's keys are now; what was fetched elsewhere counts for nothing."""
    return PublishedKeys.objects.filter(agent=agent, uri=agent.client_jwks_uri).first()


def _is_usable(stored: PublishedKeys | None, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> bool:
    if stored is None or stored.jwks is None or stored.fetched_at is None or stored.fetched_at <= now - FRESH:
        return False
    return is_enough(stored.jwks)


@contextmanager
def _place() -> Iterator[bool]:
    taken = _places.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            _places.release()


def _refresh(agent: Agent, now: datetime) -> None:
    """Fetches, or waits for whoever is fetching just now, or does nothing because it is too soon."""
    if _claim(agent, now):
        _fetch(agent)
    else:
        _wait(agent)


def _claim(agent: Agent, now: datetime) -> bool:
    """One statement decides who fetches."""
    uri = agent.client_jwks_uri
    PublishedKeys.objects.bulk_create([PublishedKeys(agent=agent, uri=uri)], ignore_conflicts=True)
    row = PublishedKeys.objects.filter(agent=agent)
    moved = row.exclude(uri=uri).update(
        uri=uri, jwks=None, fetched_at=None, tried_at=now, settled_at=None, problem=""
    )  # fmt: skip
    is_due = Q(tried_at=None) | Q(problem="", tried_at__lte=now - PAUSE) | Q(tried_at__lte=now - PAUSE_AFTER_FAILURE)
    return bool(moved or row.filter(is_due, uri=uri).update(tried_at=now, settled_at=None))


def _wait(agent: Agent) -> None:
    give_up = time.monotonic() + TIMEOUT
    while time.monotonic() < give_up:
        stored = _stored(agent)
        if stored is None or not stored.is_being_fetched:
            return
        time.sleep(0.05)


def _fetch(agent: Agent) -> None:
    uri = agent.client_jwks_uri
    try:
        accepted = {"Accept": "application/jwk-set+json, application/json"}
        answer = fetch("GET", uri, trust=Trust.SUPPLIED, headers=accepted, timeout=TIMEOUT, max_bytes=MAX_BYTES)
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
    """The new keys; an event where they differ from those before."""
    row = PublishedKeys.objects.select_for_update().filter(agent=agent, uri=uri).first()
    if row is None:
        return  # its address was changed meanwhile
    before, after = keys.thumbprints(row.jwks), keys.thumbprints(jwks)
    PublishedKeys.objects.filter(pk=row.pk).update(jwks=jwks, fetched_at=now, settled_at=now, problem="")
    if before != after:
        about = About(SYSTEM, client_id=agent.client_id)
        added, removed = sorted(after - before), sorted(before - after)
        record(events.AGENT_KEYS_CHANGED, about, now, uri=uri, added=added, removed=removed)
