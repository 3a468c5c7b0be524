"""The only code that writes a backend's `status`, and whether a role is active.

Each move is one conditional UPDATE whose WHERE is the transition table (states.py).
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from audit import events
from audit.record import About, record
from credentials.backends.states import BACKEND_STATES, ROLE_STATES, BackendStatus
from credentials.models import Backend, Role
from foundation.transactions import inside_transaction
from operations import listed_types
from operations.models import OperationType


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
    """The backend issues no more leases, and those that it has issued end in time. False if it was draining."""
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
