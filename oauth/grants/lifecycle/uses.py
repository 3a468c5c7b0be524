"""The uses of a grant: spent once each under the grant's row lock, and refunded."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from django.db import transaction

from audit import events
from audit.record import SYSTEM, About, record
from foundation.compiled_queries import CompiledQuery, CompiledUpdate, Parameter, names_of
from foundation.handles import digest, new_id
from foundation.inserts import insert
from foundation.transactions import inside_transaction
from oauth.errors import InvalidToken, OperationMismatch, UsedUp
from oauth.grants.use_policy import UseFacts, UseVerdict, judge_use
from oauth.models import (
    Grant,
    Use,
    not_revoked,
)
from operations.models import Resource


@dataclass(frozen=True)
class UseCall:
    """The call that a resource server is about to carry out."""

    grant_id: UUID
    operation_digest: str
    idempotency_key: str | None
    jti: str = ""  # the call's token, if the caller has not checked whether it was revoked


@transaction.atomic(durable=True)
def use(called: UseCall, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant.

    A refusal is returned after its event was written; the caller raises it after the commit.
    """
    return spend(called, resource, now)


_LOCKED = CompiledQuery(
    lambda: (
        Grant.objects.select_for_update(of=("self",))
        .select_related("agent")
        # An agent has sixty columns, and every use and every lease runs this query.
        .only(*names_of(Grant), "agent__client_id", "agent__name", "agent__max_lease_lifetime", "agent__max_leases")
        .filter(pk=Parameter("grant"))
    )
)
_ALIVE = CompiledQuery(lambda: Grant.objects.alive(Parameter("now")).filter(pk=Parameter("grant")).values_list("pk"))
_ALIVE_BY_TOKEN = CompiledQuery(
    lambda: (
        Grant.objects.alive(Parameter("now"))
        .filter(not_revoked(Parameter("jti_digest")), pk=Parameter("grant"))
        .values_list("pk")
    )
)
_FIRST = CompiledQuery(
    lambda: Use.objects.filter(grant=Parameter("grant"), idempotency_digest=Parameter("idempotency_digest"))
)
_SET_USES_LEFT = CompiledUpdate(lambda: Grant.objects.filter(pk=Parameter("grant")), uses_left=Parameter("uses_left"))


def lock_grant(grant_id: UUID) -> Grant | None:
    """Locks the grant and reads its agent's names. Runs in the caller's transaction."""
    return _LOCKED.first(grant=grant_id)


def spend(called: UseCall, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use under the grant's row lock: of two concurrent calls for the last use, one
    wins.
    """
    inside_transaction("this use case")
    grant = lock_grant(called.grant_id)
    if grant is None or grant.resource_id != resource.pk:
        return InvalidToken()
    return spend_locked(grant, called, now)


def spend_locked(grant: Grant, called: UseCall, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant that the caller has locked.

    A lease request uses this to spend the use and store the lease in one transaction.
    """
    inside_transaction("this use case")
    key = digest(called.idempotency_key) if called.idempotency_key else None
    first = _FIRST.first(grant=grant.pk, idempotency_digest=key) if key else None
    facts = UseFacts(
        grant_is_alive=_is_alive(grant, called, now),
        granted_digest=grant.operation_digest,
        called_digest=called.operation_digest,
        uses_left=grant.uses_left,
        is_repeat=first is not None,
    )
    about = About(f"resource:{grant.resource_id}", grant.agent.client_id, grant.user_id, grant.request_id, grant.id)
    match judge_use(facts):
        case UseVerdict.SPEND:
            return _spend(grant, called, key, about, now)
        case UseVerdict.REPEAT if first is not None:
            return first
        case UseVerdict.DEAD | UseVerdict.REPEAT:
            refusal: InvalidToken | OperationMismatch | UsedUp = InvalidToken()
        case UseVerdict.MISMATCH:
            refusal = OperationMismatch()
        case UseVerdict.USED_UP:
            refusal = UsedUp()
        case verdict:
            assert_never(verdict)
    record(
        events.USE_REFUSED, about, now,
        error=refusal.code, types=_types(grant), granted=grant.operation_digest, called=called.operation_digest,
    )  # fmt: skip
    return refusal


def _is_alive(grant: Grant, called: UseCall, now: datetime) -> bool:
    """Checked after the lock was acquired, because the wait may have been long."""
    if called.jti:
        return _ALIVE_BY_TOKEN.any(grant=grant.pk, jti_digest=digest(called.jti), now=now)
    return _ALIVE.any(grant=grant.pk, now=now)


def _spend(grant: Grant, called: UseCall, key: bytes | None, about: About, now: datetime) -> Use:
    if grant.uses_left is not None:
        grant.uses_left -= 1
        _SET_USES_LEFT(grant=grant.pk, uses_left=grant.uses_left)
    made = Use(
        id=new_id(),
        grant=grant,
        operation_digest=called.operation_digest,
        uses_left=grant.uses_left,
        idempotency_digest=key,
        at=now,
    )
    insert([made])
    record(
        events.USE_SPENT, about, now,
        use=str(made.id), types=_types(grant), operation_digest=made.operation_digest, uses_left=made.uses_left,
    )  # fmt: skip
    return made


def refund_use(use_id: UUID, now: datetime) -> bool:
    """Refunds a use that came to nothing, once. Runs in the caller's transaction."""
    inside_transaction("this use case")
    made = Use.objects.filter(pk=use_id).first()
    if made is None:
        return False
    grant = Grant.objects.select_for_update(of=("self",)).select_related("agent").get(pk=made.grant_id)
    if not Use.objects.filter(pk=use_id).delete()[0]:
        return False
    if grant.uses_left is not None:
        grant.uses_left += 1
        grant.save(update_fields=["uses_left"])
    about = About(SYSTEM, grant.agent.client_id, grant.user_id, grant.request_id, grant.id)
    record(events.USE_REFUNDED, about, now, use=str(use_id), types=_types(grant), uses_left=grant.uses_left)
    return True


def _types(grant: Grant) -> list[str]:
    return [one["type"] for one in grant.authorization_details]
