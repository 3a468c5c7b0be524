"""For every page: the key under which this browser's subscription should be (app.js)."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from devices.vapid import current_key


def push_key(request: HttpRequest) -> dict[str, object]:
    """Looked up only where a template asks."""
    return {"push_key": SimpleLazyObject(_public_key)}


def _public_key() -> str:
    key = current_key()
    return key.public_key if key else ""
