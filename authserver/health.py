"""/livez, /readyz and /metrics."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from psycopg_pool import PoolTimeout

from audit.models import SetAsideEvent
from credentials import metrics as leases
from foundation import outbox
from foundation.endpoint import json_response, protocol_endpoint
from foundation.handles import same
from foundation.metrics import exposition
from foundation.poll_throttle import get_poll_throttle
from oauth.tokens.signing_keys import find_missing_algorithms

MAX_OVERDUE_S = 60.0  # seconds; a worker or sweeper normally does the work much sooner


@protocol_endpoint("livez", "GET", "HEAD")
def livez(_request: HttpRequest) -> HttpResponse:
    """Whether the process answers."""
    return json_response({"status": "ok"})


@protocol_endpoint("readyz", "GET", "HEAD")
def readyz(_request: HttpRequest) -> HttpResponse:
    """Whether this process can do its work.

    Redis, due work and leases are only reported. A missing Redis or sweeper, or a backend that does
    not revoke, does not make this process less able to serve.
    """
    problems = find_problems()
    body: dict[str, Any] = {
        "status": "failed" if problems else "ok",
        "problems": problems,
        "leases": [] if problems else leases.find_worries(),
        "outbox": _pending_work(),
        "redis": "ok" if get_poll_throttle().reachable() else "unreachable: each process throttles polls by itself",
    }
    return json_response(body, 503 if problems else 200)


def find_problems() -> list[str]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege('audit_event', 'INSERT')")
            may_write = cursor.fetchone()
        problems = [] if may_write and may_write[0] else ["audit events cannot be written"]
        if SetAsideEvent.objects.exists():
            problems.append("audit events were set aside (docs/operations.md)")
        if find_missing_algorithms(timezone.now()):
            problems.append("there is no signing key: run manage.py rotate_keys")
    except (DatabaseError, InterfaceError, PoolTimeout):
        return ["the database cannot be reached or is not migrated"]
    return problems


def _pending_work() -> str:
    """The state of the outbox.

    It is reported and never makes the process unready: this process can still serve, and removing
    it would not help.
    """
    try:
        waited = outbox.oldest_overdue(timezone.now())
    except (DatabaseError, InterfaceError, PoolTimeout):
        return "unknown"
    return "ok" if waited <= MAX_OVERDUE_S else f"work is overdue for {waited:.0f} s: is a sweeper running?"


@protocol_endpoint("metrics", "GET")
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics for a client that sends METRICS_TOKEN as a bearer token; 404 without that
    setting.
    """
    expected = f"Bearer {settings.METRICS_TOKEN}".encode()
    supplied = request.headers.get("Authorization", "").encode()
    if not settings.METRICS_TOKEN or not same(supplied, expected):
        return json_response({"error": "not_found"}, 404)
    now = timezone.now()
    pending_work = GaugeMetricFamily(
        "countersign_outbox_oldest_overdue_seconds",
        "How long the oldest due work has waited.",
        value=outbox.oldest_overdue(now),
    )
    text = exposition([pending_work, *leases.read_figures(now)], settings.METRICS_FOLDER)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
