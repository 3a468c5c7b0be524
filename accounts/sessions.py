"""This browser's session: when, and how, its person signed in; and noticing that it has ended."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from accounts.session_store import stored_key
from foundation.wakeups import wake

SIGNED_IN_AT = "signed_in_at"


def begin(request: HttpRequest, user: User, now: datetime) -> None:
    """Signs this browser in, under a new session key."""
    login(request, user)
    request.session.cycle_key()  # also where the same person signs in again, which login() leaves as it is
    request.session[SIGNED_IN_AT] = now.timestamp()


def end(request: HttpRequest) -> None:
    """Signs this browser out, in all of its windows."""
    user = person(request)
    logout(request)
    if user is not None:
        wake([person_topic(user)])


def signed_in_at(request: HttpRequest) -> datetime | None:
    value = request.session.get(SIGNED_IN_AT)
    return None if value is None else datetime.fromtimestamp(value, UTC)


def is_recent(at: datetime | None, now: datetime) -> bool:
    """Does a sign-in at `at` count as assurance `session`?"""
    return at is not None and now - at <= timedelta(seconds=settings.SESSION_ASSURANCE_AGE)


def person(request: HttpRequest) -> User | None:
    """The active person of this session, or None."""
    return request.user if isinstance(request.user, User) else None


# --- what is open for a signed-in person ends with the session (foundation/waiting.py)


def person_topic(user: User) -> str:
    return f"person:{user.pk}"


def topics(request: HttpRequest) -> list[str]:
    """What a change of means: ask anew who this is."""
    user, key = person(request), request.session.session_key
    return [person_topic(user), f"session:{stored_key(key)}"] if user and key else []


def read_people(ids: Sequence[str]) -> Mapping[str, str]:
    """Disabled, or a new password: another revision."""
    return {str(user.pk): user.get_session_auth_hash() for user in User.objects.filter(pk__in=ids, is_active=True)}


def read_sessions(stored_keys: Sequence[str]) -> Mapping[str, bool]:
    live = Session.objects.filter(session_key__in=stored_keys, expire_date__gt=timezone.now())
    return dict.fromkeys(live.values_list("session_key", flat=True), True)
