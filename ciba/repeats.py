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

from django.db import connection, transaction

from ciba.hints import HintedSubject
from ciba.models import BackchannelRequest, IdempotencyKey
from ciba.parameters import BackchannelParameters
from clients.models import Agent
from foundation.canonical import canonical_json
from foundation.handles import b64url, digest
from foundation.keyring import open_sealed, seal
from oauth.requests.requested_access import RequestedAccess


@dataclass(frozen=True)
class Repeatable:
    """A request with a key, in the form that is compared with a repetition."""

    key_digest: bytes
    request_digest: str


@dataclass(frozen=True)
class Earlier:
    """The answer to this agent's earlier request under the same key."""

    request: BackchannelRequest
    auth_req_id: str
    request_digest: str


def describe(
    unverified_key: str, parameters: BackchannelParameters, named: HintedSubject | None, requested: RequestedAccess
) -> Repeatable:
    """Describes all parameters by their meaning: authentication, signature, order and spelling do
    not matter.

    The client_notification_token is left out, because each request has a new one.
    """
    compared: dict[str, Any] = {
        "hint": [named.by, named.value] if named else parameters.unverified_hint,
        "scope": sorted(requested.scope_names),
        "authorization_details": requested.authorization_details,
        "resource": requested.resource.identifier if requested.resource else None,
        "acr_values": list(parameters.acr_values),
        "binding_message": parameters.binding_message,
        "requested_expiry": parameters.requested_expiry,
        "user_code": parameters.unverified_user_code,
    }
    return Repeatable(digest(unverified_key), b64url(hashlib.sha256(canonical_json(compared)).digest()))


def find(agent: Agent, repeatable: Repeatable, now: datetime) -> Earlier | None:
    """This agent's unexpired request under this key."""
    return _open(_of(agent, repeatable).filter(expires_at__gt=now).first())


def claim(
    agent: Agent, repeatable: Repeatable, request_id: UUID, auth_req_id: str, until: datetime, now: datetime
) -> Earlier | None:
    """Claims the key for a new request, in the transaction that opens it; otherwise returns the
    request that has it.

    Of two concurrent requests the second waits here until the first has committed or failed.
    """
    stored = json.dumps({"auth_req_id": auth_req_id, "request_digest": repeatable.request_digest}).encode()
    table = IdempotencyKey._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (request_id, agent_id, key_digest, sealed_response, expires_at)"  # noqa: S608
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (agent_id, key_digest) DO UPDATE SET"
            " request_id = EXCLUDED.request_id, sealed_response = EXCLUDED.sealed_response,"
            f" expires_at = EXCLUDED.expires_at WHERE {table}.expires_at <= %s",
            [request_id, agent.pk, repeatable.key_digest, seal(stored, place=_place(request_id)), until, now],
        )
        if cursor.rowcount == 1:
            return None
    # PostgreSQL has locked the conflicting row, so no sweep deletes it before this read.
    return _open(_of(agent, repeatable).get())


def _of(agent: Agent, repeatable: Repeatable) -> Any:
    return IdempotencyKey.objects.select_related("request__agent", "request__user").filter(
        agent=agent, key_digest=repeatable.key_digest
    )


def _open(row: IdempotencyKey | None) -> Earlier | None:
    if row is None:
        return None
    return Earlier(request=row.request, **json.loads(_plain(row)))


def _plain(row: IdempotencyKey) -> bytes:
    return open_sealed(bytes(row.sealed_response), place=_place(row.request_id))


def _place(request_id: UUID) -> str:
    return f"ciba_idempotencykey:sealed_response:{request_id}"


def sweep(now: datetime, batch: int) -> int:
    """Deletes the keys of requests whose auth_req_id has expired, with the sealed answers; at most
    `batch`.
    """
    due = IdempotencyKey.objects.filter(expires_at__lte=now).order_by("expires_at").values("pk")[:batch]
    gone, _ = IdempotencyKey.objects.filter(pk__in=due, expires_at__lte=now).delete()
    return gone


@transaction.atomic(durable=True)
def reseal_all() -> int:
    """Reseals every stored answer under the first key-encryption key of the file."""
    rows = list(IdempotencyKey.objects.select_for_update())
    for row in rows:
        sealed = seal(_plain(row), place=_place(row.request_id))
        IdempotencyKey.objects.filter(pk=row.pk).update(sealed_response=sealed)
    return len(rows)
