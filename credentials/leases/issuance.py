"""Issuance: the engine's call to the backend between two transactions of lifecycle.

The order makes it safe: store the lease → make the account → confirm it in the table → deliver the
credential. If a step fails, the row says what may exist on the backend, and the sweeper revokes it.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from credentials.backends import breaker
from credentials.backends.links import link_to, slot
from credentials.backends.secrets import EXPIRY_SKEW_S, account_of
from credentials.engines import BackendAddress, BackendUnreachable, EngineError
from credentials.errors import BackendUnavailable, LeaseBusy, LeaseEnded, NoAnswer, SlowAnswer
from credentials.leases import lifecycle, revocation
from credentials.leases.lifecycle import AlreadyUnwrapped, LeaseRequest, RequestedLease
from credentials.leases.limits import Life
from credentials.leases.retries import CLAIM_DURATION
from credentials.metrics import ISSUED
from credentials.models import Lease
from foundation.errors import ProtocolError
from foundation.handles import new_handle

log = logging.getLogger(__name__)

# How much of the claim must be left before an account is made, so that no revocation can run ahead
# of it.
MIN_CLAIM_LEFT = timedelta(seconds=30)
SLOT_WAIT_S = 1.0  # seconds


@dataclass(frozen=True)
class IssuedLease:
    """The credential that the holder gets, once. The password is stored nowhere."""

    lease: Lease
    password: str
    connection: dict[str, Any]
    is_repeat: bool = False


@dataclass(frozen=True)
class WrappedLease:
    lease: Lease
    handle: str
    is_repeat: bool = False


def issue_lease(request: LeaseRequest, now: datetime) -> IssuedLease | WrappedLease | ProtocolError:
    with slot(request.role.backend_id, wait=SLOT_WAIT_S) as free:
        return _issue_lease(request, now) if free else SlowAnswer()


def _issue_lease(request: LeaseRequest, now: datetime) -> IssuedLease | WrappedLease | ProtocolError:
    requested = lifecycle.request_lease(request, now)
    if isinstance(requested, ProtocolError):
        return requested
    if requested.handle:
        return WrappedLease(requested.lease, requested.handle, requested.is_repeat)
    return _set_password(requested, now) if requested.is_repeat else _make(requested.lease)


def unwrap(unverified_handle: str, now: datetime) -> IssuedLease | AlreadyUnwrapped | ProtocolError | None:
    """Unwraps a lease. None if there is no such handle or it has expired."""
    backend_id = lifecycle.find_backend_of_unopened(unverified_handle)
    if backend_id is None:
        return _unwrap(unverified_handle, now, may_open=False)  # a second unwrap ends the lease and needs no slot
    with slot(backend_id, wait=SLOT_WAIT_S) as free:
        return _unwrap(unverified_handle, now, may_open=free)


def _unwrap(
    unverified_handle: str, now: datetime, *, may_open: bool
) -> IssuedLease | AlreadyUnwrapped | ProtocolError | None:
    found = lifecycle.unwrap(unverified_handle, now, may_open=may_open)
    if isinstance(found, AlreadyUnwrapped):
        revocation.revoke_now(found.lease_id)
    return _open(found) if isinstance(found, Lease) else found


def _open(lease: Lease) -> IssuedLease | ProtocolError:
    answer = _make(lease)
    if isinstance(answer, NoAnswer | BackendUnavailable):
        # A repeated call would find nothing: the lease was unwrapped and cannot be unwrapped again.
        return BackendUnavailable(
            "the backend could not create the account, and the handle is used: request a new lease; no use was spent"
        )
    return answer


def _make(lease: Lease) -> IssuedLease | ProtocolError:
    password, account, began = new_handle(), account_of(lease), timezone.now()
    try:
        facts = _connection_facts(lease)  # first, so that no account is made whose connection facts are missing
        with link_to(lease.backend) as link:
            if lease.claimed_until is None or timezone.now() > lease.claimed_until - MIN_CLAIM_LEFT:
                raise EngineError("the call to the backend began too late")
            link.create(account, password)
    except EngineError as error:
        return _failed(lease, error)
    breaker.note_reached(lease.backend)
    ISSUED.labels(lease.backend.name).observe((timezone.now() - began).total_seconds())
    if not lifecycle.activate(lease, password, timezone.now()):
        lifecycle.fail(lease, "the lease ended while the account was being created", timezone.now())
        lifecycle.release(lease)
        revocation.revoke_now(lease.id)
        return LeaseEnded()
    return IssuedLease(lease, password, facts)


def _failed(lease: Lease, error: EngineError) -> ProtocolError:
    log.warning("the account of lease %s was not created: %s", lease.id, error)
    lifecycle.fail(lease, str(error), timezone.now())
    lifecycle.release(lease)
    if isinstance(error, BackendUnreachable):
        breaker.note_unreachable(lease.backend_id, error, timezone.now())
        return NoAnswer()
    revocation.revoke_now(lease.id)
    return BackendUnavailable()


def _set_password(requested: RequestedLease, now: datetime) -> IssuedLease | ProtocolError:
    lease, password = requested.lease, new_handle()
    if breaker.is_open(lease.backend):
        return NoAnswer()
    if not lifecycle.start_password(lease, now):
        return LeaseBusy()
    try:
        facts = _connection_facts(lease)
        with link_to(lease.backend) as link:
            link.set_password(account_of(lease), password)
    except EngineError as error:
        return _not_changed(lease, error)
    if not lifecycle.finish_password(lease, password, timezone.now()):
        return _ended_meanwhile(lease)
    return IssuedLease(lease, password, facts, is_repeat=True)


def renew(lease: Lease, requested: int | None, now: datetime) -> Life | ProtocolError:
    with slot(lease.backend_id, wait=SLOT_WAIT_S) as free:
        return _renew(lease, requested, now) if free else SlowAnswer()


def _renew(lease: Lease, requested: int | None, now: datetime) -> Life | ProtocolError:
    if breaker.is_open(lease.backend):
        return NoAnswer()
    life = lifecycle.start_renewal(lease, requested, now)
    if isinstance(life, ProtocolError):
        return life
    lease.claimed_until = now + CLAIM_DURATION
    account = replace(account_of(lease), valid_until=life.expires_at + timedelta(seconds=EXPIRY_SKEW_S))
    try:
        with link_to(lease.backend) as link:
            link.renew(account)
    except EngineError as error:
        return _not_changed(lease, error)
    if not lifecycle.finish_renewal(lease, life, timezone.now()):
        return _ended_meanwhile(lease)
    return life


def _not_changed(lease: Lease, error: EngineError) -> ProtocolError:
    """The lease stays as it was. The next read finds out if the account is missing."""
    log.warning("the account of lease %s was not changed: %s", lease.id, error)
    lifecycle.release(lease)
    if isinstance(error, BackendUnreachable):
        breaker.note_unreachable(lease.backend_id, error, timezone.now())
        return NoAnswer()
    return BackendUnavailable("the backend of this role refused the change; the lease is unchanged")


def _ended_meanwhile(lease: Lease) -> ProtocolError:
    lifecycle.release(lease)
    revocation.revoke_now(lease.id)
    return LeaseEnded()


def _connection_facts(lease: Lease) -> dict[str, Any]:
    """How to connect. Raises EngineError if a third-party engine fails."""
    without_secret = BackendAddress(lease.backend.settings, "")
    return lease.backend.find_engine().connection_facts(without_secret, account_of(lease))
