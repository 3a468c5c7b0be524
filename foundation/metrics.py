"""Counters for what is counted and not audited. Read at /metrics."""

from prometheus_client import Counter, Gauge

UNAUTHENTICATED = Counter(
    "countersign_unauthenticated_total", "Requests refused before anybody was known.", ["endpoint", "reason"]
)
OLDEST_OWED = Gauge("countersign_outbox_oldest_overdue_seconds", "How long the oldest due work has waited.")
ANSWERS = Counter("countersign_protocol_answers_total", "Protocol answers.", ["endpoint", "answer"])
