"""How long a lease lasts, and which limit decided it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# A credential that cannot be revoked must be short-lived, and the answer says so.
MAX_NOT_REVOCABLE_LIFETIME = timedelta(minutes=15)


class LifetimeLimit(StrEnum):
    """The limit that decided `expires_at`. The answer names it."""

    REQUESTED = "requested"  # the agent requested no more
    DEFAULT = "role_default"
    ROLE = "role_maximum"
    AGENT = "agent_maximum"
    APPROVED = "approved"  # the lifetime in the authorization_details that the user approved
    GRANT = "grant"
    MAX_NOT_REVOCABLE_LIFETIME = "not_revocable"


@dataclass(frozen=True)
class Limits:
    """Durations in seconds."""

    requested: int | None
    approved: int | None
    default: int
    max_lifetime: int
    grant_ends_at: datetime
    is_revocable: bool
    agent_max: int | None = None


@dataclass(frozen=True)
class Life:
    expires_at: datetime
    max_expires_at: datetime  # no renewal goes further
    bound_by: LifetimeLimit
    max_bound_by: LifetimeLimit


def life_of(limits: Limits, now: datetime) -> Life:
    """The lifetime of a lease whose account is made now. Ties go to the limit listed first."""
    ends = [
        (now + timedelta(seconds=limits.max_lifetime), LifetimeLimit.ROLE),
        (limits.grant_ends_at, LifetimeLimit.GRANT),
    ]
    if limits.agent_max is not None:
        ends.append((now + timedelta(seconds=limits.agent_max), LifetimeLimit.AGENT))
    if limits.approved is not None:
        ends.append((now + timedelta(seconds=limits.approved), LifetimeLimit.APPROVED))
    if not limits.is_revocable:
        ends.append((now + MAX_NOT_REVOCABLE_LIFETIME, LifetimeLimit.MAX_NOT_REVOCABLE_LIFETIME))
    latest = min(ends)
    requested_limit = LifetimeLimit.DEFAULT if limits.requested is None else LifetimeLimit.REQUESTED
    return _earlier(
        now + timedelta(seconds=limits.default if limits.requested is None else limits.requested),
        requested_limit,
        latest,
    )


@dataclass(frozen=True)
class Renewal:
    """A requested renewal and its limits, in seconds: those of the lease, and the current ones."""

    seconds: int
    requested_limit: LifetimeLimit
    created_at: datetime
    max_expires_at: datetime
    max_bound_by: LifetimeLimit
    max_lifetime: int
    agent_max: int | None = None


def renewed_life(renewal: Renewal, now: datetime) -> Life:
    """The new lifetime, from now on.

    It never exceeds the lease's own maximum or the current maximum of its role or agent.

    Ties go to the limit listed first.
    """
    ends = [
        (renewal.max_expires_at, renewal.max_bound_by),
        (renewal.created_at + timedelta(seconds=renewal.max_lifetime), LifetimeLimit.ROLE),
    ]
    if renewal.agent_max is not None:
        ends.append((renewal.created_at + timedelta(seconds=renewal.agent_max), LifetimeLimit.AGENT))
    latest = min(ends, key=lambda end: end[0])
    return _earlier(now + timedelta(seconds=renewal.seconds), renewal.requested_limit, latest)


def _earlier(requested_end: datetime, requested_limit: LifetimeLimit, latest: tuple[datetime, LifetimeLimit]) -> Life:
    end, bound = latest
    return Life(min(requested_end, end), end, requested_limit if requested_end <= end else bound, bound)
