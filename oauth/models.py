"""Grants, uses and signing keys; and django-oauth-toolkit's tables, swapped into this app from the start."""

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef
from django.db.models.expressions import NegatedExpression
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)

from accounts.models import User
from clients.models import ID_TOKEN_ALGORITHMS, Agent
from foundation.prepared import Given
from operations.models import Resource


class GrantQuerySet(models.QuerySet["Grant"]):
    def alive(self, now: datetime | Given) -> "GrantQuerySet":
        """Grants that still count: not revoked, not over, agent and person are active, and the agent is still
        controlled by whom it was granted to.

        One table and EXISTS, so that an UPDATE through this is one conditional statement: a join would
        move every condition into a subquery, which PostgreSQL does not look at again after a wait.
        """
        agents = Agent.objects.filter(
            pk=OuterRef("agent_id"), status=Agent.Status.ACTIVE, control_epoch=OuterRef("agent_epoch")
        )
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
    agent_epoch = models.PositiveIntegerField(default=0, db_default=0)  # the agent's control_epoch when it asked
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
    # When the person said yes in the browser; of every yes how and when they had signed in, and whether refresh
    # tokens may hang on it.
    consented_at = models.DateTimeField(null=True)
    signed_in_at = models.DateTimeField(null=True)
    acr = models.CharField(max_length=20, blank=True)
    is_offline = models.BooleanField(default=False)
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
    algorithm = models.CharField(max_length=5, choices=[(name, name) for name in ID_TOKEN_ALGORITHMS])
    public_jwk = models.JSONField()
    sealed_private_jwk = models.BinaryField()
    created_at = models.DateTimeField()
    active_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid[:8]}"


class AuthorizationRequest(models.Model):
    """An authorization request (RFC 6749 4.1.1) while the person reads the consent page.

    Everything is kept here: the page carries a handle, and an answer can only narrow what is stored. Bound
    to the person and the session that it was shown in; answered once.
    """

    handle_digest = models.BinaryField(max_length=32, unique=True)
    session_digest = models.BinaryField(max_length=32)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    agent_epoch = models.PositiveIntegerField(default=0, db_default=0)  # the agent's control_epoch when it asked
    resource = models.ForeignKey(Resource, null=True, on_delete=models.CASCADE, related_name="+")
    scopes = ArrayField(models.CharField(max_length=100))  # what may be granted here
    later_scopes = ArrayField(models.CharField(max_length=100))  # sensitive and critical: asked for each time
    may_stay = models.BooleanField()  # refresh tokens are possible
    redirect_uri = models.TextField()
    client_state = models.TextField(blank=True)  # the agent's `state`, to be returned
    nonce = models.CharField(max_length=255, blank=True)
    code_challenge = models.CharField(max_length=43)  # empty: this agent may omit PKCE
    dpop_jkt = models.CharField(max_length=43, blank=True)  # RFC 9449 10
    signed_in_at = models.DateTimeField()
    acr = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"request of {self.agent_id} for {self.user_id}"


# django-oauth-toolkit's tables. Only its columns that fit are kept (docs/adr/0013): agent, person, resource and
# scopes of a code or a refresh token are those of its Grant, and neither is stored in clear.


class AuthorizationCode(AbstractGrant):
    """A code (RFC 6749 4.1.2): the digest, what it is bound to, and whether it was used."""

    user = code = application = expires = scope = created = updated = None  # type: ignore[assignment]
    code_challenge_method = claims = resource = None  # type: ignore[assignment]

    code_digest = models.BinaryField(max_length=32, unique=True)
    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="codes")
    dpop_jkt = models.CharField(max_length=43, blank=True)  # the only key that may redeem it; empty: any
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)

    class Meta(AbstractGrant.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_GRANT_MODEL"
        default_permissions = ()

    def __str__(self) -> str:
        return f"code of {self.grant_id}"


class RefreshToken(AbstractRefreshToken):
    """A refresh token (RFC 6749 6): used once; its successor is another row. Its family is its Grant.

    `salt` is what it was derived with (oauth/successors.py); the first of a grant is random, and its salt is empty.
    """

    user = token = token_checksum = application = access_token = None  # type: ignore[assignment]
    token_family = resource = created = updated = revoked = None  # type: ignore[assignment]

    token_digest = models.BinaryField(max_length=32, unique=True)
    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="refresh_tokens")
    cnf = models.JSONField(default=dict)  # the keys that whoever uses it must hold; empty: it is not bound
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)
    predecessor = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="successor")
    salt = models.BinaryField(max_length=32, default=b"")
    given_at = models.DateTimeField(null=True)  # when an answer last brought it; null: the code's answer, nothing since

    class Meta(AbstractRefreshToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL"
        default_permissions = ()
        unique_together = ()  # type: ignore[assignment]  # of columns that are not here
        indexes = ()  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"refresh token of {self.grant_id}"


class AccessToken(AbstractAccessToken):
    """Stays empty: our access tokens are JWTs and are not stored. django-oauth-toolkit's tables refer to it."""

    class Meta(AbstractAccessToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL"
        default_permissions = ()


class IDToken(AbstractIDToken):
    """Stays empty, as AccessToken."""

    class Meta(AbstractIDToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ID_TOKEN_MODEL"
        default_permissions = ()


class RevokedToken(models.Model):
    """An access token that was revoked before its end (RFC 7009), by its `jti`."""

    jti_digest = models.BinaryField(max_length=32, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"revoked until {self.expires_at:%Y-%m-%d %H:%M}"


def not_revoked(jti_digest: bytes | Given) -> "NegatedExpression[Any]":
    """A condition for any query: this very token was not revoked before its end."""
    return ~Exists(RevokedToken.objects.filter(pk=jti_digest))
