"""The statements of every issue and every revocation, compiled to SQL once
(foundation/compiled_queries.py).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Q

from credentials.leases.states import COUNTED_STATES, ENDING_STATES, LEASE_STATES, State
from credentials.models import Backend, Lease, LeaseQuerySet
from foundation.compiled_queries import CompiledQuery, CompiledUpdate, Parameter, names_of

_IS_SET = {"pk": Parameter("lease"), "claimed_until": Parameter("claimed_until")}

LOCK_BACKEND = CompiledQuery(
    lambda: Backend.objects.select_for_update(no_key=True, of=("self",)).filter(pk=Parameter("backend"))
)
ACTIVATE = CompiledUpdate(
    lambda: LEASE_STATES.movable(
        Lease.objects.entitled(Parameter("now")).filter(**_IS_SET, expires_at__gt=Parameter("now")), State.ACTIVE
    ),
    state=State.ACTIVE,
    issued_at=Parameter("now"),
    claimed_until=None,
)


def _end(only: Q) -> CompiledUpdate:
    return CompiledUpdate(
        lambda: LEASE_STATES.movable(Lease.objects.filter(only, pk=Parameter("lease")), State.REVOKING),
        state=State.REVOKING,
        due_at=Parameter("now"),
        attempts=0,
        problem="",
        ended_at=Parameter("now"),
        end_reason=Parameter("reason"),
        ended_by=Parameter("actor"),
    )


END = _end(Q())
END_UNCLAIMED = _end(Q(claimed_until__lte=Parameter("now")))


# What a sweeper looks for every second; `batch` is the maximum number of rows.
@cache
def find_expired(batch: int) -> CompiledQuery[Lease]:
    """Locks the active leases whose time is over."""
    return CompiledQuery(lambda: _lock_active().filter(expires_at__lte=Parameter("now")).order_by("expires_at")[:batch])


@cache
def find_not_entitled(batch: int) -> CompiledQuery[Lease]:
    """Locks the other active leases whose grant is no longer alive."""
    return CompiledQuery(
        lambda: (
            _lock_active().not_entitled(Parameter("now")).filter(expires_at__gt=Parameter("now")).order_by("id")[:batch]
        )
    )


@cache
def find_unfinished(batch: int) -> CompiledQuery[Lease]:
    """Leases without an account whose time is over."""
    unfinished = Q(state__in=[State.WRAPPED, State.CREATING], claimed_until__lte=Parameter("now"))
    return CompiledQuery(
        lambda: Lease.objects.select_related("agent", "role").filter(unfinished).order_by("claimed_until")[:batch]
    )


def _lock_active() -> LeaseQuerySet:
    active = Lease.objects.filter(state=State.ACTIVE).select_related("agent", "role")
    return active.select_for_update(skip_locked=True, of=("self",))


FIND_ENDING = CompiledQuery(
    lambda: (
        Lease.objects.select_related("agent", "role", "backend")
        .only(*names_of(Lease), *names_of(Backend, "backend__"), "agent__client_id", "agent__name", "role__name")
        .filter(pk=Parameter("lease"), state__in=ENDING_STATES)
    )
)
# For one lease that was just read.
CLAIM_DUE = CompiledUpdate(
    lambda: Lease.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lte=Parameter("now")),
        pk=Parameter("lease"),
        state=Parameter("state"),
        attempts=Parameter("attempts"),
        due_at__lte=Parameter("now"),
    ),
    claimed_until=Parameter("until"),
    attempts=F("attempts") + 1,
)
REVOKED = CompiledUpdate(
    lambda: LEASE_STATES.movable(Lease.objects.filter(**_IS_SET), State.REVOKED, leaving=ENDING_STATES),
    state=State.REVOKED,
    revoked_at=Parameter("now"),
    claimed_until=None,
    due_at=None,
    problem="",
)


@dataclass(frozen=True)
class Counts:
    """The counts that the quotas and the policy of a lease request need, at one moment."""

    of_backend: int
    of_role: int
    of_agent: int
    of_user: int
    of_agent_in_role: int
    of_user_in_role: int
    requested_in_last_minute: int
    role_is_active: bool
    is_recovering: bool


def lock_agent_and_user(agent: int, user: UUID | None) -> None:
    """Locks the agent and the user, as holders of leases on several backends, until the transaction
    ends.

    Their rows are not locked: stopping an agent locks its row first and its grants after, and a
    lease request has already locked the grant.
    """
    names = [f"leases of agent {agent}"] + ([f"leases of user {user}"] if user else [])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(%s::text[]) AS name", [names]
        )


def count(*, backend: UUID, role: UUID, agent: int, user: UUID | None, now: datetime) -> Counts:
    """The counts, under the locks of the lease request, so they are exact.

    Leases that are being revoked count against their own backend only, so that an unreachable
    backend does not use up its holders' quota elsewhere.
    """
    values: dict[str, Any] = {
        "backend": backend, "role": role, "agent": agent, "user": user, "counted": sorted(COUNTED_STATES),
        "ending": sorted(ENDING_STATES), "since": now - timedelta(minutes=1),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        return Counts(*cursor.fetchone())


_COUNT = """
SELECT count(*) FILTER (WHERE backend_id = %(backend)s),
       count(*) FILTER (WHERE role_id = %(role)s),
       count(*) FILTER (WHERE agent_id = %(agent)s AND is_held),
       count(*) FILTER (WHERE user_id = %(user)s AND is_held),
       count(*) FILTER (WHERE role_id = %(role)s AND agent_id = %(agent)s),
       count(*) FILTER (WHERE role_id = %(role)s AND user_id = %(user)s),
       (SELECT count(*) FROM credentials_lease WHERE agent_id = %(agent)s AND created_at > %(since)s),
       EXISTS (SELECT FROM credentials_role WHERE id = %(role)s AND is_active),
       EXISTS (SELECT FROM credentials_recovery WHERE ended_at IS NULL)
  FROM credentials_lease, LATERAL (SELECT backend_id = %(backend)s OR state <> ALL(%(ending)s)) AS held (is_held)
 WHERE (backend_id = %(backend)s OR agent_id = %(agent)s OR user_id = %(user)s) AND state = ANY(%(counted)s)
"""
