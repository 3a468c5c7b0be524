"""Generated secrets of agents and resources: 256 random bits, shown once, stored as SHA-256.

A slow password hash protects passwords that users choose. These secrets cannot be guessed, and with
a slow hash any caller could saturate the server with wrong secrets.
"""

from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Self

from django.db import models

from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.handles import digest, new_handle

MAX_LIVE_SECRETS = 2


class GeneratedSecret(models.Model):
    """One secret of one owner. During a rotation two secrets are valid."""

    OWNER: ClassVar[str]  # the name of the foreign key to the owner

    secret_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"secret of {self.created_at:%Y-%m-%d %H:%M}"

    @classmethod
    def issue(cls, owner: models.Model, now: datetime) -> str:
        """Creates a secret and returns it, once. Revokes the oldest secrets beyond MAX_LIVE_SECRETS.

        Call it inside a transaction that holds the owner's row lock.
        """
        secret = cls.issue_first(owner, now)
        live = cls._default_manager.filter(**{cls.OWNER: owner}, revoked_at=None).order_by("-created_at", "-pk")
        stale = list(live.values_list("pk", flat=True)[MAX_LIVE_SECRETS:])
        cls._default_manager.filter(pk__in=stale).update(revoked_at=now)
        return secret

    @classmethod
    def issue_first(cls, owner: models.Model, now: datetime) -> str:
        """Like `issue`, for a new owner, which has no secret yet."""
        secret = new_handle()
        cls._default_manager.create(**{cls.OWNER: owner}, secret_digest=digest(secret), created_at=now)
        return secret

    @classmethod
    def find(cls, unverified_secret: str, owner: Any) -> Self | None:
        """The owner's valid secret that equals `unverified_secret`, or None."""
        found: Self | None = _find(cls).first(owner=owner.pk, secret_digest=digest(unverified_secret))
        return found

    @classmethod
    def valid(cls, owner: Any) -> "models.QuerySet[Self]":
        """For a compiled query: the owner's valid secrets whose digest is the parameter `secret_digest`."""
        owned = {cls.OWNER: owner, "secret_digest": Parameter("secret_digest"), "revoked_at": None}
        return cls._default_manager.filter(**owned)


@cache
def _find(kind: type[Any]) -> CompiledQuery[Any]:
    return CompiledQuery(lambda: kind.valid(Parameter("owner")))
