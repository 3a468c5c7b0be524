"""Writes events, in the transaction of the change that they record."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from audit.events import SCHEMA_VERSION, EventKind
from audit.models import Event, SetAsideEvent
from foundation.canonical import canonical_json
from foundation.handles import digest, random_bytes
from foundation.inserts import insert, insert_or_roll_back
from foundation.trace_context import current_traceparent
from foundation.transactions import inside_transaction, its_own_transaction

log = logging.getLogger(__name__)

SYSTEM = "system"
TOGETHER = 500  # maximum of events in one INSERT


@dataclass(frozen=True)
class About:
    """The subject of an event.

    `actor` is `user:<id>`, `agent:<client_id>`, `resource:<id>`, `config:<file name>` or `system`.
    """

    actor: str
    client_id: str = ""
    user_id: UUID | None = None
    request_id: UUID | None = None
    grant_id: UUID | None = None


def record(kind: EventKind, about: About, now: datetime, **facts: Any) -> None:
    """Writes one event in the caller's transaction. Raises RuntimeError outside a transaction.

    `facts` are JSON values and never contain a secret, a token or a handle. If the event cannot be
    written, the exception rolls the caller's transaction back: no audit event, no token and no
    lease.
    """
    inside_transaction("an event")
    # ON CONFLICT DO NOTHING is for collapsed refusals only. Any other event must never be lost.
    insert([_event(kind, about, now, facts)], ignore_conflicts=kind.refusal)


def record_alone(kind: EventKind, about: About, now: datetime, **facts: Any) -> None:
    """Like `record`, for an event of no change of the database, outside any transaction.

    One statement is a transaction by itself. If it fails, its exception must keep the answer back.
    """
    its_own_transaction("an event of no change")
    insert([_event(kind, about, now, facts)], ignore_conflicts=kind.refusal)


def record_revocation(kind: EventKind, about: About, now: datetime, **facts: Any) -> None:
    """Like `record`, for revocations only: an event that cannot be written is set aside; the revocation continues."""
    event = _event(kind, about, now, facts)
    try:
        insert_or_roll_back([event])
    except DatabaseError as error:
        log.error("event %s could not be written and was set aside: %s", kind.name, error)
        SetAsideEvent.objects.create(at=now, kind=kind.name, body=event.body, problem=str(error))


def record_revocations(kind: EventKind, abouts: Sequence[tuple[About, Mapping[str, Any]]], now: datetime) -> None:
    """Like `record_revocation` for many events, in few statements. If one fails, writes its events one by one."""
    for start in range(0, len(abouts), TOGETHER):
        _record_together(kind, abouts[start : start + TOGETHER], now)


def _record_together(kind: EventKind, abouts: Sequence[tuple[About, Mapping[str, Any]]], now: datetime) -> None:
    try:
        insert_or_roll_back([_event(kind, about, now, dict(facts)) for about, facts in abouts])
    except DatabaseError as error:
        log.error("%s events %s could not be written together: %s", len(abouts), kind.name, error)
        for about, facts in abouts:
            record_revocation(kind, about, now, **facts)


def _event(kind: EventKind, about: About, now: datetime, facts: dict[str, Any]) -> Event:
    traceparent = current_traceparent()
    body = canonical_json(
        {
            "v": SCHEMA_VERSION,
            "kind": kind.name,
            "at": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "actor": about.actor,
            "client_id": about.client_id,
            "user": _text(about.user_id),
            "request": _text(about.request_id),
            "grant": _text(about.grant_id),
            "traceparent": traceparent,
            "facts": facts,
        }
    ).decode()
    return Event(
        schema_version=SCHEMA_VERSION,
        kind=kind.name,
        at=now,
        actor=about.actor,
        client_id=about.client_id,
        user_id=about.user_id,
        request_id=about.request_id,
        grant_id=about.grant_id,
        traceparent=traceparent,
        body=body,
        salt=random_bytes(16),
        collapse_digest=_collapse_digest(kind, about, now, facts) if kind.refusal else None,
    )


def _collapse_digest(kind: EventKind, about: About, now: datetime, facts: dict[str, Any]) -> bytes:
    """A digest that is equal for equal refusals within the same minute, in whichever traces."""
    minute = int(now.timestamp()) // 60
    whom = [
        about.actor,
        about.client_id,
        _text(about.user_id),
        _text(about.request_id),
        _text(about.grant_id),
    ]
    return digest(canonical_json([kind.name, minute, whom, facts]).decode())


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
