"""Lease figures for /metrics and /readyz.

Every series is there before its first event, with the value 0: a rule that finds no series never
fires, and a counter that appears with 1 has no increase. Without any backend, one series per figure
has an empty `backend`, which Prometheus reads like a missing label.
"""

from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Q
from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily

from credentials.backends import recovery
from credentials.leases.states import COUNTED_STATES, ENDING_STATES, FINAL_STATES, State
from credentials.models import Backend, Lease

ISSUED = Histogram(
    "countersign_lease_issue_seconds", "Seconds from the call to the backend until the account exists.", ["backend"]
)
ALARMS = Counter(
    "countersign_lease_alarms_total",
    "Handles that were unwrapped twice, accounts without a lease, and objects left behind.",
    ["kind"],
)
ALARM_KINDS = ("unwrapped twice", "orphan", "left behind")


def read_figures(now: datetime) -> list[GaugeMetricFamily]:
    leases = GaugeMetricFamily("countersign_leases", "Leases that are not confirmed gone.", labels=["backend", "state"])
    oldest = GaugeMetricFamily(
        "countersign_leases_oldest_overdue_seconds",
        "How long ago the lease ended whose account has waited longest for its revocation.",
        labels=["backend"],
    )
    orphans = GaugeMetricFamily(
        "countersign_leases_orphans", "Accounts without a lease that could not be revoked.", labels=["backend"]
    )
    failing = GaugeMetricFamily(
        "countersign_leases_backend_failing_seconds", "How long a backend has not answered.", labels=["backend"]
    )
    states = Lease.objects.exclude(state__in=FINAL_STATES).values_list("backend__name", "state").annotate(Count("id"))
    counts = {(backend, state): count for backend, state, count in states.order_by()}
    ending = Q(leases__state__in=ENDING_STATES)
    ended, over = Min("leases__ended_at", filter=ending), Min("leases__expires_at", filter=ending)
    in_service = set(Backend.objects.in_service().values_list("pk", flat=True))
    backends: Any = list(Backend.objects.annotate(oldest=ended, over=over))
    _create_counters([one.name for one in backends])
    for name in [one.name for one in backends] or [""]:
        for state in sorted(COUNTED_STATES):
            leases.add_metric([name, state], counts.get((name, state), 0))
    if not backends:
        for figure in (oldest, orphans, failing):
            figure.add_metric([""], 0)
    for one in backends:
        # A lease that cannot be revoked is overdue only after its own expiry.
        since = one.over if one.is_revocable is False else one.oldest
        oldest.add_metric([one.name], _since(since, now))
        orphans.add_metric([one.name], len(one.orphans))
        failing.add_metric([one.name], _since(one.failing_since, now) if one.pk in in_service else 0)
    return [leases, oldest, orphans, failing]


def _create_counters(backends: list[str]) -> None:
    """Creates this process's series of the counters, if they are not there yet."""
    for kind in ALARM_KINDS:
        ALARMS.labels(kind)
    for name in backends or [""]:
        ISSUED.labels(name)


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def find_worries() -> list[str]:
    """Findings that an administrator must check.

    A failing backend does not make this server unready (docs/adr).
    """
    stuck = Lease.objects.filter(state=State.STUCK).values_list("backend__name").annotate(Count("id"))
    worries = [
        f"{count} accounts of backend {name} could not be revoked; Countersign keeps trying"
        for name, count in stuck.order_by("backend__name")
    ]
    worries += [
        f"backend {one.name} has not answered since {one.failing_since:%Y-%m-%d %H:%M} UTC"
        for one in Backend.objects.in_service().exclude(failing_since=None).order_by("name")
    ]
    worries += [
        f"backend {one.name} has {len(one.orphans)} accounts that belong to no lease"
        for one in Backend.objects.exclude(orphans=[]).order_by("name")
    ]
    if recovery.is_on():
        worries.append("recovery: revocation is paused until an administrator ends the recovery (docs/operations.md)")
    return worries
