"""A role writes its own operation type: what a person is asked before the role is lent.

Risk, assurance, wording and how many leases one yes buys live there, and nowhere else.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction

from audit import events
from audit.record import About, record
from credentials.backends import own_resource
from credentials.models import Role
from operations.lifecycle import put_version
from operations.models import OperationType

PREFIX = "credential:"
SHORTEST = 10  # seconds
# What an administrator says of it; the rest follows from the role.
MEANING = ("title", "summary", "risk", "assurance", "uses")


def type_name(role_name: str) -> str:
    return f"{PREFIX}{role_name}"


def schema_of(role: Role) -> dict[str, Any]:
    """`purpose` are the agent's words, and the title says so; `lifetime` is what the person agrees to at the most."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["purpose"],
        "properties": {
            "purpose": {"title": "Purpose, in the agent's words", "type": "string", "minLength": 1, "maxLength": 200},
            "lifetime": {
                "title": "Seconds at the most",
                "type": "integer",
                "minimum": SHORTEST,
                "maximum": role.longest_lifetime,
            },
        },
    }


@transaction.atomic
def put(
    role: Role, meaning: dict[str, Any], about: About, now: datetime, *, changed: Iterable[str] | None = None
) -> None:
    """Saves the role with its operation type, a new version where something changed. Raises ValidationError.

    `changed`: what counts of `role` and `meaning`, where they were read before; the rest stays as it is by now, a role
    that was put to sleep meanwhile sleeping. Without it, everything counts.
    """
    resource, name = own_resource(), type_name(role.name)
    if role._state.adding:
        role.operation_type = OperationType.objects.create(resource=resource, name=name)
    elif changed is not None:
        _bring_up_to_date(role, set(changed))
        meaning = meaning | _meaning_now(role, set(MEANING) - set(changed))
    full = {name: meaning[name] for name in MEANING}
    # The grant of one yes lives as long as the lease may: a lease never outlives its grant.
    full |= {"schema": schema_of(role), "lifetime": max(30, role.longest_lifetime)}
    put_version(role.operation_type, full, about, now)
    OperationType.objects.filter(pk=role.operation_type_id).update(is_active=role.is_active)
    role.save()
    record(
        events.ROLE_CHANGED, about, now, role=role.name, backend=role.backend.name, settings=role.settings,
        default_lifetime=role.default_lifetime, longest_lifetime=role.longest_lifetime, is_active=role.is_active,
    )  # fmt: skip


def _bring_up_to_date(role: Role, changed: set[str]) -> None:
    """Locks the row, and takes from it what was not changed."""
    now_there = Role.objects.select_for_update(no_key=True).get(pk=role.pk)
    for field in Role._meta.concrete_fields:
        if field.name not in changed:
            setattr(role, field.attname, getattr(now_there, field.attname))


def _meaning_now(role: Role, names: set[str]) -> dict[str, Any]:
    """Of the newest version; locks the type."""
    kind = OperationType.objects.select_for_update().get(pk=role.operation_type_id)
    newest = kind.versions.order_by("-number").first()
    return {name: getattr(newest, name) for name in names} if newest else {}
