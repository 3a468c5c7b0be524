"""Resources, scopes and operation types."""

import uuid
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from foundation.generated_secrets import GeneratedSecret
from operations import wording
from operations.identifiers import is_identifier, is_same_resource
from operations.lifetimes import MAX_TOKEN_LIFETIME_S
from operations.risk import Assurance, Risk, may_run_unasked

# OpenID Connect's own scopes. They belong to no Resource and never decide `aud`.
IDENTITY_SCOPES = ("openid", "profile", "email")
# OpenID Connect Core 11: access while the user is away. An agent may use it if it has the grant
# type refresh_token.
OFFLINE_ACCESS = "offline_access"
# The scopes in the metadata. Many clients request all of them; scopes that an agent may not have
# are left out.
LISTED_SCOPES = (*IDENTITY_SCOPES, OFFLINE_ACCESS)


def check_identifier(value: str) -> None:
    if not is_identifier(value):
        raise ValidationError("An absolute URI without a fragment, for example https://payments.example.com/")


class Resource(models.Model):
    """An API that accepts our tokens. `identifier` is the `aud` of tokens for it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    identifier = models.CharField(max_length=255, unique=True, validators=[check_identifier])
    name = models.CharField(max_length=100)
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ["name"]
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        others = Resource.objects.exclude(pk=self.pk).values_list("identifier", flat=True)
        same = next((other for other in others if is_same_resource(self.identifier, other)), None)
        # the column's unique constraint refuses the identical spelling
        if same is not None and same != self.identifier:
            raise ValidationError({"identifier": f"{same} is already registered, and names the same resource."})


class ResourceSecret(GeneratedSecret):
    """A resource's own credential, for introspection and uses only: HTTP Basic with the resource's id as user name."""

    OWNER: ClassVar[str] = "resource"

    resource = models.ForeignKey(Resource, on_delete=models.CASCADE, related_name="secrets")

    class Meta:
        default_permissions = ()


SCOPE_NAME = RegexValidator(
    r"^[\x21\x23-\x5B\x5D-\x7E]+\Z",
    "A scope's name has no space, quote or backslash, and only ASCII characters: write calendar.read, for example.",
)


class Scope(models.Model):
    """A scope of one resource. Its name is unique over all resources, so that it determines the resource."""

    id = models.BigAutoField(primary_key=True)
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="scopes")
    # RFC 6749 3.3: scope-token
    name = models.CharField(max_length=100, unique=True, validators=[SCOPE_NAME])
    description = models.CharField(
        max_length=200, help_text="The text that users read, for example “Read your calendar”."
    )
    risk = models.CharField(max_length=10, choices=[(r.value, r.value) for r in Risk], default=Risk.ROUTINE.value)
    is_active = models.BooleanField("active", default=True)

    class Meta:
        ordering = ["name"]
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.name in (*IDENTITY_SCOPES, "phone", "address", OFFLINE_ACCESS):
            raise ValidationError({"name": "OpenID Connect defines this scope."})

    @property
    def runs_unasked(self) -> bool:
        return may_run_unasked(Risk(self.risk))


class OperationType(models.Model):
    """An `authorization_details` type (RFC 9396). Its versions define its meaning; the newest version applies."""

    id = models.BigAutoField(primary_key=True)
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="operation_types")
    # RFC 9396 2: the type is often a URI, so every character of a URI is allowed (RFC 3986 2).
    name = models.CharField(
        max_length=255,
        unique=True,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z",
                "Only characters of a URI are allowed, and no space: write refund or urn:shop:refund, for example.",
            )
        ],
    )
    is_active = models.BooleanField("active", default=True)
    current = models.ForeignKey(
        "OperationTypeVersion", null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["name"]
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name


class OperationTypeVersion(models.Model):
    """One version of an operation type; never changed. A request keeps the version under which it was made."""

    id = models.BigAutoField(primary_key=True)
    operation_type = models.ForeignKey(OperationType, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    schema = models.JSONField()
    title = models.CharField(max_length=100)
    summary = models.CharField(max_length=300)
    risk = models.CharField(max_length=10, choices=[(r.value, r.value) for r in Risk])
    assurance = models.CharField(max_length=10, choices=[(a.value, a.value) for a in Assurance])
    uses = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(1000)])
    lifetime = models.PositiveIntegerField(validators=[MinValueValidator(30), MaxValueValidator(MAX_TOKEN_LIFETIME_S)])
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=300, blank=True, default="")  # the actor of the audit event

    # The fields that define a version. The form and the comparison of versions use this list.
    MEANING: ClassVar[tuple[str, ...]] = (
        "schema", "title", "summary", "risk", "assurance", "uses", "lifetime",
    )  # fmt: skip

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["operation_type", "number"], name="operation_type_version_unique")
        ]

    def __str__(self) -> str:
        return f"{self.operation_type.name} v{self.number}"

    def clean(self) -> None:
        from operations import schemas  # imported late: most processes check no schema

        super().clean()
        errors: dict[str, Any] = {}
        if found := schemas.problems_with(self.schema):
            errors["schema"] = found
        else:
            for field in ("title", "summary"):
                if found := wording.problems_with(getattr(self, field), self.schema):
                    errors[field] = found
        if errors:
            raise ValidationError(errors)

    @classmethod
    def check_meaning(cls, meaning: dict[str, Any], *, exclude: tuple[str, ...] = ()) -> None:
        """Checks the fields of a version that does not exist yet, each by itself and then together.

        Raises ValidationError under the fields' names, except for the fields in `exclude`.
        """
        version = cls(**meaning)
        version.clean_fields(exclude={"operation_type", "number", "created_at", "created_by", *exclude})
        version.clean()

    @property
    def runs_unasked(self) -> bool:
        return may_run_unasked(Risk(self.risk))
