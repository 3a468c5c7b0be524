"""The session of this browser: when and how its user signed in, and detecting its end."""

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
    """Signs the user in in this browser, under a new session key."""
    login(request, user)
    request.session.cycle_key()  # also if the same user signs in again, for whom login() keeps the key
    request.session[SIGNED_IN_AT] = now.timestamp()


def end(request: HttpRequest) -> None:
    """Signs this browser out, in all of its windows."""
    user = signed_in_user(request)
    logout(request)
    if user is not None:
        wake([user_topic(user)])


def signed_in_at(request: HttpRequest) -> datetime | None:
    value = request.session.get(SIGNED_IN_AT)
    return None if value is None else datetime.fromtimestamp(value, UTC)


def is_recent(at: datetime | None, now: datetime) -> bool:
    """Whether a sign-in at `at` still counts as assurance `session`."""
    return at is not None and now - at <= timedelta(seconds=settings.SESSION_ASSURANCE_AGE)


def signed_in_user(request: HttpRequest) -> User | None:
    """The active user of this session, or None."""
    return request.user if isinstance(request.user, User) else None


# --- pages that stay open for a signed-in user end with the session (foundation/pending_answers.py)


def user_topic(user: User) -> str:
    return f"user:{user.pk}"


def topics(request: HttpRequest) -> list[str]:
    """The topics whose change means that an open page must check its user again."""
    user, key = signed_in_user(request), request.session.session_key
    return [user_topic(user), f"session:{stored_key(key)}"] if user and key else []


def read_users(ids: Sequence[str]) -> Mapping[str, str]:
    """The revisions of active users. A new password changes a user's revision; a disabled user has none."""
    return {str(user.pk): user.get_session_auth_hash() for user in User.objects.filter(pk__in=ids, is_active=True)}


def read_sessions(stored_keys: Sequence[str]) -> Mapping[str, bool]:
    now = timezone.now()  # lint: allow the front reads topics again and again
    live = Session.objects.filter(session_key__in=stored_keys, expire_date__gt=now)
    return dict.fromkeys(live.values_list("session_key", flat=True), True)
