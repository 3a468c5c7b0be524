"""Leases in figures: read at /metrics, told at /readyz."""

from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Q
from prometheus_client import Counter, Gauge, Histogram

from credentials import recovery
from credentials.models import Backend, Lease
from credentials.states import ENDING, FINISHED, State

LEASES = Gauge("countersign_leases", "Leases that are not confirmed gone.", ["backend", "state"])
OLDEST = Gauge("countersign_leases_oldest_overdue_seconds", "Since when the longest ended account lives.", ["backend"])
ORPHANS = Gauge("countersign_leases_orphans", "Accounts without a lease that could not be taken back.", ["backend"])
FAILING = Gauge("countersign_leases_backend_failing_seconds", "Since when a backend does not answer.", ["backend"])
ISSUED = Histogram("countersign_lease_issue_seconds", "From the purchase to the account.", ["backend"])
ALARMS = Counter("countersign_lease_alarms_total", "Handles unwrapped twice, accounts without a lease.", ["kind"])


def collect(now: datetime) -> None:
    for gauge in (LEASES, OLDEST, ORPHANS, FAILING):
        gauge.clear()
    states = Lease.objects.exclude(state__in=FINISHED).values_list("backend__name", "state").annotate(Count("id"))
    for backend, state, count in states.order_by():
        LEASES.labels(backend, state).set(count)
    ending = Q(leases__state__in=ENDING)
    oldest, over = Min("leases__ended_at", filter=ending), Min("leases__expires_at", filter=ending)
    in_service = set(Backend.objects.in_service().values_list("pk", flat=True))
    backends: Any = Backend.objects.annotate(oldest=oldest, over=over)
    for one in backends:
        # What nothing can take back is overdue only when its own time is up.
        OLDEST.labels(one.name).set(_since(one.over if one.is_revocable is False else one.oldest, now))
        ORPHANS.labels(one.name).set(len(one.orphans))
        FAILING.labels(one.name).set(_since(one.failing_since, now) if one.pk in in_service else 0)


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def find_worries(now: datetime) -> list[str]:
    """What a person must look at. A customer's broken database makes this server no less ready (docs/adr)."""
    stuck = Lease.objects.filter(state=State.STUCK).values_list("backend__name").annotate(Count("id"))
    worries = [
        f"{count} accounts of backend {name} could not be taken back and are tried again"
        for name, count in stuck.order_by("backend__name")
    ]
    worries += [
        f"backend {one.name} does not answer since {one.failing_since:%Y-%m-%d %H:%M} UTC"
        for one in Backend.objects.in_service().exclude(failing_since=None).order_by("name")
    ]
    worries += [
        f"backend {one.name} has {len(one.orphans)} accounts that no lease accounts for"
        for one in Backend.objects.exclude(orphans=[]).order_by("name")
    ]
    if recovery.is_on():
        worries.append("recovery: nothing is taken back until it is ended (docs/operations.md)")
    return worries
