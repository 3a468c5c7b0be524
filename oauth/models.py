"""Grants, uses and signing keys; and django-oauth-toolkit's tables, swapped into this app from the start."""

import uuid
from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)

from accounts.models import User
from clients.models import Agent
from operations.models import Resource


class GrantQuerySet(models.QuerySet["Grant"]):
    def alive(self, now: datetime) -> "GrantQuerySet":
        """Grants that still count: not revoked, not over, and agent and person are active.

        One table and EXISTS, so that an UPDATE through this is one conditional statement: a join would
        move every condition into a subquery, which PostgreSQL does not look at again after a wait.
        """
        agents = Agent.objects.filter(pk=OuterRef("agent_id"), status=Agent.Status.ACTIVE)
        users = User.objects.filter(pk=OuterRef("user_id"), is_active=True)
        resources = Resource.objects.filter(pk=OuterRef("resource_id"), is_active=True)
        return self.filter(
            Exists(agents),
            models.Q(user_id=None) | Exists(users),
            models.Q(resource_id=None) | Exists(resources),
            revoked_at=None,
            expires_at__gt=now,
        )


class Grant(models.Model):
    """What was granted: to which agent, for whom, what exactly, how often, until when.

    The root of all that hangs on it: a token, a use, a lease asks whether its grant is alive.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="grants")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="grants")
    resource = models.ForeignKey(Resource, null=True, on_delete=models.PROTECT, related_name="grants")
    scopes = ArrayField(models.CharField(max_length=100), default=list)
    authorization_details = models.JSONField(default=list)
    operation_digest = models.CharField(max_length=43)
    # None: not counted (nothing but scopes, or several routine operations).
    uses_left = models.PositiveSmallIntegerField(null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    # The BackchannelRequest that it came from, an id only: `oauth` does not know `ciba`.
    request_id = models.UUIDField(null=True, db_index=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["user", "agent"]), models.Index(fields=["expires_at"])]
        constraints = [
            models.CheckConstraint(
                name="grant_uses_not_negative",
                condition=models.Q(uses_left__gte=0) | models.Q(uses_left=None),
            )
        ]

    def __str__(self) -> str:
        return f"grant {self.id}"

    @property
    def sub(self) -> str:
        """RFC 9068 2.2: the person, or the agent itself where there is none."""
        return str(self.user_id) if self.user_id else str(self.agent.client_id)


class Use(models.Model):
    """One operation done under a grant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    operation_digest = models.CharField(max_length=43)
    uses_left = models.PositiveSmallIntegerField(null=True)  # after this one: a repeat gets the same answer
    idempotency_digest = models.BinaryField(max_length=32, null=True)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["grant", "idempotency_digest"], name="use_idempotency_unique")]

    def __str__(self) -> str:
        return f"use {self.id}"


class SigningKey(models.Model):
    """A key that we sign with; the private part is sealed (foundation/keyring.py).

    Listed in the JWKS from `created_at`, signs from `active_at` until a later one does, listed until
    `withdrawn_at`.
    """

    kid = models.CharField(primary_key=True, max_length=43)
    algorithm = models.CharField(max_length=5, choices=[("ES256", "ES256"), ("RS256", "RS256")])
    public_jwk = models.JSONField()
    sealed_private_jwk = models.BinaryField()
    created_at = models.DateTimeField()
    active_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid[:8]}"


class AuthorizationCode(AbstractGrant):
    """django-oauth-toolkit's Grant: a code of the authorization-code flow."""

    class Meta(AbstractGrant.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_GRANT_MODEL"
        default_permissions = ()


class AccessToken(AbstractAccessToken):
    """django-oauth-toolkit's table. Our access tokens are JWTs and are not stored."""

    class Meta(AbstractAccessToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL"
        default_permissions = ()


class RefreshToken(AbstractRefreshToken):
    class Meta(AbstractRefreshToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL"
        default_permissions = ()


class IDToken(AbstractIDToken):
    class Meta(AbstractIDToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ID_TOKEN_MODEL"
        default_permissions = ()
