"""Giving: what happens between two transactions of lifecycle, where an engine speaks to a system.

The order is what makes it safe: written down → told to the system → confirmed in the table → handed over. Wherever
it breaks, the row says what may be there, and the sweeper takes it back.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from credentials import breaker, lifecycle, taking_back
from credentials.backends import SKEW, account_of
from credentials.engines import EngineError, Target, Unreachable
from credentials.errors import BackendUnavailable, LeaseBusy, LeaseEnded, NoAnswer, SlowAnswer
from credentials.lifecycle import AlreadyUnwrapped, Bought, Wanted
from credentials.limits import Life
from credentials.links import link_to, slot
from credentials.metrics import ISSUED
from credentials.models import Lease
from credentials.retrying import CLAIM
from foundation.errors import ProtocolError
from foundation.handles import new_handle

log = logging.getLogger(__name__)

# So much of the claim must be left when a system is told to make an account: nobody takes back what is yet to come.
LEFT = timedelta(seconds=30)
SLOT_WAIT = 1.0  # seconds


@dataclass(frozen=True)
class Lent:
    """What the holder gets, this once. The password is nowhere else."""

    lease: Lease
    password: str
    connection: dict[str, Any]
    is_repeat: bool = False


@dataclass(frozen=True)
class Wrapped:
    lease: Lease
    handle: str
    is_repeat: bool = False


def lend(wanted: Wanted, now: datetime) -> Lent | Wrapped | ProtocolError:
    with slot(wanted.role.backend_id, wait=SLOT_WAIT) as free:
        return _lend(wanted, now) if free else SlowAnswer()


def _lend(wanted: Wanted, now: datetime) -> Lent | Wrapped | ProtocolError:
    bought = lifecycle.buy(wanted, now)
    if isinstance(bought, ProtocolError):
        return bought
    if bought.handle:
        return Wrapped(bought.lease, bought.handle, bought.is_repeat)
    return _set_password(bought, now) if bought.is_repeat else _make(bought.lease)


def unwrap(unverified_handle: str, now: datetime) -> Lent | AlreadyUnwrapped | ProtocolError | None:
    """None: no such handle, or its time is over."""
    backend_id = lifecycle.find_backend_of_unopened(unverified_handle)
    if backend_id is None:
        return _unwrap(unverified_handle, now, may_open=False)  # a second one ends it, and waits for nobody
    with slot(backend_id, wait=SLOT_WAIT) as free:
        return _unwrap(unverified_handle, now, may_open=free)


def _unwrap(unverified_handle: str, now: datetime, *, may_open: bool) -> Lent | AlreadyUnwrapped | ProtocolError | None:
    found = lifecycle.unwrap(unverified_handle, now, may_open=may_open)
    if isinstance(found, AlreadyUnwrapped):
        taking_back.take_back_now(found.lease_id)
    return _open(found) if isinstance(found, Lease) else found


def _open(lease: Lease) -> Lent | ProtocolError:
    answer = _make(lease)
    if isinstance(answer, NoAnswer | BackendUnavailable):
        # Whoever repeated this call would find nothing: it was opened, and cannot be opened again.
        return BackendUnavailable(
            "the account could not be made, and the handle is used up: buy it again; nothing was spent"
        )
    return answer


def _make(lease: Lease) -> Lent | ProtocolError:
    password, account, began = new_handle(), account_of(lease), timezone.now()
    try:
        facts = _facts(lease)  # first: no account is made that its holder could not be told how to reach
        with link_to(lease.backend) as link:
            if lease.claimed_until is None or timezone.now() > lease.claimed_until - LEFT:
                raise EngineError("it took us too long to get there")
            link.create(account, password)
    except EngineError as error:
        return _failed(lease, error)
    breaker.note_reached(lease.backend)
    ISSUED.labels(lease.backend.name).observe((timezone.now() - began).total_seconds())
    if not lifecycle.activate(lease, password, timezone.now()):
        lifecycle.fail(lease, "it ended while it was being made", timezone.now())
        lifecycle.release(lease)
        taking_back.take_back_now(lease.id)
        return LeaseEnded()
    return Lent(lease, password, facts)


def _failed(lease: Lease, error: EngineError) -> ProtocolError:
    log.warning("the account of lease %s was not made: %s", lease.id, error)
    lifecycle.fail(lease, str(error), timezone.now())
    lifecycle.release(lease)
    if isinstance(error, Unreachable):
        breaker.note_unreachable(lease.backend_id, error, timezone.now())
        return NoAnswer()
    taking_back.take_back_now(lease.id)
    return BackendUnavailable()


def _set_password(bought: Bought, now: datetime) -> Lent | ProtocolError:
    lease, password = bought.lease, new_handle()
    if breaker.is_open(lease.backend):
        return NoAnswer()
    if not lifecycle.start_password(lease, now):
        return LeaseBusy()
    try:
        facts = _facts(lease)
        with link_to(lease.backend) as link:
            link.set_password(account_of(lease), password)
    except EngineError as error:
        return _not_changed(lease, error)
    if not lifecycle.finish_password(lease, password, timezone.now()):
        return _ended_meanwhile(lease)
    return Lent(lease, password, facts, is_repeat=True)


def renew(lease: Lease, asked: int | None, now: datetime) -> Life | ProtocolError:
    with slot(lease.backend_id, wait=SLOT_WAIT) as free:
        return _renew(lease, asked, now) if free else SlowAnswer()


def _renew(lease: Lease, asked: int | None, now: datetime) -> Life | ProtocolError:
    if breaker.is_open(lease.backend):
        return NoAnswer()
    life = lifecycle.start_renewal(lease, asked, now)
    if isinstance(life, ProtocolError):
        return life
    lease.claimed_until = now + CLAIM
    account = replace(account_of(lease), valid_until=life.expires_at + timedelta(seconds=SKEW))
    try:
        with link_to(lease.backend) as link:
            link.renew(account)
    except EngineError as error:
        return _not_changed(lease, error)
    if not lifecycle.finish_renewal(lease, life, timezone.now()):
        return _ended_meanwhile(lease)
    return life


def _not_changed(lease: Lease, error: EngineError) -> ProtocolError:
    """The lease goes on as it was; an account that is missing is found out by the next read."""
    log.warning("the account of lease %s was not changed: %s", lease.id, error)
    lifecycle.release(lease)
    if isinstance(error, Unreachable):
        breaker.note_unreachable(lease.backend_id, error, timezone.now())
        return NoAnswer()
    return BackendUnavailable("the system behind this role refused; the lease goes on as it was")


def _ended_meanwhile(lease: Lease) -> ProtocolError:
    lifecycle.release(lease)
    taking_back.take_back_now(lease.id)
    return LeaseEnded()


def _facts(lease: Lease) -> dict[str, Any]:
    """Raises EngineError, where somebody else's engine fails at it."""
    without_secret = Target(lease.backend.settings, "")
    return lease.backend.find_engine().connection_facts(without_secret, account_of(lease))
