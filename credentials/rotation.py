"""Root rotation: after it nobody but this server knows the administrator's secret.

The new secret is stored before the system is told, and the old one kept until the new one has logged in: whatever
crashes between, one of the two works, and the sweeper finds out which.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record
from credentials import breaker
from credentials.backends import next_target_of, sealed, target_of
from credentials.engines import EngineError, Refused
from credentials.models import Backend
from foundation.handles import new_handle

log = logging.getLogger(__name__)

UNSETTLED = timedelta(seconds=60)  # longer than a rotation takes, and between two tries to settle one


class RotationFailed(Exception):
    """The old secret goes on; why."""


def rotate(backend: Backend, about: About, now: datetime) -> None:
    """Raises RotationFailed."""
    if not _start(backend, now):
        raise RotationFailed("another rotation of this backend is under way")
    following = next_target_of(Backend.objects.get(pk=backend.pk))
    if following is None:
        raise RotationFailed("another rotation of this backend is under way")
    try:
        link = backend.find_engine().connect(target_of(backend))
        try:
            link.set_own_secret(following.secret)
        finally:
            link.close()
    except EngineError as error:
        # Told or not told: settling finds out which of the two works.
        if settle(backend.pk, about, timezone.now()) is not True:
            raise RotationFailed(str(error)) from error
        return
    if settle(backend.pk, about, timezone.now()) is not True:
        raise RotationFailed("the new secret does not log in; see the backend's problem")


@transaction.atomic(durable=True)
def _start(backend: Backend, now: datetime) -> bool:
    following = sealed(backend, new_handle(), is_next=True)
    waiting = Backend.objects.filter(pk=backend.pk, sealed_next_secret=None)
    return bool(waiting.update(sealed_next_secret=following, rotating_since=now))


def settle(backend_id: UUID, about: About, now: datetime) -> bool | None:
    """Which of the two logs in? True: the new one counts from now on. False: the old one. None: neither answered."""
    backend = Backend.objects.get(pk=backend_id)
    following = next_target_of(backend)
    if following is None:
        return None
    for target, is_new in ((following, True), (target_of(backend), False)):
        try:
            backend.find_engine().connect(target).close()
        except Refused:
            continue
        except EngineError as error:
            log.warning("the rotation of backend %s is not settled: %s", backend, error)
            return None
        _commit(backend, target.secret if is_new else None, about, now)
        return is_new
    # Both again when this one's time has come: too many logins would lock our administrator out.
    Backend.objects.filter(pk=backend_id, sealed_next_secret=backend.sealed_next_secret).update(rotating_since=now)
    breaker.note_unreachable(backend_id, Refused("neither the old nor the new administrator secret logs in"), now)
    log.error("neither the old nor the new secret of backend %s logs in", backend)
    return None


@transaction.atomic(durable=True)
def _commit(backend: Backend, secret: str | None, about: About, now: datetime) -> None:
    row = Backend.objects.filter(pk=backend.pk, sealed_next_secret=backend.sealed_next_secret)
    settled: dict[str, Any] = {"sealed_next_secret": None, "rotating_since": None}
    if secret is not None:
        settled |= {"sealed_secret": sealed(backend, secret), "secret_changed_at": now}
    if not row.update(**settled):
        return
    if secret is not None:
        record(events.BACKEND_ROTATED, about, now, backend=backend.name)
    # It logged in a moment ago: what was refused before, maybe with the other one, keeps nobody waiting.
    breaker.note_reached(Backend.objects.get(pk=backend.pk))


def settle_left_over(now: datetime, batch: int) -> int:
    """Rotations that a crash interrupted, and those of which neither secret logged in the last time."""
    left = Backend.objects.filter(rotating_since__lte=now - UNSETTLED).values_list("id", flat=True)[:batch]
    return sum(settle(backend_id, About(SYSTEM), now) is not None for backend_id in left)


@transaction.atomic(durable=True)
def reseal_all() -> int:
    """Seals every secret again, under the first key-encryption key of the file."""
    backends = list(Backend.objects.select_for_update())
    for backend in backends:
        fields = {"sealed_secret": sealed(backend, target_of(backend).secret)}
        if following := next_target_of(backend):
            fields["sealed_next_secret"] = sealed(backend, following.secret, is_next=True)
        Backend.objects.filter(pk=backend.pk).update(**fields)
    return len(backends)
