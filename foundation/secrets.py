"""Secrets that we generate for agents and resources: 256 random bits, shown once, stored as SHA-256.

A slow password hash protects values that people choose; these cannot be guessed, and a slow hash here
would let anybody saturate the server with wrong secrets.
"""

from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Self

from django.db import models

from foundation.handles import digest, new_handle
from foundation.prepared import Given, Rows

LIVE_AT_MOST = 2


class GeneratedSecret(models.Model):
    """One secret of one owner; two are live while the holder changes over."""

    OWNER: ClassVar[str]  # the name of the foreign key

    secret_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"secret of {self.created_at:%Y-%m-%d %H:%M}"

    @classmethod
    def issue(cls, owner: models.Model, now: datetime) -> str:
        """Makes a new secret and returns it, once. The oldest live one beyond two is revoked.

        Call inside a transaction that holds the owner's row lock.
        """
        secret = new_handle()
        cls._default_manager.create(**{cls.OWNER: owner}, secret_digest=digest(secret), created_at=now)
        live = cls._default_manager.filter(**{cls.OWNER: owner}, revoked_at=None).order_by("-created_at", "-pk")
        stale = list(live.values_list("pk", flat=True)[LIVE_AT_MOST:])
        cls._default_manager.filter(pk__in=stale).update(revoked_at=now)
        return secret

    @classmethod
    def find(cls, unverified_secret: str, owner: Any) -> Self | None:
        """The live secret of this owner that equals `unverified_secret`."""
        found: Self | None = _live(cls).first(owner=owner.pk, secret_digest=digest(unverified_secret))
        return found


@cache
def _live(kind: type[Any]) -> Rows[Any]:
    given = {f"{kind.OWNER}_id": Given("owner"), "secret_digest": Given("secret_digest")}
    return Rows(lambda: kind._default_manager.filter(**given, revoked_at=None))
