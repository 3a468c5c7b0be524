"""Accounts that carry a backend's prefix and no lease accounts for them: found by a scan, reported, taken back.

Our own order of writing down first leaves none; a restored database, or a hand at the system, may.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record_revocation
from credentials import breaker
from credentials.backends import account_without_lease
from credentials.engines import EngineError, Link, Unreachable
from credentials.links import link_to
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease
from credentials.states import LIVE

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=60)


def is_due(now: datetime) -> Q:
    return Q(scanned_at=None) | Q(scanned_at__lte=now - EVERY)


def find_orphans(backend: Backend, link: Link) -> list[str]:
    """The system is read before the table: whatever is made meanwhile was written down before."""
    names = link.list_owned(backend.prefix)
    known = Lease.objects.filter(backend=backend, account_name__in=names, state__in=LIVE)
    suspects = sorted(set(names) - set(known.values_list("account_name", flat=True)))
    # One that was just being dropped is gone on a second look.
    return [name for name in suspects if link.verify(name).exists]


def scan_if_due(backend: Backend, now: datetime) -> bool:
    """One process at a time; the others find it done. False where it is not due."""
    if not Backend.objects.filter(is_due(now), pk=backend.pk).update(scanned_at=now):
        return False
    try:
        with link_to(backend) as link:
            left = [name for name in find_orphans(backend, link) if not _take_back(backend, link, name)]
    except EngineError as error:
        log.error("backend %s could not be scanned for orphans: %s", backend, error)
        breaker.note_error(backend, error)
        return True
    breaker.note_reached(backend)
    Backend.objects.filter(pk=backend.pk).update(orphans=left)
    return True


def _take_back(backend: Backend, link: Link, name: str) -> bool:
    lease = Lease.objects.select_related("agent").filter(backend=backend, account_name=name).first()
    facts = {"backend": backend.name, "account": name, "lease": str(lease.id) if lease else None}
    about = About(SYSTEM, lease.agent.client_id, lease.user_id) if lease else About(SYSTEM)
    log.error("backend %s has the account %s, which no lease accounts for", backend, name)
    if name not in backend.orphans:
        ALARMS.labels("orphan").inc()
        _tell(events.ORPHAN_FOUND, about, facts)
    try:
        link.revoke(account_without_lease(name, lease.settings if lease else None))
        if not link.verify(name).is_gone:
            return False
    except Unreachable:
        raise
    except EngineError as error:
        log.error("the orphan %s of backend %s could not be taken back: %s", name, backend, error)
        return False
    _tell(events.ORPHAN_REVOKED, about, facts)
    return True


def _tell(kind: events.Kind, about: About, facts: dict[str, str | None]) -> None:
    with transaction.atomic(durable=True):
        record_revocation(kind, about, timezone.now(), **facts)
