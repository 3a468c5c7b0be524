"""The leases of a grant, as branches of its tree (oauth/tree.py)."""

from datetime import datetime
from uuid import UUID

from credentials import lifecycle, taking_back
from credentials.lifecycle import Why
from credentials.models import Lease
from credentials.states import State
from oauth.models import Grant
from oauth.tree import MOST, Branch, Kind

_RUNNING = (State.WRAPPED, State.CREATING, State.ACTIVE)


def _find(grant: Grant, now: datetime) -> list[Branch]:
    leases = Lease.objects.filter(grant=grant).select_related("role", "backend").order_by("-created_at")[:MOST]
    return [
        Branch(
            str(lease.id), f"{lease.role} on {lease.backend}", lease.created_at, lease.expires_at,
            lease.state not in _RUNNING, lease.state in _RUNNING,
        )
        for lease in leases
    ]  # fmt: skip


def _end(grant: Grant, branch_id: str, actor: str, now: datetime) -> bool:
    try:
        lease = Lease.objects.select_related("agent", "role").filter(pk=UUID(branch_id), grant=grant).first()
    except ValueError:
        return False
    if lease is None:
        return False
    why = Why.PERSON if actor == f"user:{grant.user_id}" else Why.ADMINISTRATOR
    ended = lifecycle.end(lease, why, actor, now)
    taking_back.take_back_now(lease.id)
    return ended


LEASES = Kind("Accounts on lease", _find, _end)
