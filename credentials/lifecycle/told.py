"""What the use cases of a lease share: why one ended, and what every event says of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from audit import events
from audit.record import About, record_refusal
from credentials.models import Lease
from foundation.errors import ProtocolError
from foundation.handles import digest
from oauth.models import Grant


class Why(StrEnum):
    """Why a lease ended."""

    EXPIRED = "expired"
    ENTITLEMENT = "no longer entitled"  # grant, agent, person or resource
    AGENT = "given back"
    PERSON = "ended by person"
    ADMINISTRATOR = "ended by admin"
    FAILED = "not created"
    UNWRAPPED_TWICE = "unwrapped twice"
    NOT_UNWRAPPED = "not unwrapped"


def fingerprint(password: str) -> str:
    """What the record keeps of a password, which is kept nowhere: whose is one that turns up somewhere?

    Of 256 random bits, so that nothing is found from it.
    """
    return digest(password).hex()[:16]


def refuse(agent_id: str, grant: Grant | None, role: str, error: ProtocolError, now: datetime) -> None:
    about = about_grant(grant) if grant else About(f"agent:{agent_id}", client_id=agent_id)
    record_refusal(events.LEASE_REFUSED, about, now, role=role, error=error.code)


def actor_of(lease: Lease) -> str:
    return f"agent:{lease.agent.client_id}"


def about_lease(lease: Lease, actor: str) -> About:
    return About(actor, lease.agent.client_id, lease.user_id, lease.request_id, lease.grant_id)


def about_grant(grant: Grant) -> About:
    client_id = grant.agent.client_id
    return About(f"agent:{client_id}", client_id, grant.user_id, grant.request_id, grant.id)


def facts_of(lease: Lease) -> dict[str, Any]:
    """What every event of a lease says; `agent` and `headline` are what the person reads of it."""
    return {
        "lease": str(lease.id),
        "role": lease.role.name,
        "account": lease.account_name,
        "operation_digest": lease.operation_digest,
        "agent": lease.agent.name,
        "headline": lease.role.name,
    }
