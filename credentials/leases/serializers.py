"""What /v1/leases takes and answers."""

from typing import Any, Literal

from django.conf import settings
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from credentials.backends.roles import MIN_LIFETIME_S
from credentials.leases.lifecycle import EndReason
from credentials.leases.limits import LifetimeLimit
from credentials.leases.states import State
from credentials.models import Lease
from foundation.serializers import (
    ClosedRequestBody,
    ErrorSerializer,
    OneOfField,
    SecondsField,
    TextField,
    TimeField,
)
from operations.lifetimes import MAX_TOKEN_LIFETIME_S

DIRECT, WRAPPED = "direct", "wrapped"
DEFAULT_WRAP_S, MAX_WRAP_S = 60, 600  # seconds
MAX_HANDLE_CHARACTERS = 100
Ending = Literal["grant", "agent", "user"]


class LeaseRequestSerializer(ClosedRequestBody):
    """What an agent requests."""

    role = TextField(help_text="The name of the role.")
    lifetime = SecondsField(
        min_value=MIN_LIFETIME_S, max_value=MAX_TOKEN_LIFETIME_S, required=False, allow_null=True,
        help_text="Seconds. Default: the role's default lifetime. The role, the agent, the approval and the grant may "
        "limit it further.",
    )  # fmt: skip
    delivery = OneOfField(
        [DIRECT, WRAPPED], default=DIRECT,
        help_text="wrapped: the answer has a handle in place of the credential. Whoever sends the handle to "
        "/v1/leases/unwrap gets the credential, once.",
    )  # fmt: skip
    wrap_lifetime = SecondsField(
        min_value=1, max_value=MAX_WRAP_S, required=False, allow_null=True,
        help_text=f"Seconds to unwrap the handle ({DEFAULT_WRAP_S} by default). For wrapped delivery only.",
    )  # fmt: skip
    purpose = TextField(
        required=False, allow_null=True,
        help_text="Why the agent needs the account. insufficient_authorization repeats it in the authorization_details "
        "to request.",
    )  # fmt: skip

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("wrap_lifetime") and attrs["delivery"] == DIRECT:
            raise serializers.ValidationError({"wrap_lifetime": "is for delivery wrapped only"})
        return attrs


class LeaseRenewalSerializer(ClosedRequestBody):
    """How long a lease shall go on."""

    lifetime = SecondsField(
        min_value=MIN_LIFETIME_S, max_value=MAX_TOKEN_LIFETIME_S, required=False, allow_null=True,
        help_text="Seconds from now. Default: the lifetime of the lease request.",
    )  # fmt: skip


class LeaseUnwrappingSerializer(ClosedRequestBody):
    """Which lease to unwrap."""

    handle = TextField(
        wanted=f"at most {MAX_HANDLE_CHARACTERS} ASCII characters",
        pattern=rf"[\x00-\x7f]{{0,{MAX_HANDLE_CHARACTERS}}}",
        help_text="The handle of a wrapped lease.",
    )


class LeaseSerializer(serializers.Serializer[Lease]):
    """One lease, without its credential."""

    lease_id = serializers.UUIDField(source="id")
    role = serializers.CharField(source="role.name")
    state = serializers.ChoiceField([state.value for state in State])
    purpose = serializers.CharField(help_text="The purpose that was approved.")
    created_at = TimeField()
    issued_at = TimeField(allow_null=True, help_text="null: the account does not exist yet.")
    expires_at = TimeField()
    max_expires_at = TimeField(help_text="No renewal extends the lease beyond this time.")
    bound_by = serializers.CharField(help_text=f"The limit that set expires_at: {', '.join(LifetimeLimit)}.")
    renewable = serializers.SerializerMethodField(help_text="Whether a renewal can extend the lease now.")
    revocable = serializers.BooleanField(
        source="backend.is_revocable", allow_null=True,
        help_text="false: the account cannot be revoked, and ends by itself within 15 minutes. null: the engine of the "
        "backend is not installed.",
    )  # fmt: skip
    ends_with = serializers.SerializerMethodField(help_text="The lease also ends when one of these is revoked.")
    grant_id = serializers.UUIDField()
    operation_digest = serializers.CharField(help_text="The digest of the approved operation.")
    ended_at = TimeField(allow_null=True)
    end_reason = serializers.CharField(help_text=f"Empty, or one of: {', '.join(EndReason)}.")
    revoked_at = TimeField(
        allow_null=True, help_text="When a read on the backend confirmed that the account no longer exists."
    )

    def get_renewable(self, lease: Lease) -> bool:
        return lease.state == State.ACTIVE and lease.expires_at < lease.max_expires_at

    def get_ends_with(self, lease: Lease) -> list[Ending]:
        return ["grant", "agent", "user"] if lease.user_id else ["grant", "agent"]


class LeaseListSerializer(serializers.Serializer[Any]):
    leases = LeaseSerializer(many=True)


class CredentialSerializer(serializers.Serializer[Any]):
    username = serializers.CharField(source="lease.account_name")
    password = serializers.CharField()


class IssuedLeaseSerializer(serializers.Serializer[Any]):
    """A lease with its credential. The password is in this answer only."""

    lease = LeaseSerializer()
    credential = CredentialSerializer(source="*")
    connection = serializers.DictField(help_text="Where to connect: host, port and more, by the backend's engine.")


class WrappingSerializer(serializers.Serializer[Any]):
    handle = serializers.CharField()
    unwrap_endpoint = serializers.SerializerMethodField()
    expires_at = TimeField(source="lease.wrap_expires_at")

    def get_unwrap_endpoint(self, _wrapped: object) -> str:
        return f"{settings.ISSUER_URL}/v1/leases/unwrap"


class WrappedLeaseSerializer(serializers.Serializer[Any]):
    """A lease whose credential the holder of the handle gets."""

    lease = LeaseSerializer()
    wrapped = WrappingSerializer(source="*")


ISSUED_OR_WRAPPED = PolymorphicProxySerializer(
    "IssuedOrWrappedLease", [IssuedLeaseSerializer, WrappedLeaseSerializer], resource_type_field_name=None
)


class InsufficientAuthorizationSerializer(ErrorSerializer):
    """Says what to request, and where, so that the lease request can be repeated with the new token."""

    error = serializers.ChoiceField(["insufficient_authorization"])  # type: ignore[assignment]  # no other code
    authorization_details = serializers.ListField(child=serializers.DictField(), help_text="To be requested.")
    resource = serializers.CharField(help_text="To be requested.")
    token_endpoint = serializers.CharField(
        required=False, help_text="Where to request it, if the operation runs without an approval."
    )
    backchannel_authentication_endpoint = serializers.CharField(
        required=False, help_text="Where to request it, if a user must approve."
    )
    operation_types = serializers.CharField(help_text="Where the operation types are described.")
