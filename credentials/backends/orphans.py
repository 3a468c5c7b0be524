"""Orphans: accounts with a backend's prefix and without a lease.

A scan finds, reports and revokes them.

Normal operation leaves none, because a lease is stored before its account is made. A restored
database or a manual change may.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record_revocation
from credentials.backends import breaker
from credentials.backends.links import link_to
from credentials.backends.secrets import account_without_lease
from credentials.engines import BackendUnreachable, EngineError, Link
from credentials.leases.states import LIVE_STATES
from credentials.metrics import ALARMS
from credentials.models import Backend, Lease
from foundation.compiled_queries import Parameter

log = logging.getLogger(__name__)

SCAN_INTERVAL = timedelta(seconds=60)


def is_due(now: datetime) -> Q:
    return was_scanned_before(now - SCAN_INTERVAL)


def was_scanned_before(time: datetime | Parameter) -> Q:
    return Q(scanned_at=None) | Q(scanned_at__lte=time)


def find_orphans(backend: Backend, link: Link) -> list[str]:
    """The orphans of a backend.

    The backend is read before the table: a lease whose account is made meanwhile is already stored.
    """
    names = link.list_owned(backend.prefix)
    known = Lease.objects.filter(backend=backend, account_name__in=names, state__in=LIVE_STATES)
    suspects = sorted(set(names) - set(known.values_list("account_name", flat=True)))
    # A second read leaves out accounts that were just being dropped.
    return [name for name in suspects if link.verify(name).exists]


def scan_if_due(backend: Backend, now: datetime) -> bool:
    """Scans the backend if that is due. One process scans at a time. False if no scan was due."""
    if not Backend.objects.filter(is_due(now), pk=backend.pk).update(scanned_at=now):
        return False
    try:
        with link_to(backend) as link:
            left = [name for name in find_orphans(backend, link) if not _revoke_orphan(backend, link, name)]
    except EngineError as error:
        log.error("backend %s could not be scanned for orphans: %s", backend, error)
        breaker.note_error(backend, error)
        return True
    breaker.note_reached(backend)
    Backend.objects.filter(pk=backend.pk).update(orphans=left)
    return True


def _revoke_orphan(backend: Backend, link: Link, name: str) -> bool:
    lease = Lease.objects.select_related("agent").filter(backend=backend, account_name=name).first()
    facts = {"backend": backend.name, "account": name, "lease": str(lease.id) if lease else None}
    about = About(SYSTEM, lease.agent.client_id, lease.user_id) if lease else About(SYSTEM)
    log.error("backend %s has the account %s, which belongs to no lease", backend, name)
    if name not in backend.orphans:
        ALARMS.labels("orphan").inc()
        _report(events.ORPHAN_FOUND, about, **facts)
    try:
        link.revoke(account_without_lease(name, lease.settings if lease else None))
        if not link.verify(name).is_gone:
            return False
    except BackendUnreachable:
        raise
    except EngineError as error:
        log.error("the orphan %s of backend %s could not be revoked: %s", name, backend, error)
        return False
    _report(events.ORPHAN_REVOKED, about, **facts)
    return True


def _report(kind: events.EventKind, about: About, **facts: str | None) -> None:
    with transaction.atomic(durable=True):
        record_revocation(kind, about, timezone.now(), **facts)
