"""Counters of events that are not audited, and gauges read from PostgreSQL. Served at /metrics.

Each process counts for itself. If PROMETHEUS_MULTIPROC_DIR is set (`manage.py up` sets it), all
processes of a machine write their counters to files in that folder, and /metrics of any process
returns the sum.

Values from PostgreSQL belong to no process. They are not Gauge objects; every scrape reads them
again. No label value comes from a request or from an error's text, because each value creates a
time series that is never removed.
"""

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

UNAUTHENTICATED = Counter(
    "countersign_unauthenticated_total", "Requests refused before the caller was known.", ["endpoint", "error"]
)
ANSWERS = Counter("countersign_protocol_answers_total", "Responses of the protocol endpoints.", ["endpoint", "answer"])


class Figures(Collector):
    """A collector of values that were read for this scrape."""

    def __init__(self, figures: Iterable[GaugeMetricFamily]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._figures


def exposition(figures: Iterable[GaugeMetricFamily], folder: str | None) -> bytes:
    """Prometheus text: the figures, and the counters of every process that writes to `folder`.

    Without a folder it has only this process's counters.
    """
    # A rule or a dashboard finds both counters before the first request.
    ANSWERS.labels("metrics", 200)
    UNAUTHENTICATED.labels("token", "invalid_client")
    registry = CollectorRegistry()
    registry.register(Figures(figures))
    if folder:
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(registry) + generate_latest(REGISTRY)
