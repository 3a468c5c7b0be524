"""Counters for what is counted and not audited. Read at /metrics."""

from prometheus_client import Counter

UNAUTHENTICATED = Counter(
    "countersign_unauthenticated_total", "Requests refused before anybody was known.", ["endpoint", "reason"]
)
ANSWERS = Counter("countersign_protocol_answers_total", "Protocol answers.", ["endpoint", "answer"])
