"""Backends, roles and leases."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Exists, OuterRef, Q

from clients.models import Agent
from credentials.backends.states import BackendStatus
from credentials.engines import Engine, EngineError, UnknownEngine, engine_names, find_engine
from credentials.leases.states import ENDING_STATES, FINAL_STATES, State
from foundation.compiled_queries import Parameter
from foundation.handles import random_bytes
from foundation.sealed_columns import SealedField
from oauth.models import Grant
from operations.lifetimes import MAX_TOKEN_LIFETIME_S
from operations.models import OperationType

NAME = RegexValidator(r"^[a-z][a-z0-9-]{0,40}\Z", "Lower-case letters, digits and hyphens.")
STATUS_LABELS = {
    BackendStatus.NEW: "new: its preflight has not passed",
    BackendStatus.ENABLED: "enabled: issues leases",
    BackendStatus.DRAINING: "draining: issues no more leases; live leases end in time",
}


def new_prefix() -> str:
    """The prefix of every account name on one backend.

    One per backend, so that two servers on one system do not collide.
    """
    return f"cs_{random_bytes(3).hex()}_"


def engine_choices() -> list[tuple[str, str]]:
    return [(name, _title(name)) for name in engine_names()]


def _title(name: str) -> str:
    """The engine's title. A broken third-party engine must not break the page for the others."""
    try:
        return find_engine(name).title
    except UnknownEngine as error:
        return f"{name}, which cannot be used: {error}"


def mismatches(schema: Any, value: Any) -> list[str]:
    """The positions at which `value` violates `schema`, with the reason."""
    from jsonschema import Draft202012Validator  # imported late: most processes check no settings

    found = Draft202012Validator(schema).iter_errors(value)
    return [f"{'/'.join(map(str, error.absolute_path)) or 'settings'}: {error.message[:200]}" for error in found]


class BackendQuerySet(models.QuerySet["Backend"]):
    def in_service(self) -> "BackendQuerySet":
        """All backends except drained ones without leases: their systems may be gone."""
        left = Lease.objects.filter(backend=OuterRef("pk")).exclude(state__in=FINAL_STATES)
        return self.exclude(~Exists(left), status=Backend.Status.DRAINING)


class Backend(models.Model):
    """A connected system. Its administrator's secret is sealed and never listed or shown."""

    Status = BackendStatus

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=41, unique=True, validators=[NAME])
    engine = models.CharField(max_length=40, choices=engine_choices)
    settings = models.JSONField(
        help_text="The address of the system and the name of the administrator account. Never a secret."
    )
    sealed_secret = SealedField(editable=False)
    # Root rotation: stored before the backend is changed, until one of the two secrets is known to
    # work.
    sealed_next_secret = SealedField(null=True, editable=False)
    prefix = models.CharField(max_length=12, unique=True, default=new_prefix, editable=False)
    max_leases = models.PositiveIntegerField(default=1000, validators=[MinValueValidator(1)])
    status = models.CharField(
        max_length=10, choices=list(STATUS_LABELS.items()), default=BackendStatus.NEW, editable=False
    )
    preflight = models.JSONField(default=dict, editable=False)
    preflight_at = models.DateTimeField(null=True, editable=False)
    rotating_since = models.DateTimeField(null=True, editable=False)  # or since both secrets were refused
    secret_changed_at = models.DateTimeField(null=True, editable=False)
    # The circuit breaker: after a failure to reach the backend, no call is made before `retry_at`.
    failures = models.PositiveIntegerField(default=0, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    problem = models.CharField(max_length=300, blank=True, editable=False)
    scanned_at = models.DateTimeField(null=True, editable=False)
    orphans = models.JSONField(default=list, editable=False)
    # Objects that an account may have left and that are not its own; reported once
    # (lifecycle/revocation.py).
    left_behind = models.JSONField(default=list, editable=False)

    objects = BackendQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        try:
            engine = find_engine(self.engine)
        except UnknownEngine as error:
            raise ValidationError({"engine": str(error)}) from error
        # The form reports missing settings.
        if self.settings is not None and (found := mismatches(engine.backend_schema, self.settings)):
            raise ValidationError({"settings": found})

    def find_engine(self) -> Engine:
        """Raises UnknownEngine."""
        return find_engine(self.engine)

    @property
    def is_revocable(self) -> bool | None:
        """None if no engine for this backend is installed."""
        try:
            return self.find_engine().is_revocable
        except UnknownEngine:
            return None


class Role(models.Model):
    """What may be issued from a backend.

    Only its operation type holds risk, assurance and wording.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    backend = models.ForeignKey(Backend, on_delete=models.PROTECT, related_name="roles")
    name = models.CharField(max_length=41, unique=True, validators=[NAME])
    operation_type = models.OneToOneField(
        OperationType, on_delete=models.PROTECT, related_name="credential_role", editable=False
    )
    settings = models.JSONField(
        help_text="The rights of the account, in the engine's own terms (docs/guides/credentials.md)."
    )
    default_lifetime = models.PositiveIntegerField(
        default=600, validators=[MinValueValidator(10), MaxValueValidator(MAX_TOKEN_LIFETIME_S)], help_text="Seconds."
    )
    max_lifetime = models.PositiveIntegerField(
        default=3600,
        validators=[MinValueValidator(30), MaxValueValidator(MAX_TOKEN_LIFETIME_S)],
        help_text="Seconds, with all renewals.",
    )
    max_leases = models.PositiveIntegerField(default=100, validators=[MinValueValidator(1)])
    max_per_agent = models.PositiveIntegerField(default=10, validators=[MinValueValidator(1)])
    max_per_user = models.PositiveIntegerField(default=10, validators=[MinValueValidator(1)])
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ["name"]
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.default_lifetime > self.max_lifetime:
            raise ValidationError(
                {"default_lifetime": "The default lifetime must not be longer than the maximum lifetime."}
            )
        if not hasattr(self, "backend") or self.settings is None:
            return  # the form reports that it is missing
        try:
            engine = find_engine(self.backend.engine)
        except UnknownEngine as error:
            raise ValidationError({"backend": str(error)}) from error
        try:
            problems = mismatches(engine.role_schema, self.settings) or engine.problems_with_role(self.settings)
        except EngineError as error:  # a third-party engine that fails
            problems = [str(error)]
        if problems:
            raise ValidationError({"settings": problems})


# A revocation takes a second or two. Longer than this, somebody must look.
OVERDUE_AFTER = timedelta(minutes=1)


class LeaseQuerySet(models.QuerySet["Lease"]):
    def overdue(self, now: datetime) -> "LeaseQuerySet":
        """Leases that have ended and whose accounts no read has confirmed gone, for too long. Without stuck ones.

        A lease that cannot be revoked is overdue only after its own expiry (credentials/metrics.py).
        """
        fixed = [backend.pk for backend in Backend.objects.all() if backend.is_revocable is False]
        since = now - OVERDUE_AFTER
        is_over = Q(~Q(backend__in=fixed), ended_at__lte=since) | Q(backend__in=fixed, expires_at__lte=since)
        # Both conditions on the state: PostgreSQL then sees that the partial index holds these rows.
        return self.filter(is_over, state__in=ENDING_STATES).exclude(state=State.STUCK)

    def entitled(self, now: datetime | Parameter) -> "LeaseQuerySet":
        """Leases whose grant is alive, and so agent, user and resource are active.

        EXISTS: see GrantQuerySet.alive.
        """
        return self.filter(Exists(Grant.objects.alive(now).filter(pk=OuterRef("grant_id"))))

    def not_entitled(self, now: datetime | Parameter) -> "LeaseQuerySet":
        return self.filter(~Exists(Grant.objects.alive(now).filter(pk=OuterRef("grant_id"))))


class Recovery(models.Model):
    """Revocation is paused while a row without an end exists: the database was restored from a
    backup.
    """

    id = models.BigAutoField(primary_key=True)
    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=300)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "recoveries"
        constraints = [
            models.UniqueConstraint(models.Value(1), name="recovery_one_at_a_time", condition=Q(ended_at=None))
        ]

    def __str__(self) -> str:
        return f"recovery of {self.started_at:%Y-%m-%d %H:%M}"


class Lease(models.Model):
    """One issued credential.

    Holds all that its revocation needs, frozen at the request.

    The row is committed before the backend is called. Only credentials/leases/lifecycle writes
    `state`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="leases")
    backend = models.ForeignKey(Backend, on_delete=models.PROTECT, related_name="leases")
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="leases")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="leases")
    user = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="leases"
    )
    request_id = models.UUIDField(null=True)
    operation_digest = models.CharField(max_length=43)
    use_id = models.UUIDField()
    purpose = models.CharField(max_length=200, blank=True)
    account_name = models.CharField(max_length=63)
    settings = models.JSONField()  # the role's settings at the request
    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in State])
    created_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    # Seconds from the request, and from each renewal that requests no other lifetime.
    lifetime = models.PositiveIntegerField()
    expires_at = models.DateTimeField()
    max_expires_at = models.DateTimeField()
    # The limits that decided these two times (credentials/leases/limits.py).
    bound_by = models.CharField(max_length=20)
    max_bound_by = models.CharField(max_length=20)
    # Wrapped delivery: the handle's digest, and its expiry.
    wrap_digest = models.BinaryField(max_length=32, null=True, unique=True)
    wrap_expires_at = models.DateTimeField(null=True)
    idempotency_digest = models.BinaryField(max_length=32, null=True)
    # Revocation.
    ended_at = models.DateTimeField(null=True)  # the lease may not be used from this time on
    end_reason = models.CharField(max_length=40, blank=True)
    ended_by = models.CharField(max_length=300, blank=True)
    revoked_at = models.DateTimeField(null=True)  # confirmed by a read on the system
    due_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)  # a call to the backend about it is in progress
    attempts = models.PositiveIntegerField(default=0)
    problem = models.CharField("last problem", max_length=300, blank=True)

    objects = LeaseQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ("view", "change")
        constraints = [
            models.UniqueConstraint(fields=["backend", "account_name"], name="lease_account_unique"),
            models.UniqueConstraint(fields=["grant", "idempotency_digest"], name="lease_idempotency_unique"),
        ]
        indexes = [
            models.Index(name="lease_made", fields=["created_at"]),
            models.Index(name="lease_expiring", fields=["expires_at"], condition=Q(state=State.ACTIVE)),
            models.Index(
                name="lease_unfinished",
                fields=["claimed_until"],
                condition=Q(state__in=[State.WRAPPED, State.CREATING]),
            ),
            models.Index(
                name="lease_to_revoke", fields=["backend", "due_at"], condition=Q(state__in=sorted(ENDING_STATES))
            ),
            models.Index(name="lease_not_revoked", fields=["backend", "role"], condition=~Q(state=State.REVOKED)),
            models.Index(name="lease_of_agent_not_revoked", fields=["agent"], condition=~Q(state=State.REVOKED)),
            models.Index(name="lease_of_user_not_revoked", fields=["user"], condition=~Q(state=State.REVOKED)),
            models.Index(fields=["agent", "-created_at"]),
            models.Index(fields=["user", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"lease {self.id}"
