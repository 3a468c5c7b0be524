"""Taking back: claimed → told to the system → read from the system → recorded. Without a last attempt.

One thread or a few per backend, so that a system that hangs keeps nobody else waiting; several sweepers share by
claims. Redis is not asked, and what audit cannot write is set aside: neither holds this up.
"""

import logging
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import Q
from django.utils import timezone

from credentials import breaker, lifecycle, orphans, recovery
from credentials.backends import account_of
from credentials.engines import Account, EngineError, Link, Presence, Unreachable, find_left_behind
from credentials.links import link_to, slot
from credentials.models import Backend, Lease
from credentials.statements import FIND_ENDING
from credentials.states import ENDING
from foundation.keyring import KeyringError

log = logging.getLogger(__name__)

AT_ONCE = 10  # leases of one claim
THREADS = 4  # per backend and process, where much is due
RUN = 5.0  # seconds until a thread lets the sweeper look again
FIRST = 20  # of many that end together are taken back while somebody waits
PATIENCE = 5.0  # seconds after which no more of these is begun
WAIT = 0.3  # seconds that a sweep waits for its threads, so that an idle one is not asked in vain

_threads: dict[UUID, list[threading.Thread]] = {}


def sweep(now: datetime, batch: int) -> int:
    """Ends what is over, and sees to it that what ended is taken back. Answers how many it ended."""
    if recovery.is_on():
        return 0
    ended = lifecycle.end_due(now, batch)
    for backend_id in due_backends(now):
        _start(backend_id, now)
    for thread in [thread for threads in _threads.values() for thread in threads]:
        thread.join(WAIT / 10)
    return ended


def due_backends(now: datetime) -> list[UUID]:
    """Where something is due, or a look for orphans, or whether it answers again; and that may be asked now."""
    due = Lease.objects.filter(state__in=ENDING, due_at__lte=now).values("backend_id")
    silent = Backend.objects.in_service().filter(breaker.IS_OPEN).values("pk")
    wanted = Q(pk__in=due) | orphans.is_due(now) | Q(pk__in=silent)
    return list(Backend.objects.filter(wanted, breaker.is_askable(now)).values_list("id", flat=True))


def _start(backend_id: UUID, now: datetime) -> None:
    running = [thread for thread in _threads.get(backend_id, []) if thread.is_alive()]
    waiting = Lease.objects.filter(backend=backend_id, state__in=ENDING, due_at__lte=now)[: THREADS * AT_ONCE].count()
    want = max(1, min(THREADS, waiting // AT_ONCE))
    while len(running) < want:
        thread = threading.Thread(target=_run, args=(backend_id,), name=f"taking back {backend_id}")
        thread.start()
        running.append(thread)
    _threads[backend_id] = running


def _run(backend_id: UUID) -> None:
    try:
        serve(backend_id, until=time.monotonic() + RUN)
    except (DatabaseError, InterfaceError, KeyringError) as error:
        # Nothing is lost: what is due is in PostgreSQL, and the next sweep starts another thread.
        log.error("taking back from backend %s was interrupted: %s", backend_id, error)
    finally:
        close_old_connections()
        connection.close()


def serve(backend_id: UUID, *, until: float) -> None:
    """Takes back what is due from one backend until nothing is, then looks for orphans where that is due."""
    more = True
    while more and time.monotonic() < until:
        backend, now = Backend.objects.get(pk=backend_id), timezone.now()
        with breaker.asking(backend, now) as may:
            if not may:
                return
            leases = lifecycle.claim_to_take_back(backend_id, now, AT_ONCE)
            more = bool(leases) and _take_back(leases)
            if not leases and not orphans.scan_if_due(backend, now) and breaker.is_open(backend):
                _ask(backend)


def _ask(backend: Backend) -> None:
    """Nothing is due there; does it answer again?"""
    try:
        _ask_anew(backend, "")
    except EngineError as error:
        breaker.note_error(backend, error)
    else:
        breaker.note_reached(backend)


def take_back_now(lease_id: UUID) -> None:
    """At once, for who waits for it: after a revoke by its agent, its person or an administrator.

    Where somebody else speaks to the system about it, the sweeper does it after them; where it does not answer, once
    it does.
    """
    now = timezone.now()
    lease = FIND_ENDING.first(lease=lease_id)
    if lease is None or breaker.is_open(lease.backend):
        return
    with slot(lease.backend_id, wait=0) as free:
        if free and lifecycle.claim_this(lease, now):
            _take_back([lease])


def take_back_first(lease_ids: Iterable[UUID]) -> None:
    """Some of many, for who waits for it: each may take as long as its system lets it. The sweeper takes the rest."""
    give_up = time.monotonic() + PATIENCE
    for lease_id in lease_ids:
        if time.monotonic() > give_up:
            return
        take_back_now(lease_id)


def _take_back(leases: list[Lease]) -> bool:
    """Those that were claimed together, over one link. False where the backend does not answer."""
    backend = leases[0].backend
    left = list(leases)
    try:
        with link_to(backend) as link:
            while left:
                _take_back_one(left[0], link)
                left.pop(0)
    except LinkLost:
        lifecycle.let_go(left[1:])  # at once, over another link; this one has had its turn
    except Unreachable as error:
        lifecycle.let_go(left[1:])
        lifecycle.let_go(left[:1], timezone.now())
        breaker.note_error(backend, error)
        log.warning("backend %s cannot be reached; %s leases wait for it: %s", backend, len(left), error)
        return False
    except EngineError as error:
        # Nobody here speaks to such systems, or the like: the leases say so.
        for lease in left:
            lifecycle.note_taken_back(lease, None, str(error), timezone.now())
        breaker.note_error(backend, error)
        return False
    breaker.note_reached(backend)
    return True


class LinkLost(Exception):
    """The system answers, but no longer over this link: what was asked of it took too long."""


def _take_back_one(lease: Lease, link: Link) -> None:
    """Success is what a read says, not the absence of an error. Raises Unreachable and LinkLost."""
    account = account_of(lease)
    if lease.backend.is_revocable is False and account.valid_until > timezone.now():
        lifecycle.note_not_revocable(lease, account.valid_until)
        return
    problem, presence, is_lost = "", None, False
    try:
        link.revoke(account)
    except EngineError as error:
        problem = str(error)
    try:
        presence, is_lost = _read(lease, link)
    except Unreachable:
        raise
    except EngineError as error:
        problem = problem or str(error)
    if presence and presence.is_gone:
        _report_left_behind(lease, account, link)
    if not problem and not (presence and presence.is_gone):
        problem = _left(presence) if presence else "no answer about this account, and to others there is"
    lifecycle.note_taken_back(lease, presence, problem, timezone.now())
    if is_lost:
        raise LinkLost


def _report_left_behind(lease: Lease, account: Account, link: Link) -> None:
    """Before it is called revoked: whoever is killed here looks again. What cannot be looked at keeps nothing back."""
    try:
        found = find_left_behind(link, account)
    except EngineError as error:
        log.warning("what lease %s left behind cannot be read: %s", lease.id, error)
        return
    lifecycle.note_left_behind(lease, found, timezone.now())


def _read(lease: Lease, link: Link) -> tuple[Presence | None, bool]:
    """What is there; and whether this link is of no use any more. Raises Unreachable where it is the system's trouble.

    Where the system answers to others, it is this lease's own: it waits its turn, and holds up nobody else.
    """
    try:
        return link.verify(lease.account_name), False
    except Unreachable:
        _ask_anew(lease.backend, "")
    try:
        return _ask_anew(lease.backend, lease.account_name), True
    except Unreachable:
        return None, True


def _ask_anew(backend: Backend, name: str) -> Presence:
    with link_to(backend) as another:
        return another.verify(name)


def _left(presence: Presence) -> str:
    return f"a read still finds it: login {'on' if presence.can_log_in else 'off'}, {presence.sessions} sessions"
