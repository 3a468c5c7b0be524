"""How long a lease lives, and which limit said so. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# What cannot be taken back must be short, and is said to be so.
NOT_REVOCABLE = timedelta(minutes=15)


class Bound(StrEnum):
    """The limit that `expires_at` comes from; the answer names it."""

    ASKED = "asked"  # the agent wanted no more
    DEFAULT = "role_default"
    LONGEST = "role_longest"
    AGENT = "agent_longest"
    APPROVED = "approved"  # the lifetime in the authorization_details that the person saw
    GRANT = "grant"
    NOT_REVOCABLE = "not_revocable"


@dataclass(frozen=True)
class Limits:
    """Durations in seconds."""

    asked: int | None
    approved: int | None
    default: int
    longest: int
    grant_ends_at: datetime
    is_revocable: bool
    agent_longest: int | None = None


@dataclass(frozen=True)
class Life:
    expires_at: datetime
    max_expires_at: datetime  # no renewal goes beyond
    bound_by: Bound
    most_bound_by: Bound


def life_of(limits: Limits, now: datetime) -> Life:
    """Of a lease whose account is made now. Of equal limits the first named counts."""
    ends = [
        (now + timedelta(seconds=limits.longest), Bound.LONGEST),
        (limits.grant_ends_at, Bound.GRANT),
    ]
    if limits.agent_longest is not None:
        ends.append((now + timedelta(seconds=limits.agent_longest), Bound.AGENT))
    if limits.approved is not None:
        ends.append((now + timedelta(seconds=limits.approved), Bound.APPROVED))
    if not limits.is_revocable:
        ends.append((now + NOT_REVOCABLE, Bound.NOT_REVOCABLE))
    most = min(ends)
    wish = Bound.DEFAULT if limits.asked is None else Bound.ASKED
    return _earlier(now + timedelta(seconds=limits.default if limits.asked is None else limits.asked), wish, most)


@dataclass(frozen=True)
class Renewal:
    """What a renewal asks for, and its limits: those that the lease was given, and those of by now, in seconds."""

    seconds: int
    wish: Bound
    created_at: datetime
    max_expires_at: datetime
    most_bound_by: Bound
    longest: int
    agent_longest: int | None = None


def renewed_life(renewal: Renewal, now: datetime) -> Life:
    """From now on, never beyond what the lease was given at the most, nor what its role or agent may have by now.

    Of equal limits the first named counts.
    """
    ends = [
        (renewal.max_expires_at, renewal.most_bound_by),
        (renewal.created_at + timedelta(seconds=renewal.longest), Bound.LONGEST),
    ]
    if renewal.agent_longest is not None:
        ends.append((renewal.created_at + timedelta(seconds=renewal.agent_longest), Bound.AGENT))
    most = min(ends, key=lambda end: end[0])
    return _earlier(now + timedelta(seconds=renewal.seconds), renewal.wish, most)


def _earlier(wanted: datetime, wish: Bound, most: tuple[datetime, Bound]) -> Life:
    end, bound = most
    return Life(min(wanted, end), end, wish if wanted <= end else bound, bound)
