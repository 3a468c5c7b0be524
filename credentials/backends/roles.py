"""Each role has its own operation type: what the user approves before a lease is issued.

Risk, assurance, wording and the number of leases per approval are stored there and nowhere else.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from audit import events
from audit.record import About, record
from credentials.backends import lifecycle
from credentials.backends.secrets import own_resource
from credentials.engines import BackendAddress, DatabaseAccount, EngineError, SessionTrace, find_statements
from credentials.models import Role, mismatches
from operations.lifecycle import put_version
from operations.models import OperationType, OperationTypeVersion

PREFIX = "credential:"
MIN_LIFETIME_S = 10  # seconds
# The fields that an administrator sets. The others follow from the role.
MEANING_FIELDS = ("title", "summary", "risk", "assurance", "uses")


def type_name(role_name: str) -> str:
    return f"{PREFIX}{role_name}"


def schema_of(role: Role) -> dict[str, Any]:
    """The operation type's JSON Schema.

    `purpose` is the agent's text, and its title says so. `lifetime` is the longest one that the
    user approves.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["purpose"],
        "properties": {
            "purpose": {"title": "Purpose, in the agent's words", "type": "string", "minLength": 1, "maxLength": 200},
            "lifetime": {
                "title": "At most, in seconds",
                "type": "integer",
                "minimum": MIN_LIFETIME_S,
                "maximum": role.max_lifetime,
            },
        },
    }


def problem_with_new_name(role_name: str) -> str | None:
    kind = type_name(role_name)
    return f"The operation type {kind} already exists." if OperationType.objects.filter(name=kind).exists() else None


def check_meaning(meaning: dict[str, Any], max_lifetime: int) -> None:
    """Raises ValidationError under the names of MEANING_FIELDS."""
    written = {"schema": schema_of(Role(max_lifetime=max_lifetime)), "lifetime": max_lifetime}
    OperationTypeVersion.check_meaning(meaning | written, exclude=tuple(written))


@transaction.atomic
def put(
    role: Role, meaning: dict[str, Any], about: About, now: datetime, *, changed: Iterable[str] | None = None
) -> None:
    """Saves the role and its operation type, with a new version if something changed.

    Raises ValidationError.

    `changed` names the fields of `role` and `meaning` to write, if they were read earlier. Every
    other field keeps its current value; a role that was deactivated meanwhile stays so. Without
    `changed` all fields are written.
    """
    resource, name = own_resource(), type_name(role.name)
    if role._state.adding:
        role.operation_type = OperationType.objects.create(resource=resource, name=name)
    elif changed is not None:
        _bring_up_to_date(role, set(changed))
        meaning = meaning | _meaning_now(role, set(MEANING_FIELDS) - set(changed))
    full = {name: meaning[name] for name in MEANING_FIELDS}
    # The grant lasts as long as a lease may, because a lease never outlives its grant.
    full |= {"schema": schema_of(role), "lifetime": max(30, role.max_lifetime)}
    put_version(role.operation_type, full, about, now)
    role.save()
    lifecycle.align_operation_type(role)
    record(
        events.ROLE_CHANGED, about, now, role=role.name, backend=role.backend.name, settings=role.settings,
        default_lifetime=role.default_lifetime, max_lifetime=role.max_lifetime, is_active=role.is_active,
    )  # fmt: skip


def statements_of(role: Role, now: datetime) -> list[str]:
    """What would create an account of this role, with an example of a name and without a password."""
    account = DatabaseAccount(
        f"{role.backend.prefix}example", role.settings, now + timedelta(seconds=role.default_lifetime),
        SessionTrace("<lease>", "<agent>", "<user>", "<grant>", purpose="<the agent's purpose>"),
    )  # fmt: skip
    try:
        engine = role.backend.find_engine()
        if mismatches(engine.role_schema, role.settings):
            return []  # the form says what is wrong with them
        return find_statements(engine, BackendAddress(role.backend.settings, ""), account)
    except EngineError as error:
        return [f"The statements cannot be shown: {error}"]


def _bring_up_to_date(role: Role, changed: set[str]) -> None:
    """Locks the row and reads the unchanged fields from it."""
    now_there = Role.objects.select_for_update(no_key=True).get(pk=role.pk)
    for field in Role._meta.concrete_fields:
        if field.name not in changed:
            setattr(role, field.attname, getattr(now_there, field.attname))


def _meaning_now(role: Role, names: set[str]) -> dict[str, Any]:
    """The fields of the newest version; locks the type."""
    kind = OperationType.objects.select_for_update().get(pk=role.operation_type_id)
    newest = kind.versions.order_by("-number").first()
    return {name: getattr(newest, name) for name in names} if newest else {}
