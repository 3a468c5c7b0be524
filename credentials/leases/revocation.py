"""Revocation: claim → revoke on the backend → read from the backend → record.

There is no last attempt.

One or a few threads per backend, so that a backend that hangs does not delay the others. Several
sweepers share the work by claims. Revocation does not need Redis, and audit events that cannot be
written are set aside, so neither delays it.
"""

import logging
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from credentials.backends import breaker, orphans, recovery
from credentials.backends.links import link_to, slot
from credentials.backends.secrets import account_of
from credentials.engines import BackendUnreachable, DatabaseAccount, EngineError, Link, Presence, find_left_behind
from credentials.leases import lifecycle
from credentials.leases.lifecycle.statements import FIND_ENDING
from credentials.leases.states import ENDING_STATES
from credentials.models import Backend, Lease
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.keyring import KeyringError

log = logging.getLogger(__name__)

CLAIM_SIZE = 10  # leases per claim
MAX_THREADS = 4  # per backend and process, if much is due
THREAD_RUN_S = 5.0  # seconds until a thread returns to the sweeper
MAX_REVOKED_INLINE = 20  # of many leases that end together are revoked while the caller waits
INLINE_LIMIT_S = 5.0  # seconds after which no further inline revocation starts
SWEEP_WAIT_S = 0.3  # seconds that a sweep waits for its threads

_threads: dict[UUID, list[threading.Thread]] = {}


def sweep(now: datetime, batch: int) -> int:
    """Ends due leases and starts the revocation of ended ones. Returns how many it ended."""
    if recovery.is_on():
        return 0
    ended = lifecycle.end_due(now, batch)
    for backend_id in due_backends(now):
        _start(backend_id, now)
    for thread in [thread for threads in _threads.values() for thread in threads]:
        thread.join(SWEEP_WAIT_S / 10)
    return ended


def due_backends(now: datetime) -> list[UUID]:
    """Backends that may be contacted now and have due leases, a due orphan scan, or an open breaker
    to probe.
    """
    return _DUE_BACKENDS(now=now, scanned_before=now - orphans.SCAN_INTERVAL)


def _find_due_backends() -> QuerySet[Backend, UUID]:
    now = Parameter("now")
    due = Lease.objects.filter(state__in=ENDING_STATES, due_at__lte=now).values("backend_id")
    silent = Backend.objects.in_service().filter(breaker.IS_OPEN).values("pk")
    wanted = Q(pk__in=due) | orphans.was_scanned_before(Parameter("scanned_before")) | Q(pk__in=silent)
    return Backend.objects.filter(wanted, breaker.may_be_contacted(now)).values_list("id", flat=True)


_DUE_BACKENDS = CompiledQuery(_find_due_backends)


def _start(backend_id: UUID, now: datetime) -> None:
    running = [thread for thread in _threads.get(backend_id, []) if thread.is_alive()]
    waiting = Lease.objects.filter(backend=backend_id, state__in=ENDING_STATES, due_at__lte=now)[
        : MAX_THREADS * CLAIM_SIZE
    ].count()
    needed = max(1, min(MAX_THREADS, waiting // CLAIM_SIZE))
    while len(running) < needed:
        thread = threading.Thread(target=_run, args=(backend_id,), name=f"revoking on {backend_id}")
        thread.start()
        running.append(thread)
    _threads[backend_id] = running


def _run(backend_id: UUID) -> None:
    try:
        serve(backend_id, until=time.monotonic() + THREAD_RUN_S)
    except (DatabaseError, InterfaceError, KeyringError) as error:
        # Nothing is lost: due leases are in PostgreSQL, and the next sweep starts another thread.
        log.error("the revocations on backend %s were interrupted: %s", backend_id, error)
    finally:
        close_old_connections()
        connection.close()


def serve(backend_id: UUID, *, until: float) -> None:
    """Revokes the due leases of one backend until none is left, then scans for orphans if that is
    due.
    """
    more = True
    while more and time.monotonic() < until:
        backend, now = Backend.objects.get(pk=backend_id), timezone.now()
        with breaker.probing(backend, now) as may:
            if not may:
                return
            leases = lifecycle.claim_due(backend_id, now, CLAIM_SIZE)
            more = bool(leases) and _revoke(leases)
            if not leases and not orphans.scan_if_due(backend, now) and breaker.is_open(backend):
                _probe(backend)


def _probe(backend: Backend) -> None:
    """No lease is due there: checks whether the backend answers again."""
    try:
        _verify_over_new_link(backend, "")
    except EngineError as error:
        breaker.note_error(backend, error)
    else:
        breaker.note_reached(backend)


def revoke_now(lease_id: UUID) -> None:
    """Revokes one lease at once, while the caller waits: after a revoke by its agent, its user or
    an administrator.

    If another call is using the lease, the sweeper revokes it afterwards; if the backend does not
    answer, once it does.
    """
    now = timezone.now()
    lease = FIND_ENDING.first(lease=lease_id)
    if lease is None or breaker.is_open(lease.backend):
        return
    with slot(lease.backend_id, wait=0) as free:
        if free and lifecycle.claim_this(lease, now):
            _revoke([lease])


def revoke_first(lease_ids: Iterable[UUID]) -> None:
    """Revokes some of many leases while the caller waits, each as slowly as its backend.

    The sweeper revokes the rest.
    """
    give_up = time.monotonic() + INLINE_LIMIT_S
    for lease_id in lease_ids:
        if time.monotonic() > give_up:
            return
        revoke_now(lease_id)


def _revoke(leases: list[Lease]) -> bool:
    """Revokes leases that were claimed together, over one link.

    False if the backend does not answer.
    """
    backend = leases[0].backend
    left = list(leases)
    try:
        with link_to(backend) as link:
            while left:
                _revoke_one(left[0], link)
                left.pop(0)
    except LinkLost:
        lifecycle.release_claims(left[1:])  # due at once, over another link; the first one has had its attempt
    except BackendUnreachable as error:
        lifecycle.release_claims(left[1:])
        lifecycle.release_claims(left[:1], timezone.now())
        breaker.note_error(backend, error)
        log.warning("backend %s cannot be reached; %s leases wait for it: %s", backend, len(left), error)
        return False
    except EngineError as error:
        # For example, no engine for this backend is installed. The leases record the reason.
        for lease in left:
            lifecycle.record_revocation_result(lease, None, str(error), timezone.now())
        breaker.note_error(backend, error)
        return False
    breaker.note_reached(backend)
    return True


class LinkLost(Exception):
    """The backend answers, but not over this link any more: a call over it took too long."""


def _revoke_one(lease: Lease, link: Link) -> None:
    """Revokes one lease.

    A read confirms success, not the absence of an error. Raises BackendUnreachable and LinkLost.
    """
    account = account_of(lease)
    if lease.backend.is_revocable is False and account.valid_until > timezone.now():
        lifecycle.record_not_revocable(lease, account.valid_until)
        return
    problem, presence, is_lost = "", None, False
    try:
        link.revoke(account)
    except EngineError as error:
        problem = str(error)
    try:
        presence, is_lost = _read(lease, link)
    except BackendUnreachable:
        raise
    except EngineError as error:
        problem = problem or str(error)
    if presence and presence.is_gone:
        _report_left_behind(lease, account, link)
    if not problem and not (presence and presence.is_gone):
        problem = (
            _remainder(presence) if presence else "the backend answers about other accounts, but not about this one"
        )
    lifecycle.record_revocation_result(lease, presence, problem, timezone.now())
    if is_lost:
        raise LinkLost


def _report_left_behind(lease: Lease, account: DatabaseAccount, link: Link) -> None:
    """Runs before the lease is recorded as revoked, so that a crash here leads to another check.

    A failed check does not delay the revocation.
    """
    try:
        found = find_left_behind(link, account)
    except EngineError as error:
        log.warning("the objects that lease %s left behind cannot be read: %s", lease.id, error)
        return
    lifecycle.note_left_behind(lease, found, timezone.now())


def _read(lease: Lease, link: Link) -> tuple[Presence | None, bool]:
    """The account's presence, and whether this link is unusable.

    Raises BackendUnreachable if the backend is the cause.

    If the backend answers other calls, this lease is the cause: it waits for its next attempt and
    delays no other lease.
    """
    try:
        return link.verify(lease.account_name), False
    except BackendUnreachable:
        _verify_over_new_link(lease.backend, "")
    try:
        return _verify_over_new_link(lease.backend, lease.account_name), True
    except BackendUnreachable:
        return None, True


def _verify_over_new_link(backend: Backend, name: str) -> Presence:
    with link_to(backend) as another:
        return another.verify(name)


def _remainder(presence: Presence) -> str:
    return (
        f"a read still finds the account: login {'on' if presence.can_log_in else 'off'}, {presence.sessions} sessions"
    )
