"""Compares the accounts on the backends with the leases in our table, for the end of a recovery.

Changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from credentials.backends import orphans
from credentials.backends.links import link_to
from credentials.engines import EngineError
from credentials.leases.states import ENDING_STATES, State
from credentials.models import Backend, Lease


@dataclass(frozen=True)
class Difference:
    """The differences between one backend and our table."""

    backend: str
    orphans: list[str]  # accounts without a live lease
    gone: list[str]  # leases that are active in our table but have no account
    overdue: int  # leases that would be revoked as soon as the recovery ends
    problem: str = ""


def find_differences(now: datetime) -> list[Difference]:
    """Reads every backend. Changes nothing."""
    return [_difference(backend, now) for backend in Backend.objects.order_by("name")]


def _difference(backend: Backend, now: datetime) -> Difference:
    leases = Lease.objects.filter(backend=backend)
    overdue = leases.filter(Q(state__in=ENDING_STATES) | Q(state=State.ACTIVE, expires_at__lte=now)).count()
    try:
        with link_to(backend) as link:
            without = orphans.find_orphans(backend, link)
            present = set(link.list_owned(backend.prefix))
    except EngineError as error:
        return Difference(backend.name, [], [], overdue, str(error))
    active = leases.filter(state=State.ACTIVE).values_list("account_name", flat=True)
    return Difference(backend.name, without, sorted(set(active) - present), overdue)
