"""Grants, uses and signing keys, and django-oauth-toolkit's tables, swapped into this app from the
start.
"""

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
from foundation.compiled_queries import ExistsByKey, Parameter
from foundation.sealed_columns import SealedField
from operations.models import Resource


class GrantQuerySet(models.QuerySet["Grant"]):
    def alive(self, now: datetime | Parameter) -> "GrantQuerySet":
        """Grants that still count: not revoked and not expired, agent and user active, and the
        agent still under the control that it had when the grant was made.

        The query reads one table and uses EXISTS, so that an UPDATE through it is one conditional
        statement. A join would move every condition into a subquery, which PostgreSQL does not
        check again after it waited for a lock.
        """
        agents = Agent.objects.filter(
            pk=OuterRef("agent_id"), status=Agent.Status.ACTIVE, control_epoch=OuterRef("agent_epoch")
        )
        users = User.objects.filter(pk=OuterRef("user_id"), is_active=True)
        resources = Resource.objects.filter(pk=OuterRef("resource_id"), is_active=True)
        return self.filter(
            ExistsByKey(agents),
            models.Q(user_id=None) | ExistsByKey(users),
            models.Q(resource_id=None) | ExistsByKey(resources),
            revoked_at=None,
            expires_at__gt=now,
        )


class Grant(models.Model):
    """What was granted: agent, user, scopes and operations, number of uses, expiry.

    Every token, use and lease belongs to a grant and is valid only while the grant is alive.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="grants")
    agent_epoch = models.PositiveIntegerField(default=0, db_default=0)  # the agent's control_epoch at the request
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="grants")
    resource = models.ForeignKey(Resource, null=True, on_delete=models.PROTECT, related_name="grants")
    scopes = ArrayField(models.CharField(max_length=100), default=list)
    authorization_details = models.JSONField(default=list)
    operation_digest = models.CharField(max_length=43)
    # None: uses are not counted (only scopes, or several routine operations).
    uses_left = models.PositiveSmallIntegerField(null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    # Set if the user consented in the browser. The fields below hold, for every approval, how and
    # when the user had signed in, and whether refresh tokens may be issued.
    consented_at = models.DateTimeField(null=True)
    signed_in_at = models.DateTimeField(null=True)
    acr = models.CharField(max_length=20, blank=True)
    is_offline = models.BooleanField(default=False)
    # The BackchannelRequest that led to this grant. Only its id is stored: `oauth` does not import
    # `ciba`.
    request_id = models.UUIDField(null=True, db_index=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["user", "agent"]),
            models.Index(fields=["expires_at"]),
            models.Index(name="grant_made", fields=["created_at"]),
        ]
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
        """RFC 9068 2.2: the user, or the agent itself if there is no user."""
        return str(self.user_id) if self.user_id else str(self.agent.client_id)


class Use(models.Model):
    """One operation carried out under a grant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    operation_digest = models.CharField(max_length=43)
    uses_left = models.PositiveSmallIntegerField(null=True)  # after this use: a repeated call gets the same answer
    idempotency_digest = models.BinaryField(max_length=32, null=True)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["grant", "idempotency_digest"], name="use_idempotency_unique")]

    def __str__(self) -> str:
        return f"use {self.id}"


class SigningKey(models.Model):
    """A signing key of this server; the private part is sealed (foundation/keyring.py).

    The JWKS lists it from `created_at` until `withdrawn_at`. It signs from `active_at` until a
    later key does.
    """

    kid = models.CharField(primary_key=True, max_length=43)
    algorithm = models.CharField(max_length=5, choices=[(name, name) for name in ID_TOKEN_ALGORITHMS])
    public_jwk = models.JSONField()
    sealed_private_jwk = SealedField()
    created_at = models.DateTimeField()
    active_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid[:8]}"


class AuthorizationRequest(models.Model):
    """An authorization request (RFC 6749 4.1.1) while the user reads the consent page.

    The whole request is stored; the page carries only a handle, and an answer can only narrow the
    request. The request is bound to the user and the session that saw it, and is answered once.
    """

    handle_digest = models.BinaryField(max_length=32, unique=True)
    session_digest = models.BinaryField(max_length=32)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    agent_epoch = models.PositiveIntegerField(default=0, db_default=0)  # the agent's control_epoch at the request
    resource = models.ForeignKey(Resource, null=True, on_delete=models.CASCADE, related_name="+")
    scopes = ArrayField(models.CharField(max_length=100))  # that may be granted in the browser
    later_scopes = ArrayField(models.CharField(max_length=100))  # sensitive and critical: need an approval each time
    may_use_offline_access = models.BooleanField()  # refresh tokens are possible
    redirect_uri = models.TextField()
    client_state = models.TextField(blank=True)  # the agent's `state`, returned unchanged
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


# django-oauth-toolkit's tables. Only its suitable columns are kept (docs/adr/0013): agent, user,
# resource and scopes of a code or a refresh token are those of its Grant, and neither is stored in
# clear.


class AuthorizationCode(AbstractGrant):
    """A code (RFC 6749 4.1.2): its digest, its bindings, and whether it was used."""

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
    """A refresh token (RFC 6749 6).

    It is used once; its successor is another row. Its family is its Grant.

    `salt` is the salt that the token was derived with (oauth/successors.py). The first token of a
    grant is random, and its salt is empty.
    """

    user = token = token_checksum = application = access_token = None  # type: ignore[assignment]
    token_family = resource = created = updated = revoked = None  # type: ignore[assignment]

    token_digest = models.BinaryField(max_length=32, unique=True)
    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="refresh_tokens")
    cnf = models.JSONField(default=dict)  # the keys that its sender must prove to hold; empty: not bound
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)
    predecessor = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="successor")
    salt = models.BinaryField(max_length=32, default=b"")
    given_at = models.DateTimeField(null=True)  # when a response last carried it; null: only the code's response did

    class Meta(AbstractRefreshToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL"
        default_permissions = ()
        unique_together = ()  # type: ignore[assignment]  # its columns are removed here
        indexes = ()  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"refresh token of {self.grant_id}"


class AccessToken(AbstractAccessToken):
    """Always empty: access tokens are JWTs and are not stored. django-oauth-toolkit's tables refer
    to it.
    """

    class Meta(AbstractAccessToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL"
        default_permissions = ()


class IDToken(AbstractIDToken):
    """Always empty, like AccessToken."""

    class Meta(AbstractIDToken.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_ID_TOKEN_MODEL"
        default_permissions = ()


class RevokedToken(models.Model):
    """An access token that was revoked before its expiry (RFC 7009), by its `jti`."""

    jti_digest = models.BinaryField(max_length=32, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"revoked until {self.expires_at:%Y-%m-%d %H:%M}"


def not_revoked(jti_digest: bytes | Parameter) -> "NegatedExpression[Any]":
    """A condition for any query: this access token was not revoked before its expiry."""
    return ~Exists(RevokedToken.objects.filter(pk=jti_digest))
