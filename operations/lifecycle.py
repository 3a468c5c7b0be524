"""Use cases: resources, scopes and operation types are saved; a new version of a type; a resource's credentials.

`changed` names the fields that a form or file changed. Only they are written, unless the row is new.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from audit import events
from audit.record import About, record, record_revocation
from foundation.canonical import is_same_json
from foundation.changed_columns import save_changed
from operations import listed_types
from operations.models import OperationType, OperationTypeVersion, Resource, ResourceSecret, Scope


@transaction.atomic
def save_resource(resource: Resource, changed: Collection[str], about: About, now: datetime) -> None:
    save_changed(resource, changed)
    listed_types.clear_cache_on_commit()
    record(
        events.RESOURCE_CHANGED, about, now,
        resource=resource.identifier, name=resource.name, is_active=resource.is_active,
    )  # fmt: skip


@transaction.atomic
def save_scope(scope: Scope, changed: Collection[str], about: About, now: datetime) -> None:
    save_changed(scope, changed)
    record(
        events.SCOPE_CHANGED, about, now,
        scope=scope.name, resource=scope.resource.identifier, risk=scope.risk, is_active=scope.is_active,
    )  # fmt: skip


@transaction.atomic
def save_operation_type(
    operation_type: OperationType, meaning: dict[str, Any], changed: Collection[str], about: About, now: datetime
) -> None:
    """Saves the type, and creates its next version if `meaning` differs from the newest. Raises ValidationError."""
    save_changed(operation_type, changed)
    listed_types.clear_cache_on_commit()
    made = put_version(operation_type, meaning, about, now)
    if not made and changed:
        record(events.OPERATION_TYPE_CHANGED, about, now, type=operation_type.name, is_active=operation_type.is_active)


@transaction.atomic
def put_version(operation_type: OperationType, meaning: dict[str, Any], about: About, now: datetime) -> bool:
    """Creates the next version if `meaning` differs from the newest. Raises ValidationError.

    Open requests keep their version. Runs in the caller's transaction (the admin's).
    """
    operation_type = OperationType.objects.select_for_update().get(pk=operation_type.pk)
    newest = operation_type.versions.order_by("-number").first()
    if newest and all(is_same_json(getattr(newest, name), meaning[name]) for name in OperationTypeVersion.MEANING):
        return False
    version = OperationTypeVersion(
        operation_type=operation_type, number=newest.number + 1 if newest else 1, created_at=now,
        created_by=about.actor, **meaning,
    )  # fmt: skip
    version.full_clean()
    version.save(force_insert=True)
    operation_type.current = version
    operation_type.save(update_fields=["current"])
    listed_types.clear_cache_on_commit()
    record(
        events.OPERATION_TYPE_CHANGED, about, now, type=operation_type.name, version=version.number,
        risk=version.risk, assurance=version.assurance, uses=version.uses, lifetime=version.lifetime,
    )  # fmt: skip
    return True


@transaction.atomic
def roll_back(operation_type: OperationType, number: int, about: About, now: datetime) -> bool:
    """Creates a version that equals the version `number`. False if the newest version equals it already.

    Raises OperationTypeVersion.DoesNotExist, and ValidationError if today's rules no longer accept that version.
    """
    old = operation_type.versions.get(number=number)
    return put_version(operation_type, {name: getattr(old, name) for name in old.MEANING}, about, now)


@transaction.atomic
def issue_resource_secret(resource: Resource, about: About, now: datetime) -> str:
    """Issues a new credential and returns it, once. The previous one stays valid during the rotation."""
    Resource.objects.select_for_update().get(pk=resource.pk)
    secret = ResourceSecret.issue(resource, now)
    record(events.RESOURCE_SECRET_ISSUED, about, now, resource=resource.identifier)
    return secret


@transaction.atomic
def revoke_resource_secrets(resource: Resource, about: About, now: datetime) -> int:
    """Revokes all credentials of the resource. It then needs a new one."""
    ended = ResourceSecret.objects.filter(resource=resource, revoked_at=None).update(revoked_at=now)
    record_revocation(events.RESOURCE_SECRETS_REVOKED, about, now, resource=resource.identifier, secrets=ended)
    return ended
