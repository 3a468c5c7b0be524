"""The statements that every issue and every revoke sends, put into SQL once (foundation/prepared.py).

Only lifecycle calls those that write.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Q

from credentials.models import Backend, Lease
from credentials.states import COUNTED, ENDING, State, sources
from foundation.prepared import Given, Rows, Update, names_of

_IS_GIVEN = {"pk": Given("lease"), "claimed_until": Given("claimed_until")}

LOCK_BACKEND = Rows(lambda: Backend.objects.select_for_update(no_key=True, of=("self",)).filter(pk=Given("backend")))
ACTIVATE = Update(
    lambda: Lease.objects.entitled(Given("now")).filter(
        **_IS_GIVEN, state__in=sources(State.ACTIVE), expires_at__gt=Given("now")
    ),
    state=State.ACTIVE,
    issued_at=Given("now"),
    claimed_until=None,
)


def _end(only: Q) -> Update:
    return Update(
        lambda: Lease.objects.filter(only, pk=Given("lease"), state__in=sources(State.REVOKING)),
        state=State.REVOKING,
        due_at=Given("now"),
        attempts=0,
        problem="",
        ended_at=Given("now"),
        ended_why=Given("why"),
        ended_by=Given("actor"),
    )


END = _end(Q())
END_UNCLAIMED = _end(Q(claimed_until__lte=Given("now")))

FIND_ENDING = Rows(
    lambda: (
        Lease.objects.select_related("agent", "role", "backend")
        .only(*names_of(Lease), *names_of(Backend, "backend__"), "agent__client_id", "agent__name", "role__name")
        .filter(pk=Given("lease"), state__in=ENDING)
    )
)
# One lease, as it was just read.
CLAIM_TO_TAKE_BACK = Update(
    lambda: Lease.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lte=Given("now")),
        pk=Given("lease"),
        state=Given("state"),
        attempts=Given("attempts"),
        due_at__lte=Given("now"),
    ),
    claimed_until=Given("until"),
    attempts=F("attempts") + 1,
)
REVOKED = Update(
    lambda: Lease.objects.filter(**_IS_GIVEN, state__in=ENDING),
    state=State.REVOKED,
    revoked_at=Given("now"),
    claimed_until=None,
    due_at=None,
    problem="",
)


@dataclass(frozen=True)
class Counts:
    """What the quotas and the policy of a purchase ask, at one moment."""

    of_backend: int
    of_role: int
    of_agent: int
    of_person: int
    of_agent_in_role: int
    of_person_in_role: int
    bought_in_last_minute: int
    role_is_active: bool
    is_recovering: bool


def lock_holders(agent: int, user: UUID | None) -> None:
    """The agent, and the person, as holders of leases of several backends; until the transaction ends.

    Not their rows: who stops an agent locks its row first and its grants after, and a purchase has the grant already.
    """
    names = [f"leases of agent {agent}"] + ([f"leases of person {user}"] if user else [])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(%s::text[]) AS name", [names]
        )


def count(*, backend: UUID, role: UUID, agent: int, user: UUID | None, now: datetime) -> Counts:
    """Under the locks that other purchases wait for: the counts are exact.

    What is being taken back counts where it is: over all roles a dead backend must not use up what its holders may have
    elsewhere.
    """
    values: dict[str, Any] = {
        "backend": backend, "role": role, "agent": agent, "user": user, "counted": sorted(COUNTED),
        "ending": sorted(ENDING), "since": now - timedelta(minutes=1),
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
