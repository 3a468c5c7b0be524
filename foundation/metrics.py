"""Counters for what is counted and not audited, and the figures of one moment. Read at /metrics.

Each process counts for itself. Where PROMETHEUS_MULTIPROC_DIR is set (`manage.py up` sets it), the processes of a
machine write their counters to files there, and /metrics answers with the sum, whichever process is asked.

What is read from PostgreSQL belongs to no process: it is not a Gauge object, but is read again for each scrape.
No label's value comes from a request or from an error's text: each value makes a time series that stays for good.
"""

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

UNAUTHENTICATED = Counter(
    "countersign_unauthenticated_total", "Requests refused before anybody was known.", ["endpoint", "error"]
)
ANSWERS = Counter("countersign_protocol_answers_total", "Protocol answers.", ["endpoint", "answer"])


class Figures(Collector):
    """What was read a moment ago."""

    def __init__(self, figures: Iterable[GaugeMetricFamily]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._figures


def exposition(figures: Iterable[GaugeMetricFamily], folder: str | None) -> bytes:
    """Prometheus text: the figures, and the counters of all processes that write to `folder`, or of this one alone."""
    registry = CollectorRegistry()
    registry.register(Figures(figures))
    if folder:
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(registry) + generate_latest(REGISTRY)
