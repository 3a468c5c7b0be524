"""A template variable for every page: the VAPID key under which this browser should subscribe (app.js)."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from devices.vapid import current_key


def push_key(_request: HttpRequest) -> dict[str, object]:
    """The key is looked up only if a template uses it."""
    return {"push_key": SimpleLazyObject(_public_key)}


def _public_key() -> str:
    key = current_key()
    return key.public_key if key else ""
