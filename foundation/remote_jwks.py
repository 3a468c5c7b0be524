"""The one reader of JWK Sets that others publish at an address: agents (`jwks_uri`) and hint issuers.

The keys are stored in PostgreSQL and not in a process. So one fetch serves every process, the limit
on fetches covers all processes together, and the keys are available after a restart while their
host is unreachable.

A key set is fetched again after KEYS_FRESH_FOR, and at once if it lacks a needed key. If fetching
fails, the previous keys stay valid for at most KEYS_STORED_FOR.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.outbound import MAX_URL, Lane, OutboundFailed, OutboundRefused, fetch_in_place
from foundation.transactions import outside_transaction

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 3.0  # seconds: a request waits for it
MAX_BYTES = 64 * 1024
KEYS_FRESH_FOR = timedelta(minutes=10)  # a key that its owner has removed works no longer than this
KEYS_STORED_FOR = timedelta(hours=24)  # while the host is unreachable
# Anyone can send a token in the owner's name with a new `kid`. This interval limits the load on the
# owner's host. It is also the longest wait for keys that the owner has just rotated.
MIN_FETCH_INTERVAL = timedelta(seconds=10)
MIN_INTERVAL_AFTER_FAILURE = timedelta(seconds=30)
ACCEPT = "application/jwk-set+json, application/json"


class StoredKeySet(models.Model):
    """The keys fetched from one owner's address. They have their own table, because each fetch writes it."""

    uri = models.CharField(max_length=MAX_URL)
    jwks = models.JSONField(null=True)
    fetched_at = models.DateTimeField(null=True)  # when `jwks` was received
    last_attempt_at = models.DateTimeField(null=True)  # when the last fetch began
    settled_at = models.DateTimeField(null=True)  # when the last fetch ended; NULL while it runs, or if it was killed
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"keys from {self.uri}"

    @property
    def is_being_fetched(self) -> bool:
        return self.last_attempt_at is not None and self.settled_at is None


@dataclass(frozen=True)
class PublishedKeySet:
    """One owner's published key set: where it is, where it is stored, and what is accepted of it."""

    table: type[StoredKeySet]
    owner: dict[str, Any]  # the column and the value that select the owner's row
    uri: str
    lane: Lane  # limits how many threads wait for slow hosts
    # The accepted part of a fetched key set. Raises ValueError with the problem.
    accept: Callable[[Any], dict[str, Any]]
    # Runs in the transaction that stores new keys: (previous, new).
    on_stored: Callable[[dict[str, Any] | None, dict[str, Any]], None] | None = None

    def read(
        self, is_enough: Callable[[dict[str, Any]], bool], now: datetime, *, may_fetch: bool = True
    ) -> dict[str, Any] | None:
        """The key set, or None if no valid one is known. Fetches it first if it is stale or not enough.

        `is_enough` tells whether a key set has the needed key. Calls the network, so never call it
        inside a transaction.
        """
        outside_transaction("fetching keys")
        stored = self._stored()
        if may_fetch and not _is_usable(stored, is_enough, now):
            self._refresh(now)
            stored = self._stored()
        if stored is None or stored.fetched_at is None or stored.fetched_at <= now - KEYS_STORED_FOR:
            return None
        return dict(stored.jwks) if stored.jwks is not None else None

    @property
    def _rows(self) -> models.QuerySet[Any]:
        return self.table._default_manager.filter(**self.owner)

    def _stored(self) -> StoredKeySet | None:
        """The keys fetched from the current URL. Keys from an earlier URL do not count."""
        found: StoredKeySet | None = self._rows.filter(uri=self.uri).first()
        return found

    def _refresh(self, now: datetime) -> None:
        """Fetches the keys, waits for a fetch in progress, or does nothing if the last fetch is too recent.

        The place in the lane comes first. A slow host must not occupy every thread, also with those
        that wait. And whoever claims the fetch must be able to make it, whoever waits for it.
        """
        with self.lane.place(self.uri) as has_place:
            if not has_place:
                return
            if self._claim(now):
                self._fetch()
            else:
                self._wait()

    def _claim(self, now: datetime) -> bool:
        """Claims the fetch in one statement, so that only one caller fetches."""
        manager = self.table._default_manager
        manager.bulk_create([self.table(**self.owner, uri=self.uri)], ignore_conflicts=True)
        moved = self._rows.exclude(uri=self.uri).update(
            uri=self.uri, jwks=None, fetched_at=None, last_attempt_at=now, settled_at=None, problem=""
        )
        is_due = (
            Q(last_attempt_at=None)
            | Q(problem="", last_attempt_at__lte=now - MIN_FETCH_INTERVAL)
            | Q(last_attempt_at__lte=now - MIN_INTERVAL_AFTER_FAILURE)
        )
        due = self._rows.filter(is_due, uri=self.uri)
        return bool(moved or due.update(last_attempt_at=now, settled_at=None))

    def _wait(self) -> None:
        give_up = time.monotonic() + FETCH_TIMEOUT_S
        while time.monotonic() < give_up:
            stored = self._stored()
            if stored is None or not stored.is_being_fetched:
                return
            time.sleep(0.05)

    def _fetch(self) -> None:
        try:
            answer = fetch_in_place("GET", self.uri, trust=self.lane.trust, headers={"Accept": ACCEPT},
                                    timeout=FETCH_TIMEOUT_S, max_bytes=MAX_BYTES)  # fmt: skip
            if answer.status != 200:
                raise OutboundFailed(f"it answered {answer.status}")
            jwks = self.accept(parse_json(answer.body, "the key set"))
        except (OutboundRefused, OutboundFailed, InvalidRequest, ValueError) as error:
            problem = error.description if isinstance(error, InvalidRequest) else str(error)
            log.warning("the keys at %s could not be fetched: %s", self.uri, problem)
            self._rows.filter(uri=self.uri).update(settled_at=timezone.now(), problem=problem[:300])
            return
        self._store(jwks, timezone.now())

    @transaction.atomic(durable=True)
    def _store(self, jwks: dict[str, Any], now: datetime) -> None:
        row = self._rows.select_for_update().filter(uri=self.uri).first()
        if row is None:
            return  # the owner's URL has changed meanwhile
        previous = row.jwks
        self._rows.update(jwks=jwks, fetched_at=now, settled_at=now, problem="")
        if self.on_stored is not None:
            self.on_stored(previous, jwks)


def _is_usable(stored: StoredKeySet | None, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> bool:
    if stored is None or stored.jwks is None or stored.fetched_at is None or stored.fetched_at <= now - KEYS_FRESH_FOR:
        return False
    return is_enough(stored.jwks)
