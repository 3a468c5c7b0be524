"""A backend's secret, sealed and opened; our own API as a Resource, which every role's operation type belongs to."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError

from credentials.engines import Account, Target, Trace
from credentials.models import Backend, Lease
from foundation.keyring import open_sealed, seal
from operations.models import Resource, Scope

SCOPE = "leases"
# The system's own expiry is a little later than ours: the second line must not come first.
SKEW = 5  # seconds


def audience() -> str:
    """`aud` of the tokens that /v1/leases takes."""
    return f"{settings.ISSUER_URL}/v1"


def own_resource() -> Resource:
    """/v1 as a Resource with its scope `leases`; made, or brought up to date with ISSUER_URL."""
    scope = Scope.objects.select_related("resource").filter(name=SCOPE).first()
    if scope is None:
        resource, _ = Resource.objects.get_or_create(identifier=audience(), defaults={"name": "Countersign: leases"})
        Scope.objects.create(
            resource=resource, name=SCOPE, description="Look after the accounts that it was lent", risk="routine"
        )
        return resource
    if not scope.resource.identifier.endswith("/v1"):
        raise ValidationError(f"The scope `{SCOPE}` is this server's own, and {scope.resource} has one of that name.")
    if scope.resource.identifier != audience():
        scope.resource.identifier = audience()
        scope.resource.save(update_fields=["identifier"])
    return scope.resource


def _place(backend_id: UUID, column: str = "sealed_secret") -> str:
    return f"credentials_backend:{column}:{backend_id}"


def sealed(backend: Backend, secret: str, *, is_next: bool = False) -> bytes:
    return seal(secret.encode(), place=_place(backend.id, "sealed_next_secret" if is_next else "sealed_secret"))


def target_of(backend: Backend) -> Target:
    """With the secret opened. Raises KeyringError."""
    return Target(backend.settings, open_sealed(bytes(backend.sealed_secret), place=_place(backend.id)).decode())


def next_target_of(backend: Backend) -> Target | None:
    """With the secret of a rotation that is under way."""
    if backend.sealed_next_secret is None:
        return None
    secret = open_sealed(bytes(backend.sealed_next_secret), place=_place(backend.id, "sealed_next_secret"))
    return Target(backend.settings, secret.decode())


def account_of(lease: Lease) -> Account:
    """As the engine needs it, from the lease alone."""

    trace = Trace(
        lease_id=str(lease.id),
        client_id=str(lease.agent.client_id),
        sub=str(lease.user_id or lease.agent.client_id),
        grant_id=str(lease.grant_id),
        request_id=str(lease.request_id or ""),
        operation_digest=lease.operation_digest,
        purpose=" ".join(lease.purpose.split()),  # a person may be shown several lines, a system's file or log not
    )
    return Account(lease.account_name, lease.settings, lease.expires_at + timedelta(seconds=SKEW), trace)


def account_without_lease(name: str, settings_then: Mapping[str, Any] | None) -> Account:
    """An orphan: taken back with what is known of it, which may be its name alone."""

    return Account(name, settings_then or {}, datetime.fromtimestamp(0, UTC), Trace("", "", "", ""))
