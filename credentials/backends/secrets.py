"""Seals and opens a backend's secret.

Provides our own API as the Resource of every role's operation type.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError

from credentials.engines import BackendAddress, DatabaseAccount, SessionTrace
from credentials.models import Backend, Lease
from foundation.keyring import open_sealed, seal
from foundation.sealed_columns import place_of
from operations.models import Resource, Scope

LEASES_SCOPE = "leases"
# The backend's own expiry is slightly later than ours, so that it never acts first.
EXPIRY_SKEW_S = 5  # seconds


def audience() -> str:
    """The `aud` of the tokens that /v1/leases accepts."""
    return f"{settings.ISSUER_URL}/v1"


def own_resource() -> Resource:
    """/v1 as a Resource with its scope `leases`.

    Creates it, or updates its identifier from ISSUER_URL.
    """
    scope = _find_leases_scope()
    if scope is None:
        resource, _ = Resource.objects.get_or_create(identifier=audience(), defaults={"name": "Countersign: leases"})
        Scope.objects.create(
            resource=resource, name=LEASES_SCOPE, description="Request, renew and revoke leases", risk="routine"
        )
        return resource
    if not _is_own(scope):
        raise ValidationError(
            f"Countersign needs the scope `{LEASES_SCOPE}` for itself, but {scope.resource} already has it."
        )
    if scope.resource.identifier != audience():
        scope.resource.identifier = audience()
        scope.resource.save(update_fields=["identifier"])
    return scope.resource


def find_own_resource() -> Resource | None:
    """/v1 as a Resource, if there is one already."""
    scope = _find_leases_scope()
    return scope.resource if scope and _is_own(scope) else None


def _find_leases_scope() -> Scope | None:
    return Scope.objects.select_related("resource").filter(name=LEASES_SCOPE).first()


def _is_own(scope: Scope) -> bool:
    return scope.resource.identifier.endswith("/v1")


def _place(backend_id: UUID, column: str = "sealed_secret") -> str:
    return place_of(Backend, column, backend_id)


def sealed(backend: Backend, secret: str, *, is_next: bool = False) -> bytes:
    return seal(secret.encode(), place=_place(backend.id, "sealed_next_secret" if is_next else "sealed_secret"))


def target_of(backend: Backend) -> BackendAddress:
    """The backend's address with the opened secret. Raises KeyringError."""
    return BackendAddress(
        backend.settings, open_sealed(bytes(backend.sealed_secret), place=_place(backend.id)).decode()
    )


def next_target_of(backend: Backend) -> BackendAddress | None:
    """The address with the secret of a rotation in progress; None if there is none."""
    if backend.sealed_next_secret is None:
        return None
    secret = open_sealed(bytes(backend.sealed_next_secret), place=_place(backend.id, "sealed_next_secret"))
    return BackendAddress(backend.settings, secret.decode())


def account_of(lease: Lease) -> DatabaseAccount:
    """The account as the engine needs it, from the lease alone."""

    trace = SessionTrace(
        lease_id=str(lease.id),
        client_id=str(lease.agent.client_id),
        sub=str(lease.user_id or lease.agent.client_id),
        grant_id=str(lease.grant_id),
        request_id=str(lease.request_id or ""),
        operation_digest=lease.operation_digest,
        purpose=" ".join(lease.purpose.split()),  # the user may see several lines, a backend's log or file must not
    )
    return DatabaseAccount(
        lease.account_name, lease.settings, lease.expires_at + timedelta(seconds=EXPIRY_SKEW_S), trace
    )


def account_without_lease(name: str, settings_then: Mapping[str, Any] | None) -> DatabaseAccount:
    """An orphan: its name, and the settings if they are known."""

    return DatabaseAccount(name, settings_then or {}, datetime.fromtimestamp(0, UTC), SessionTrace("", "", "", ""))
