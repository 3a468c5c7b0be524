"""The end of a grant, with everything that belongs to it."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record_revocation, record_revocations
from clients.models import Agent
from foundation.transactions import inside_transaction
from oauth.models import (
    Grant,
)


def end_replayed(grant: Grant, what: str, now: datetime) -> None:
    """Ends a grant, with everything that belongs to it, because a code or token of it was presented
    twice.
    """
    revoke_grant(grant.id, grant.agent, grant.user, now, actor=SYSTEM, reason=f"{what} was used twice")


def revoke_grants_between(agent: Agent, user: User, now: datetime) -> int:
    """Ends all grants of one user to one agent. Runs in the caller's transaction."""
    inside_transaction("this use case")
    ids = list(
        Grant.objects.filter(agent=agent, user=user, revoked_at=None, expires_at__gt=now)
        .order_by("id")
        .select_for_update()
        .values_list("id", flat=True)
    )
    return sum(revoke_grant(grant_id, agent, user, now) for grant_id in ids)


@transaction.atomic(durable=True)
def revoke_grants_of(agent: Agent, now: datetime, *, actor: str) -> int:
    """Ends all grants of an agent, of every user."""
    grants = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).select_related("user")
    locked = list(grants.order_by("id").select_for_update(of=("self",)))
    return sum(revoke_grant(grant.pk, agent, grant.user, now, actor=actor) for grant in locked)


def end_grants_of(agent: Agent, actor: str, reason: str, now: datetime) -> None:
    """Ends all grants of an agent in the caller's transaction.

    Uses few statements, because an agent may hold very many grants.
    """
    inside_transaction("this use case")
    held = Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).order_by("id").select_for_update()
    grants = list(held.values_list("id", "user_id", "request_id"))
    Grant.objects.filter(pk__in=[grant_id for grant_id, *_ in grants]).update(revoked_at=now)
    facts = {"agent": agent.name, "reason": reason}
    abouts = [About(actor, agent.client_id, user_id, request_id, grant_id) for grant_id, user_id, request_id in grants]
    record_revocations(events.GRANT_REVOKED, [(about, facts) for about in abouts], now)


def revoke_grant(
    grant_id: UUID, agent: Agent, user: User | None, now: datetime, *, actor: str = "", reason: str = ""
) -> int:
    """Ends one grant, once, with everything that belongs to it.

    Runs in the caller's transaction.
    """
    inside_transaction("this use case")
    revoked = Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=now)
    if revoked:
        user_id = user.id if user else None
        about = About(actor or f"user:{user_id}", agent.client_id, user_id, grant_id=grant_id)
        record_revocation(events.GRANT_REVOKED, about, now, agent=agent.name, **({"reason": reason} if reason else {}))
    return revoked
