"""Idempotency-Key at /bc-authorize: an agent that repeats a request gets the first answer, and the
user is not prompted again.

A key belongs to one agent and one request until that request's auth_req_id expires; then the key is
free. The answer holds the auth_req_id, so it is stored sealed, with the digest of the request. A
plain digest would let a reader of the database guess the user_code in it.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from ciba.attempt import BackchannelAttempt
from ciba.models import BackchannelRequest, IdempotencyKey
from clients.models import Agent
from foundation.canonical import canonical_json
from foundation.handles import b64url, digest
from foundation.keyring import open_sealed, seal
from foundation.sealed_columns import place_of


@dataclass(frozen=True)
class EarlierRequest:
    """This agent's request under the same key, and whether it is the same request."""

    request: BackchannelRequest
    auth_req_id: str
    is_same: bool


def find(attempt: BackchannelAttempt) -> EarlierRequest | None:
    """The agent's unexpired request under the key of this one."""
    if attempt.unverified_key is None:
        return None
    row = _rows_under(attempt.unverified_key, attempt.agent).filter(expires_at__gt=attempt.now).first()
    return _open(row, attempt) if row else None


def claim(attempt: BackchannelAttempt, request_id: UUID, auth_req_id: str, until: datetime) -> EarlierRequest | None:
    """Claims the key for a new request, in the transaction that opens it; otherwise returns the
    request that has it.

    Of two concurrent requests the second waits here until the first has committed or failed.
    """
    if attempt.unverified_key is None:
        return None
    stored = json.dumps({"auth_req_id": auth_req_id, "request_digest": _request_digest(attempt)}).encode()
    sealed = seal(stored, place=_place(request_id))
    table = IdempotencyKey._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (request_id, agent_id, key_digest, sealed_response, expires_at)"  # noqa: S608
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (agent_id, key_digest) DO UPDATE SET"
            " request_id = EXCLUDED.request_id, sealed_response = EXCLUDED.sealed_response,"
            f" expires_at = EXCLUDED.expires_at WHERE {table}.expires_at <= %s",
            [request_id, attempt.agent.pk, digest(attempt.unverified_key), sealed, until, attempt.now],
        )
        if cursor.rowcount == 1:
            return None
    # PostgreSQL has locked the conflicting row, so no sweep deletes it before this read.
    return _open(_rows_under(attempt.unverified_key, attempt.agent).get(), attempt)


def _request_digest(attempt: BackchannelAttempt) -> str:
    """Covers all parameters by their meaning: authentication, signature, order and spelling do not
    matter.

    The client_notification_token is left out, because each request has a new one.
    """
    parsed, requested, hinted = attempt.parsed, attempt.requested, attempt.hinted
    compared: dict[str, Any] = {
        "hint": [hinted.by, hinted.value] if hinted else parsed.unverified_hint,
        "scope": sorted(requested.scope_names),
        "authorization_details": requested.authorization_details,
        "resource": requested.resource.identifier if requested.resource else None,
        "acr_values": list(parsed.acr_values),
        "binding_message": parsed.binding_message,
        "requested_expiry": parsed.requested_expiry,
        "user_code": parsed.unverified_user_code,
    }
    return b64url(hashlib.sha256(canonical_json(compared)).digest())


def _rows_under(unverified_key: str, agent: Agent) -> QuerySet[IdempotencyKey]:
    mine = IdempotencyKey.objects.select_related("request__agent", "request__user")
    return mine.filter(agent=agent, key_digest=digest(unverified_key))


def _open(row: IdempotencyKey, attempt: BackchannelAttempt) -> EarlierRequest:
    stored = json.loads(open_sealed(bytes(row.sealed_response), place=_place(row.request_id)))
    return EarlierRequest(row.request, stored["auth_req_id"], stored["request_digest"] == _request_digest(attempt))


def _place(request_id: UUID) -> str:
    return place_of(IdempotencyKey, "sealed_response", request_id)


def sweep(now: datetime, batch: int) -> int:
    """Deletes the keys of requests whose auth_req_id has expired, with the sealed answers; at most
    `batch`.
    """
    due = IdempotencyKey.objects.filter(expires_at__lte=now).order_by("expires_at").values("pk")[:batch]
    gone, _ = IdempotencyKey.objects.filter(pk__in=due, expires_at__lte=now).delete()
    return gone
