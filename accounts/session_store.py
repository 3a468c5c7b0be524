"""Django's database sessions, stored under a digest of the session key.

The key itself exists only in the cookie, so that a reader of the table cannot use any session.
SESSION_ENGINE names this module.
"""

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

from foundation.handles import b64url, digest

KEY_CHARACTERS = 40  # length of the column in characters; holds 240 bits of the digest


def stored_key(session_key: str) -> str:
    return b64url(digest(session_key))[:KEY_CHARACTERS]


class SessionStore(DatabaseSessions):
    def _get_session_from_db(self) -> AbstractBaseSession | None:
        found = None
        if self.session_key:
            found = self.model.objects.filter(
                session_key=stored_key(self.session_key),
                expire_date__gt=timezone.now(),  # lint: allow Django's hook
            ).first()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        return self.model.objects.filter(session_key=stored_key(session_key)).exists()

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        instance = super().create_model_instance(data)
        instance.session_key = stored_key(instance.session_key)
        return instance

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            self.model.objects.filter(session_key=stored_key(key)).delete()
