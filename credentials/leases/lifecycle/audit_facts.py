"""Shared by the use cases of a lease: the end reasons, and the facts of every event."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from audit import events
from audit.record import About, record_alone
from credentials.models import Lease
from foundation.errors import ProtocolError
from foundation.handles import digest
from oauth.models import Grant


class EndReason(StrEnum):
    """Why a lease ended."""

    EXPIRED = "expired"
    ENTITLEMENT = "no longer entitled"  # grant, agent, user or resource is no longer active
    AGENT = "revoked by agent"
    USER = "revoked by user"
    ADMINISTRATOR = "revoked by administrator"
    FAILED = "not created"
    UNWRAPPED_TWICE = "unwrapped twice"
    NOT_UNWRAPPED = "not unwrapped"


def fingerprint(password: str) -> str:
    """A digest of a password that is stored nowhere, so that a leaked password can be traced to its
    lease.

    The password has 256 random bits, so the digest does not reveal it.
    """
    return digest(password).hex()[:16]


def refuse(agent_id: str, grant: Grant | None, role: str, error: ProtocolError, now: datetime) -> None:
    about = about_grant(grant) if grant else About(f"agent:{agent_id}", client_id=agent_id)
    record_alone(events.LEASE_REFUSED, about, now, role=role, error=error.code)


def actor_of(lease: Lease) -> str:
    return f"agent:{lease.agent.client_id}"


def about_lease(lease: Lease, actor: str) -> About:
    return About(actor, lease.agent.client_id, lease.user_id, lease.request_id, lease.grant_id)


def about_grant(grant: Grant) -> About:
    client_id = grant.agent.client_id
    return About(f"agent:{client_id}", client_id, grant.user_id, grant.request_id, grant.id)


def facts_of(lease: Lease) -> dict[str, Any]:
    """The facts of every lease event. The user reads `agent` and `headline`."""
    return {
        "lease": str(lease.id),
        "role": lease.role.name,
        "account": lease.account_name,
        "operation_digest": lease.operation_digest,
        "agent": lease.agent.name,
        "headline": lease.role.name,
    }
