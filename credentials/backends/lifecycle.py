"""Saving a backend. The only code that writes a backend's `status`, and whether a role is active.

Each move is one conditional UPDATE whose WHERE is the transition table (states.py).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from audit import events
from audit.record import About, record
from credentials.backends.secrets import sealed
from credentials.backends.states import BACKEND_STATES, ROLE_STATES, BackendStatus
from credentials.leases.states import FINAL_STATES
from credentials.models import Backend, Lease, Role
from foundation.changed_columns import save_changed
from foundation.transactions import inside_transaction
from operations import listed_types
from operations.models import OperationType


@transaction.atomic
def save_backend(backend: Backend, changed: Collection[str], secret: str | None, about: About, now: datetime) -> bool:
    """Saves a backend. Returns whether it now needs a preflight, which the caller runs after the commit.

    `changed` names the fields that a form or file changed; with a new `secret`, also "secret".
    """
    written = set(changed)
    if secret:
        backend.sealed_secret = sealed(backend, secret)
        backend.secret_changed_at = now
        written |= {"sealed_secret", "secret_changed_at"}
    save_changed(backend, written)
    needs_preflight = not {"settings", "secret", "engine"}.isdisjoint(changed)
    if needs_preflight:
        require_preflight(backend)
    record(
        events.BACKEND_CHANGED, about, now,
        backend=backend.name, engine=backend.engine, settings=backend.settings, changed=sorted(changed),
    )  # fmt: skip
    return needs_preflight


def has_live_leases(backend: Backend) -> bool:
    """While it has, its settings must lead to the same system.

    On another system every account would be missing. The leases would be recorded as revoked
    although their accounts exist.
    """
    return Lease.objects.filter(backend=backend.pk).exclude(state__in=FINAL_STATES).exists()


def settle_preflight(backend: Backend, *, passed: bool) -> None:
    """Enables the backend if its preflight has passed, and stops it otherwise. A draining backend stays so.

    Runs in the caller's transaction, which records the preflight.
    """
    inside_transaction("settling a preflight")
    if passed:
        BACKEND_STATES.move(_row(backend), BackendStatus.ENABLED)
    else:
        require_preflight(backend)


def require_preflight(backend: Backend) -> bool:
    """enabled → new: it issues nothing until a preflight passes. False if it was not enabled."""
    return BACKEND_STATES.move(_row(backend), BackendStatus.NEW, leaving=[BackendStatus.ENABLED])


def end_draining(backend: Backend) -> bool:
    """draining → new: the next preflight may enable it. False if it was not draining."""
    return BACKEND_STATES.move(_row(backend), BackendStatus.NEW, leaving=[BackendStatus.DRAINING])


@transaction.atomic(durable=True)
def drain(backend: Backend, about: About, now: datetime) -> bool:
    return drain_in_transaction(backend, about, now)


def drain_in_transaction(backend: Backend, about: About, now: datetime) -> bool:
    """The backend issues no more leases, and those that it has issued end in time. False if it was draining.

    Runs in the caller's transaction.
    """
    drained = BACKEND_STATES.move(_row(backend), BackendStatus.DRAINING)
    if drained:
        record(events.BACKEND_DRAINED, about, now, backend=backend.name)
    return drained


def deactivate_roles(roles: Sequence[Role]) -> None:
    """Deactivates roles and their operation types, so that users are not prompted for accounts that could not be made.

    Runs in the caller's transaction, which records the reason.
    """
    inside_transaction("deactivating roles")
    ROLE_STATES.move_all(Role.objects.filter(pk__in=[role.pk for role in roles]), False)
    ROLE_STATES.move_all(OperationType.objects.filter(pk__in=[role.operation_type_id for role in roles]), False)
    listed_types.clear_cache_on_commit()


def align_operation_type(role: Role) -> None:
    """The operation type of a role may be requested exactly while the role is active."""
    ROLE_STATES.move(OperationType.objects.filter(pk=role.operation_type_id), role.is_active)
    listed_types.clear_cache_on_commit()


def _row(backend: Backend) -> QuerySet[Backend]:
    return Backend.objects.filter(pk=backend.pk)
