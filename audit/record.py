"""Writing an event, in the transaction that makes it true."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from audit.events import SCHEMA_VERSION, Kind
from audit.models import Event, SetAsideEvent
from foundation.canonical import canonical_json
from foundation.handles import digest, random_bytes
from foundation.prepared import insert, insert_or_roll_back

log = logging.getLogger(__name__)

SYSTEM = "system"
TOGETHER = 500  # events in one statement


@dataclass(frozen=True)
class About:
    """Whom and what an event concerns. `actor` is who did it: `user:<id>`, `agent:<client_id>`,
    `resource:<id>` or `system`."""

    actor: str
    client_id: str = ""
    user_id: UUID | None = None
    request_id: UUID | None = None
    grant_id: UUID | None = None


def record(kind: Kind, about: About, now: datetime, **facts: Any) -> None:
    """Writes one event in the caller's transaction; without one there is nothing it could belong to.

    `facts` are JSON values; never a secret, a token, or a handle. An event that cannot be written
    raises, and the caller's transaction falls with it: no audit event, no token and no lease.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("an event is recorded inside the transaction that it belongs to")
    # ON CONFLICT DO NOTHING is for collapsed refusals only: another event must never vanish.
    insert([_event(kind, about, now, facts)], ignore_conflicts=kind.refusal)


def record_refusal(kind: Kind, about: About, now: datetime, **facts: Any) -> None:
    """`record` in a transaction of its own, for a refusal that has no other."""
    with transaction.atomic(durable=True):
        record(kind, about, now, **facts)


def record_revocation(kind: Kind, about: About, now: datetime, **facts: Any) -> None:
    """As `record`, for revoking only: where the event cannot be written it is set aside and revoking goes on."""
    event = _event(kind, about, now, facts)
    try:
        insert_or_roll_back([event])
    except DatabaseError as error:
        log.error("event %s could not be written and was set aside: %s", kind.name, error)
        SetAsideEvent.objects.create(at=now, kind=kind.name, body=event.body, problem=str(error))


def record_revocations(kind: Kind, abouts: Sequence[tuple[About, Mapping[str, Any]]], now: datetime) -> None:
    """As `record_revocation`, of many at once: in few statements where nothing stands against it."""
    for start in range(0, len(abouts), TOGETHER):
        _record_together(kind, abouts[start : start + TOGETHER], now)


def _record_together(kind: Kind, abouts: Sequence[tuple[About, Mapping[str, Any]]], now: datetime) -> None:
    try:
        insert_or_roll_back([_event(kind, about, now, dict(facts)) for about, facts in abouts])
    except DatabaseError as error:
        log.error("%s events %s could not be written together: %s", len(abouts), kind.name, error)
        for about, facts in abouts:
            record_revocation(kind, about, now, **facts)


def _event(kind: Kind, about: About, now: datetime, facts: dict[str, Any]) -> Event:
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
        body=body,
        salt=random_bytes(16),
        collapse_digest=_collapse_digest(kind, about, now, facts) if kind.refusal else None,
    )


def _collapse_digest(kind: Kind, about: About, now: datetime, facts: dict[str, Any]) -> bytes:
    """The same for equal refusals within one minute."""
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
