"""The use cases of grants: make, spend a use, revoke. The only module that writes `uses_left` and `revoked_at`."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from django.db import connection, transaction

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from clients.models import Agent
from foundation.canonical import operation_digest
from foundation.handles import digest, new_id
from oauth.errors import InvalidToken, OperationMismatch, UsedUp
from oauth.models import Grant, Use
from oauth.requesting import Requested
from oauth.spending import UseFacts, UseVerdict, judge_use
from operations.models import Resource


def requested_digest(requested: Requested, agent: Agent, user: User | None) -> str:
    """The operation digest of what is asked for, the same as of the grant that may come of it."""
    return operation_digest(
        authorization_details=requested.authorization_details,
        client_id=agent.client_id,
        resource=requested.resource.identifier if requested.resource else None,
        sub=user.sub if user else agent.client_id,
    )


def make_unasked_grant(agent: Agent, requested: Requested, now: datetime, expires_at: datetime) -> Grant:
    """A grant without a person: routine operations of an agent on its own behalf. Not counted."""
    return Grant.objects.create(
        id=new_id(),
        agent=agent,
        resource=requested.resource,
        scopes=requested.scope_names,
        authorization_details=requested.authorization_details,
        operation_digest=requested_digest(requested, agent, None),
        created_at=now,
        expires_at=expires_at,
    )


def revoke_grants_between(agent: Agent, user: User, now: datetime) -> int:
    """Ends everything that a person granted to an agent. Takes part in the caller's transaction."""
    _assert_in_transaction()
    ids = list(
        Grant.objects.filter(agent=agent, user=user, revoked_at=None, expires_at__gt=now)
        .order_by("id")
        .select_for_update()
        .values_list("id", flat=True)
    )
    return sum(revoke_grant(grant_id, agent, user, now) for grant_id in ids)


def revoke_grant(grant_id: UUID, agent: Agent, user: User, now: datetime, *, actor: str = "") -> int:
    """Ends one grant; once. Takes part in the caller's transaction."""
    _assert_in_transaction()
    revoked = Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=now)
    if revoked:
        about = About(actor or f"user:{user.id}", agent.client_id, user.id, grant_id=grant_id)
        record_revocation(events.GRANT_REVOKED, about, now)
    return revoked


@dataclass(frozen=True)
class Called:
    """A resource server's word on the call that it is about to carry out."""

    grant_id: UUID
    operation_digest: str
    idempotency_key: str | None


@transaction.atomic(durable=True)
def use(called: Called, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Spends one use of a grant. A refusal is returned, with its event written; the caller raises it after."""
    return spend(called, resource, now)


def spend(called: Called, resource: Resource, now: datetime) -> Use | InvalidToken | OperationMismatch | UsedUp:
    """Under the grant's row lock: of two at once on the last one, one wins.

    Takes part in the caller's transaction, as who sells a lease does: the use and what it bought are one.
    """
    _assert_in_transaction()
    grant = Grant.objects.select_for_update(of=("self",)).select_related("agent").filter(pk=called.grant_id).first()
    if grant is None or grant.resource_id != resource.pk:
        return InvalidToken()
    key = digest(called.idempotency_key) if called.idempotency_key else None
    first = Use.objects.filter(grant=grant, idempotency_digest=key).first() if key else None
    facts = UseFacts(
        grant_is_alive=Grant.objects.alive(now).filter(pk=grant.pk).exists(),
        granted_digest=grant.operation_digest,
        called_digest=called.operation_digest,
        uses_left=grant.uses_left,
        is_repeat=first is not None,
    )
    about = About(f"resource:{resource.id}", grant.agent.client_id, grant.user_id, grant.request_id, grant.id)
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


def _spend(grant: Grant, called: Called, key: bytes | None, about: About, now: datetime) -> Use:
    if grant.uses_left is not None:
        grant.uses_left -= 1
        grant.save(update_fields=["uses_left"])
    made = Use.objects.create(
        id=new_id(),
        grant=grant,
        operation_digest=called.operation_digest,
        uses_left=grant.uses_left,
        idempotency_digest=key,
        at=now,
    )
    record(
        events.USE_SPENT, about, now,
        use=str(made.id), types=_types(grant), operation_digest=made.operation_digest, uses_left=made.uses_left,
    )  # fmt: skip
    return made


def give_back(use_id: UUID, now: datetime) -> bool:
    """A use that bought nothing in the end is as if it had not been spent; once. In the caller's transaction."""
    _assert_in_transaction()
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
    record(events.USE_GIVEN_BACK, about, now, use=str(use_id), types=_types(grant), uses_left=grant.uses_left)
    return True


def _types(grant: Grant) -> list[str]:
    return [one["type"] for one in grant.authorization_details]


def _assert_in_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("this takes part in a transaction of its caller")
