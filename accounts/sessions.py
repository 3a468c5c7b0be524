"""This browser's session: when, and how, its person signed in."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest

from accounts.models import User

SIGNED_IN_AT = "signed_in_at"


def begin(request: HttpRequest, user: User, now: datetime) -> None:
    """Signs this browser in, under a new session key."""
    login(request, user)
    request.session.cycle_key()  # also where the same person signs in again, which login() leaves as it is
    request.session[SIGNED_IN_AT] = now.timestamp()


def signed_in_at(request: HttpRequest) -> datetime | None:
    value = request.session.get(SIGNED_IN_AT)
    return None if value is None else datetime.fromtimestamp(value, UTC)


def is_recent(at: datetime | None, now: datetime) -> bool:
    """Does a sign-in at `at` count as assurance `session`?"""
    return at is not None and now - at <= timedelta(seconds=settings.SESSION_ASSURANCE_AGE)


def person(request: HttpRequest) -> User | None:
    """The active person of this session, or None."""
    return request.user if isinstance(request.user, User) else None
