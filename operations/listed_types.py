"""The names of the operation types that may be requested, from this process's cache."""

from datetime import datetime

from django.db import transaction

from foundation.process_cache import ProcessCache
from operations.models import OperationType


def listed_type_names(now: datetime) -> tuple[str, ...]:
    """In order. What another process changes is seen within process_cache.MAX_AGE_S."""
    return _cache.get(now)


def clear_cache() -> None:
    _cache.clear()


def clear_cache_on_commit() -> None:
    """Call it in a transaction that changes which types or resources are active."""
    transaction.on_commit(clear_cache)


def _read(_now: datetime, _previous: tuple[str, ...] | None) -> tuple[str, ...]:
    active = OperationType.objects.filter(is_active=True, resource__is_active=True, current__isnull=False)
    return tuple(active.order_by("name").values_list("name", flat=True))


_cache = ProcessCache(_read)
