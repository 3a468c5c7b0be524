"""Backends and their credential roles.

A reference to a secret is resolved only for a new backend, or where the caller confirms that it
replaces the stored secret. So a file never brings back a secret that Countersign has rotated, and
an exported file leaves stored secrets as they are.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from authserver.configuration.differences import Values
from authserver.configuration.section import (
    SECRET,
    Audit,
    Context,
    Field,
    Finding,
    Rows,
    Section,
    column,
)
from credentials.backends import lifecycle, roles
from credentials.backends.states import BackendStatus
from credentials.models import Backend, Role
from operations.models import OperationTypeVersion

_SECRET = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        "env": {"type": "string", "maxLength": 200, "pattern": "^CONFIG_SECRET_[A-Z0-9_]+$"},
        "file": {"type": "string", "maxLength": 200, "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
    },
    "description": "Where the secret of the administrator account is: an environment variable, or a file in "
    "CONFIG_SECRETS_DIR. Never the secret itself.",
}
_DRAINING = {"type": "boolean", "description": "It issues no more leases, and its live leases end in time."}


class Backends(Section):
    name, noun, model, key = "backends", "backend", Backend, "name"
    fields = (
        column(Backend, "name", is_fixed=True),
        column(Backend, "engine", is_fixed=True, schema={"type": "string", "minLength": 1, "maxLength": 40}),
        column(Backend, "settings"),
        column(Backend, "max_leases"),
        Field("is_draining", _DRAINING, False),
        Field(SECRET, _SECRET, None),
    )
    retired: ClassVar[Values] = {"is_draining": True}
    retirement = "drain"
    unchecked = frozenset({"is_draining", SECRET})

    def read(self, row: Backend) -> Values:
        own = {name: getattr(row, name) for name in ("name", "engine", "settings", "max_leases")}
        return own | {"is_draining": row.status == BackendStatus.DRAINING}

    def assign(self, row: Backend, name: str, value: Any, rows: Rows) -> None:
        if name not in self.unchecked:
            super().assign(row, name, value, rows)

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        yield from super().find_problems(values, changed, context)
        row = self.find_row(values["name"])
        if row is None:
            if not values[SECRET]:
                yield (SECRET,), "a new backend needs the secret of its administrator account"
        elif "settings" in changed and row.name not in context.confirmed.same_system and lifecycle.has_live_leases(row):
            yield (
                ("settings",),
                f"the backend has live leases: drain it first, or confirm with --same-system {row.name} that the new "
                "settings lead to the same system",
            )

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        backend = self.build(values, changed, context.rows)
        is_new = backend._state.adding
        written = changed - {"is_draining"}
        if written:
            secret = context.confirmed.secrets.get(backend.name) if SECRET in written else None
            lifecycle.save_backend(backend, sorted(written), secret, audit.about, audit.now)
        if values["is_draining"]:
            lifecycle.drain_in_transaction(backend, audit.about, audit.now)
        elif "is_draining" in changed and not is_new:
            lifecycle.end_draining(backend)


class Roles(Section):
    """Each with the content of its operation type, which Countersign writes itself."""

    name, noun, model, key = "credential_roles", "credential role", Role, "name"
    fields = (
        column(Role, "name", is_fixed=True),
        Field("backend", {"type": "string", "description": "The name of its backend."}, is_fixed=True,
              refers_to="backends"),
        column(OperationTypeVersion, "title"),
        column(OperationTypeVersion, "summary"),
        column(OperationTypeVersion, "risk"),
        column(OperationTypeVersion, "assurance"),
        column(OperationTypeVersion, "uses", default=1),
        column(Role, "settings"),
        column(Role, "default_lifetime"),
        column(Role, "max_lifetime"),
        column(Role, "max_leases"),
        column(Role, "max_per_agent"),
        column(Role, "max_per_user"),
        column(Role, "is_active"),
    )  # fmt: skip
    retired: ClassVar[Values] = {"is_active": False}
    unchecked = frozenset({"backend"})

    def administered(self) -> models.QuerySet[Any]:
        return Role.objects.select_related("backend", "operation_type__current")

    def read(self, row: Role) -> Values:
        meaning = {name: getattr(row.operation_type.current, name) for name in roles.MEANING_FIELDS}
        own = {one.name: getattr(row, one.name) for one in self.fields if one.name not in roles.MEANING_FIELDS}
        return own | meaning | {"backend": row.backend.name}

    def assign(self, row: Role, name: str, value: Any, rows: Rows) -> None:
        if name not in roles.MEANING_FIELDS:
            super().assign(row, name, value, rows)

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        yield from super().find_problems(values, changed, context)
        if problem := roles.problem_with_new_name(values["name"]) if "name" in changed else None:
            yield ("name",), problem
        try:
            roles.check_meaning(_meaning(values), values["max_lifetime"])
        except ValidationError as error:
            yield from self.findings(error)

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        role = self.build(values, changed, context.rows)
        written = None if role._state.adding else changed
        roles.put(role, _meaning(values), audit.about, audit.now, changed=written)


def _meaning(values: Values) -> Values:
    return {name: values[name] for name in roles.MEANING_FIELDS}
