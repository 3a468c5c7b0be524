"""Requests, prompts and approvals."""

import uuid
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, When

from accounts.models import User
from ciba.states import State
from clients.models import Agent, AgentLink
from foundation.compiled_queries import CompiledQuery, CompiledUpdate, ExistsByKey, Parameter
from foundation.outbound import MAX_URL
from foundation.remote_jwks import StoredKeySet
from foundation.sealed_columns import SealedField
from oauth.models import Grant
from operations.models import OperationTypeVersion, Resource


class RequestQuerySet(models.QuerySet["BackchannelRequest"]):
    """EXISTS everywhere, so that an UPDATE through these stays one conditional statement (see GrantQuerySet.alive)."""

    def waiting(self, now: datetime) -> "RequestQuerySet":
        """Requests that a user can still answer. A decoy waits for nobody."""
        open_states = [State.PENDING, State.APPROVED, State.DELIVERING]  # as the index request_due
        return self.filter(state__in=open_states, expires_at__gt=now, user__isnull=False).filter(state=State.PENDING)

    def alive(self) -> "RequestQuerySet":
        """Agent and user are active, the user has not stopped the agent, and no grant of it was revoked.

        A decoy has no user and counts as alive.
        """
        return self.alive_for_any_user().filter(
            ~ExistsByKey(User.objects.filter(pk=OuterRef("user_id"), is_active=False))
        )

    def alive_for_any_user(self) -> "RequestQuerySet":
        """The same, whether or not the user is active: if users are hidden, an agent does not learn that."""
        stops = AgentLink.objects.filter(agent=OuterRef("agent_id"), user=OuterRef("user_id"), stopped_at__isnull=False)
        revoked = Grant.objects.filter(pk=OuterRef("grant_id"), revoked_at__isnull=False)
        active = Agent.objects.filter(
            pk=OuterRef("agent_id"), status=Agent.Status.ACTIVE, control_epoch=OuterRef("agent_epoch")
        )
        return self.filter(~Exists(stops), ~Exists(revoked), Exists(active))

    def polled(self, *, hides_users: bool) -> "RequestQuerySet":
        """For a poll: `is_alive` of each, which does not reveal to an agent that an approver was disabled if users are
        hidden.
        """
        this = BackchannelRequest.objects.filter(pk=OuterRef("pk"))
        is_alive: Any = ExistsByKey(this.alive())
        if hides_users:
            hidden = When(state=State.PENDING, then=ExistsByKey(this.alive_for_any_user()))
            is_alive = Case(hidden, default=is_alive)
        return self.annotate(is_alive=is_alive).select_related("agent", "user", "resource", "grant")


class BackchannelRequest(models.Model):
    """One CIBA authentication request (CIBA Core 7). Only ciba/lifecycle/ writes `state`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="requests", db_index=False)
    agent_epoch = models.PositiveIntegerField(default=0, db_default=0)  # the agent's control_epoch at the request
    # None: a decoy, so that the agent does not learn who exists (policy.py). It can only end.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="requests", db_index=False
    )
    resource = models.ForeignKey(Resource, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in State])
    auth_req_id_digest = models.BinaryField(max_length=32, unique=True)
    scopes = ArrayField(models.CharField(max_length=100))
    authorization_details = models.JSONField(default=list)
    versions = models.ManyToManyField(OperationTypeVersion, related_name="+")
    operation_digest = models.CharField(max_length=43)
    assurance = models.CharField(max_length=10)
    uses = models.PositiveSmallIntegerField(null=True)  # None: not counted
    grant_lifetime = models.PositiveIntegerField()  # seconds
    binding_message = models.CharField(max_length=120, blank=True)
    content = models.JSONField()
    wording_version = models.PositiveSmallIntegerField()
    delivery_mode = models.CharField(max_length=4, choices=Agent.DeliveryMode.choices, default=Agent.DeliveryMode.POLL)
    # The endpoint for ping and push, as registered at the request. Later changes do not count.
    notification_endpoint = models.CharField(max_length=MAX_URL, blank=True, default="", db_default="")
    # Only for ping and push. Erased when nothing is left to send (ciba/callbacks/state.py).
    sealed_auth_req_id = SealedField(null=True)
    sealed_notification_token = SealedField(null=True)
    sealed_token_response = SealedField(null=True)  # the pushed tokens; a repeated push sends the same
    callback_deadline_at = models.DateTimeField(null=True)
    interval = models.PositiveSmallIntegerField()  # seconds, as in the acknowledgement
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(
        help_text="When the state ends by itself: the prompt closes, or the agent can no longer fetch the tokens."
    )
    auth_req_id_expires_at = models.DateTimeField()  # as expires_in in the acknowledgement
    decided_at = models.DateTimeField(null=True)
    redeemed_at = models.DateTimeField(null=True)
    grant = models.OneToOneField(Grant, null=True, on_delete=models.PROTECT, related_name="request")

    objects = RequestQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        permissions = [("cancel_backchannelrequest", "Can cancel requests")]
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="decoy_has_no_answer",
                condition=Q(user__isnull=False)
                | Q(grant__isnull=True, state__in=[State.PENDING, State.EXPIRED, State.CANCELLED]),
            )
        ]
        # Which query uses which index: bench/query_plans.py.
        indexes = [
            models.Index(name="request_made", fields=["created_at"]),
            # For the administration's list. Most requests are redeemed, and a list of those is read by request_made.
            models.Index(
                name="request_not_redeemed", fields=["state", "created_at"], condition=~Q(state=State.REDEEMED)
            ),
            models.Index(name="request_agent", fields=["agent", "created_at"]),
            models.Index(name="request_user", fields=["user", "created_at"]),
            models.Index(
                name="request_due",
                fields=["expires_at"],
                condition=Q(state__in=[State.PENDING, State.APPROVED, State.DELIVERING]),
            ),
            models.Index(
                name="request_sealed",
                fields=["callback_deadline_at"],
                condition=Q(callback_deadline_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"request {self.id}"


class IdempotencyKey(models.Model):
    """The Idempotency-Key of one request, with which its agent may repeat it (ciba/repeats.py)."""

    request = models.OneToOneField(
        BackchannelRequest, primary_key=True, on_delete=models.CASCADE, related_name="idempotency_key"
    )
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    key_digest = models.BinaryField(max_length=32)
    sealed_response = SealedField(
        identified_by="request_id",
    )  # the auth_req_id, and the digest of the request's parameters
    expires_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["agent", "key_digest"], name="idempotency_key_unique")]
        indexes = [models.Index(name="idempotency_key_due", fields=["expires_at"])]

    def __str__(self) -> str:
        return f"key of request {self.request_id}"


_ALIVE = CompiledQuery(lambda: BackchannelRequest.objects.alive().filter(pk=Parameter("request")).values_list("pk"))
_LOCKED = CompiledQuery(
    lambda: (
        BackchannelRequest.objects.select_related("agent", "user", "resource", "grant")
        .select_for_update(of=("self",))
        .filter(pk=Parameter("request"))
    )
)
_PENDING = CompiledQuery(
    lambda: (
        BackchannelRequest.objects.filter(
            agent=Parameter("agent"), user=Parameter("user"), state=State.PENDING, expires_at__gt=Parameter("now")
        )
        .order_by()
        .values_list("pk")
    )
)


@cache
def _polled(*, hides_users: bool) -> CompiledQuery[BackchannelRequest]:
    named = {"auth_req_id_digest": Parameter("auth_req_id_digest")}
    return CompiledQuery(lambda: BackchannelRequest.objects.polled(hides_users=hides_users).filter(**named))


def is_alive(request: BackchannelRequest) -> bool:
    """RequestQuerySet.alive of one, which every answer asks."""
    return _ALIVE.any(request=request.pk)


def lock_request(request_id: uuid.UUID) -> BackchannelRequest:
    locked = _LOCKED.first(request=request_id)
    if locked is None:
        raise BackchannelRequest.DoesNotExist(f"request {request_id}")
    return locked


def find_polled(auth_req_id_digest: bytes) -> BackchannelRequest | None:
    """RequestQuerySet.polled of one, which every poll asks."""
    return _polled(hides_users=settings.HIDE_UNKNOWN_USERS).first(auth_req_id_digest=auth_req_id_digest)


def count_pending(agent: Agent, user_id: uuid.UUID, now: datetime) -> int:
    """How many requests of this agent wait for this user's answer."""
    return len(_PENDING(agent=agent.pk, user=user_id, now=now))


class Prompt(models.Model):
    """What one approver sees and answers; one per approver."""

    class Answer(models.TextChoices):
        APPROVED = "approved"
        DENIED = "denied"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(
        BackchannelRequest, on_delete=models.CASCADE, related_name="prompts", db_index=False
    )  # prompt_approver_unique begins with it
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="prompts")
    nonce = models.BinaryField(max_length=32)
    prompt_digest = models.BinaryField(max_length=32, unique=True)
    answer = models.CharField(max_length=10, choices=Answer.choices, blank=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["request", "approver"], name="prompt_approver_unique")]

    def __str__(self) -> str:
        return f"prompt {self.id}"


_TO_ANSWER = CompiledQuery(
    lambda: (
        Prompt.objects.select_related("request__agent", "request__user")
        .annotate(is_alive=ExistsByKey(BackchannelRequest.objects.alive().filter(pk=OuterRef("request_id"))))
        .filter(pk=Parameter("prompt"))
    )
)
_SET_ANSWER = CompiledUpdate(
    lambda: Prompt.objects.filter(pk=Parameter("prompt")), answer=Parameter("answer"), answered_at=Parameter("now")
)


def find_prompt_to_answer(prompt_id: uuid.UUID) -> Prompt | None:
    """Anybody's prompt; its `is_alive` is that of its request."""
    return _TO_ANSWER.first(prompt=prompt_id)


def set_answer(prompt: Prompt, answer: Prompt.Answer, now: datetime) -> None:
    _SET_ANSWER(prompt=prompt.pk, answer=answer, now=now)


class Approval(models.Model):
    """The evidence of one yes."""

    prompt = models.OneToOneField(Prompt, primary_key=True, on_delete=models.PROTECT, related_name="approval")
    assurance = models.CharField(max_length=10)
    prompt_digest = models.BinaryField(max_length=32)
    signed_in_at = models.DateTimeField()
    address = models.GenericIPAddressField()
    user_agent = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"approval at {self.at:%Y-%m-%d %H:%M:%S}"


HINT_ALGORITHMS = ("ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "EdDSA")


def default_hint_algorithms() -> list[str]:
    return ["ES256"]


class HintIssuer(models.Model):
    """An issuer whose login_hint_token this server trusts to name a user (ciba/hint_tokens.py)."""

    id = models.BigAutoField(primary_key=True)
    issuer = models.CharField(max_length=300, unique=True, help_text="The `iss` of its tokens.")
    algorithms = ArrayField(
        models.CharField(max_length=5, choices=[(name, name) for name in HINT_ALGORITHMS]),
        default=default_hint_algorithms,
    )
    jwks = models.JSONField("public keys (JWK Set)", null=True, blank=True)
    jwks_uri = models.CharField("address of public keys", max_length=2048, blank=True, help_text="Instead of the keys.")
    is_active = models.BooleanField("active", default=True)

    class Meta:
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.issuer

    def clean(self) -> None:
        from ciba.hint_tokens import problem_with_keys  # imported late: it imports this model

        super().clean()
        if not self.jwks and not self.jwks_uri:
            raise ValidationError({"jwks": "Enter the issuer's public keys or their address."})
        if self.jwks and (problem := problem_with_keys(self.jwks)):
            raise ValidationError({"jwks": problem})


class HintIssuerKeys(StoredKeySet):
    """The keys fetched from a hint issuer's `jwks_uri` (ciba/hint_tokens.py)."""

    issuer = models.OneToOneField(HintIssuer, primary_key=True, on_delete=models.CASCADE, related_name="published_keys")

    class Meta:
        default_permissions = ()
