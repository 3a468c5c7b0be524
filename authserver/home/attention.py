"""What needs someone now: one table of checks, each with the list that shows the rows it counts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import User
from audit.models import SetAsideEvent
from authserver.home.figures import Figure, count_rows, make_figure
from ciba.callbacks.state import KIND as CALLBACK
from ciba.models import BackchannelRequest
from clients import ending_certificates
from credentials.leases.states import State
from credentials.models import Backend, Lease, Recovery
from foundation.models import Work
from oauth.models import SigningKey
from oauth.tokens import signing_keys

WAITED = timedelta(minutes=1)
RECENT = timedelta(days=1)
OLD_KEY = timedelta(days=365)


@dataclass(frozen=True)
class Check:
    """`one` and `many` follow the number in a sentence. `query` selects the counted rows in the list of `model`."""

    permission: str
    model: str
    one: str
    many: str
    count: Callable[[datetime], Figure]
    query: Callable[[datetime], dict[str, Any]] = lambda _now: {}

    def find(self, now: datetime) -> "Concern | None":
        figure = self.count(now)
        if not figure:
            return None
        text = self.one if (figure.count, figure.is_more) == (1, False) else self.many
        url = reverse(f"admin:{self.model}_changelist")
        return Concern(figure, text, f"{url}?{urlencode(query)}" if (query := self.query(now)) else url)


@dataclass(frozen=True)
class Concern:
    figure: Figure
    text: str
    url: str


def find_concerns(user: User, now: datetime) -> list[Concern]:
    """What this member of staff may see of it, the most urgent first."""
    found = (check.find(now) for check in CHECKS if user.has_perm(check.permission))
    return [concern for concern in found if concern is not None]


def _rows(select: Callable[[datetime], QuerySet[Any]]) -> Callable[[datetime], Figure]:
    return lambda now: count_rows(select(now))


def _abandoned_callbacks(now: datetime) -> QuerySet[Work]:
    return Work.objects.filter(kind=CALLBACK, state=Work.State.ABANDONED, finished_at__gte=now - RECENT)


CHECKS = (
    Check(
        "audit.view_setasideevent", "audit_setasideevent",
        "event could not be written to the audit log and was set aside",
        "events could not be written to the audit log and were set aside",
        _rows(lambda _now: SetAsideEvent.objects.all()),
    ),
    Check(
        "credentials.view_recovery", "credentials_recovery",
        "recovery has paused revocation", "recoveries have paused revocation",
        _rows(lambda _now: Recovery.objects.filter(ended_at=None)), lambda _now: {"ended_at__isnull": 1},
    ),
    Check(
        "credentials.view_lease", "credentials_lease",
        "lease is stuck: its account could not be revoked", "leases are stuck: their accounts could not be revoked",
        _rows(lambda _now: Lease.objects.filter(state=State.STUCK)), lambda _now: {"state__exact": State.STUCK.value},
    ),
    Check(
        "credentials.view_lease", "credentials_lease",
        "lease has ended and its account is overdue for revocation",
        "leases have ended and their accounts are overdue for revocation",
        _rows(lambda now: Lease.objects.overdue(now)), lambda _now: {"overdue": "yes"},
    ),
    Check(
        "credentials.view_backend", "credentials_backend", "backend does not answer", "backends do not answer",
        _rows(lambda _now: Backend.objects.in_service().exclude(failing_since=None)), lambda _now: {"answers": "no"},
    ),
    Check(
        "ciba.view_backchannelrequest", "ciba_backchannelrequest",
        "request has waited for its user for more than a minute",
        "requests have waited for their users for more than a minute",
        _rows(lambda now: BackchannelRequest.objects.waiting(now).filter(created_at__lte=now - WAITED)),
        lambda now: {"waits": "yes", "created_at__lte": (now - WAITED).isoformat()},
    ),
    Check(
        "foundation.view_work", "foundation_work",
        "callback did not reach its agent in the last 24 hours",
        "callbacks did not reach their agents in the last 24 hours",
        _rows(_abandoned_callbacks),
        lambda now: {"kind": CALLBACK, "state__exact": "abandoned", "finished_at__gte": (now - RECENT).isoformat()},
    ),
    Check(
        "oauth.view_signingkey", "oauth_signingkey",
        "algorithm has no signing key: run manage.py rotate_keys",
        "algorithms have no signing key: run manage.py rotate_keys",
        lambda now: make_figure(len(signing_keys.find_missing_algorithms(now))),
    ),
    Check(
        "oauth.view_signingkey", "oauth_signingkey",
        "signing key is older than a year: run manage.py rotate_keys",
        "signing keys are older than a year: run manage.py rotate_keys",
        _rows(lambda now: SigningKey.objects.filter(withdrawn_at=None, active_at__lte=now - OLD_KEY)),
        lambda now: {"withdrawn_at__isnull": 1, "active_at__lte": (now - OLD_KEY).isoformat()},
    ),
    Check(
        "clients.view_agent", "clients_agent",
        "agent has a certificate that ends within 30 days or has ended",
        "agents have certificates that end within 30 days or have ended",
        lambda now: make_figure(len(ending_certificates.find_agents(now + ending_certificates.ENDS_SOON))),
        lambda _now: {"certificate": "ends"},
    ),
)  # fmt: skip
