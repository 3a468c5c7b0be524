"""The leases of a grant, as branches of the grant tree (oauth/grants/grant_tree.py)."""

from datetime import datetime
from uuid import UUID

from credentials.leases import lifecycle, revocation
from credentials.leases.lifecycle import EndReason
from credentials.leases.states import State
from credentials.models import Lease
from oauth.grants.grant_tree import MAX_LISTED, Branch, BranchKind
from oauth.models import Grant

_UNENDED_STATES = (State.WRAPPED, State.CREATING, State.ACTIVE)


def _find(grant: Grant, _now: datetime) -> list[Branch]:
    leases = Lease.objects.filter(grant=grant).select_related("role", "backend").order_by("-created_at")[:MAX_LISTED]
    return [
        Branch(
            str(lease.id), f"{lease.role} on {lease.backend}", lease.created_at, lease.expires_at,
            lease.state not in _UNENDED_STATES, lease.state in _UNENDED_STATES,
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
    reason = EndReason.USER if actor == f"user:{grant.user_id}" else EndReason.ADMINISTRATOR
    ended = lifecycle.end(lease, reason, actor, now)
    revocation.revoke_now(lease.id)
    return ended


LEASES = BranchKind("Leases", _find, _end)
