"""Root rotation: afterwards only this server knows the administrator's secret.

The new secret is stored before it is set on the backend. The old one is kept until the new one has
logged in. So one of the two works after any crash, and the sweeper finds out which.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record
from credentials.backends import breaker
from credentials.backends.secrets import next_target_of, sealed, target_of
from credentials.engines import EngineError, LoginRefused
from credentials.models import Backend
from foundation.handles import new_handle

log = logging.getLogger(__name__)

SETTLE_AFTER = timedelta(seconds=60)  # longer than a rotation takes; also the pause between two attempts to settle one


class RotationFailed(Exception):
    """The rotation failed and the old secret stays valid. The message says why."""


def rotate(backend: Backend, about: About, now: datetime) -> None:
    """Replaces the administrator's secret. Raises RotationFailed."""
    if not _start(backend, now):
        raise RotationFailed("another rotation of this backend is running")
    following = next_target_of(Backend.objects.get(pk=backend.pk))
    if following is None:
        raise RotationFailed("another rotation of this backend is running")
    try:
        link = backend.find_engine().connect(target_of(backend))
        try:
            link.set_own_secret(following.secret)
        finally:
            link.close()
    except EngineError as error:
        # Whether the backend took the new secret is unknown. Settling finds out which of the two
        # works.
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
    """Finds the secret that logs in.

    True: the new one, which is now valid. False: the old one. None: neither is confirmed.
    """
    backend = Backend.objects.get(pk=backend_id)
    following = next_target_of(backend)
    if following is None:
        return None
    for target, is_new in ((following, True), (target_of(backend), False)):
        try:
            backend.find_engine().connect(target).close()
        except LoginRefused:
            continue
        except EngineError as error:
            log.warning("the rotation of backend %s could not be settled: %s", backend, error)
            return None
        _commit(backend, target.secret if is_new else None, about, now)
        return is_new
    # Both are tried again only after SETTLE_AFTER: too many logins would lock our administrator
    # out.
    Backend.objects.filter(pk=backend_id, sealed_next_secret=backend.sealed_next_secret).update(rotating_since=now)
    breaker.note_unreachable(backend_id, LoginRefused("neither the old nor the new administrator secret logs in"), now)
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
    # The login just worked, so an earlier refusal, perhaps of the other secret, must not delay
    # requests.
    breaker.note_reached(Backend.objects.get(pk=backend.pk))


def settle_left_over(now: datetime, batch: int) -> int:
    """Settles rotations that a crash interrupted, and rotations whose two secrets both failed at
    the last attempt.
    """
    left = Backend.objects.filter(rotating_since__lte=now - SETTLE_AFTER).values_list("id", flat=True)[:batch]
    return sum(settle(backend_id, About(SYSTEM), now) is not None for backend_id in left)
