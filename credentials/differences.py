"""What backends have and what our table says: read before recovery is ended. Changes nothing."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from credentials import orphans
from credentials.engines import EngineError
from credentials.links import link_to
from credentials.models import Backend, Lease
from credentials.states import ENDING, State


@dataclass(frozen=True)
class Difference:
    """What one backend has and what our table says."""

    backend: str
    orphans: list[str]  # accounts without a lease that is alive
    gone: list[str]  # leases that we take for active, whose account is not there
    overdue: int  # leases that would be taken back as soon as recovery ends
    problem: str = ""


def find_differences(now: datetime) -> list[Difference]:
    """Reads every backend; changes nothing."""
    return [_difference(backend, now) for backend in Backend.objects.order_by("name")]


def _difference(backend: Backend, now: datetime) -> Difference:
    leases = Lease.objects.filter(backend=backend)
    overdue = leases.filter(Q(state__in=ENDING) | Q(state=State.ACTIVE, expires_at__lte=now)).count()
    try:
        with link_to(backend) as link:
            without = orphans.find_orphans(backend, link)
            there = set(link.list_owned(backend.prefix))
    except EngineError as error:
        return Difference(backend.name, [], [], overdue, str(error))
    active = leases.filter(state=State.ACTIVE).values_list("account_name", flat=True)
    return Difference(backend.name, without, sorted(set(active) - there), overdue)
