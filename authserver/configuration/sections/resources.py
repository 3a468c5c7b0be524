"""Resources, scopes and operation types. Those that Countersign writes itself are not in the file."""

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from authserver.configuration.differences import Values
from authserver.configuration.section import Audit, Context, Field, Finding, Rows, Section, column
from credentials.backends import roles
from credentials.backends.secrets import LEASES_SCOPE, audience, find_own_resource
from operations import lifecycle
from operations.models import OperationType, OperationTypeVersion, Resource, Scope

OWN = "Countersign uses this itself: leave it out of the file"


class Resources(Section):
    name, noun, model, key = "resources", "resource", Resource, "identifier"
    fields = (
        column(Resource, "identifier", is_fixed=True),
        column(Resource, "name"),
        column(Resource, "is_active"),
    )
    retired: ClassVar[Values] = {"is_active": False}

    def administered(self) -> models.QuerySet[Any]:
        own = find_own_resource()
        return Resource.objects.exclude(pk=own.pk) if own else Resource.objects.all()

    def referable_keys(self) -> set[str]:
        return set(self.administered().values_list("identifier", flat=True))

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        own = find_own_resource()
        if values["identifier"] == audience() or (own and values["identifier"] == own.identifier):
            yield ("identifier",), OWN
            return
        yield from super().find_problems(values, changed, context)

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        resource = self.build(values, changed, context.rows)
        lifecycle.save_resource(resource, self.columns(changed), audit.about, audit.now)


class Scopes(Section):
    name, noun, model, key = "scopes", "scope", Scope, "name"
    fields = (
        column(Scope, "name", is_fixed=True),
        Field("resource", {"type": "string", "description": "The identifier of its resource."}, is_fixed=True,
              refers_to="resources"),
        column(Scope, "description"),
        column(Scope, "risk"),
        column(Scope, "is_active"),
    )  # fmt: skip
    retired: ClassVar[Values] = {"is_active": False}
    unchecked = frozenset({"resource"})

    def administered(self) -> models.QuerySet[Any]:
        own = find_own_resource()
        scopes = Scope.objects.select_related("resource")
        return scopes.exclude(resource=own) if own else scopes

    def read(self, row: Scope) -> Values:
        return super().read(row) | {"resource": row.resource.identifier}

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        if values["name"] == LEASES_SCOPE:
            yield ("name",), OWN
            return
        yield from super().find_problems(values, changed, context)

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        scope = self.build(values, changed, context.rows)
        lifecycle.save_scope(scope, self.columns(changed), audit.about, audit.now)


class OperationTypes(Section):
    """Each with the content of its newest version. A change of the content creates the next version."""

    name, noun, model, key = "operation_types", "operation type", OperationType, "name"
    fields = (
        column(OperationType, "name", is_fixed=True),
        Field("resource", {"type": "string", "description": "The identifier of its resource."}, is_fixed=True,
              refers_to="resources"),
        column(OperationTypeVersion, "title"),
        column(OperationTypeVersion, "summary"),
        column(OperationTypeVersion, "risk"),
        column(OperationTypeVersion, "assurance"),
        column(OperationTypeVersion, "uses"),
        column(OperationTypeVersion, "lifetime"),
        column(OperationTypeVersion, "schema"),
        column(OperationType, "is_active"),
    )  # fmt: skip
    retired: ClassVar[Values] = {"is_active": False}
    unchecked = frozenset({"resource"})

    def administered(self) -> models.QuerySet[Any]:
        types = OperationType.objects.select_related("resource", "current")
        return types.filter(credential_role__isnull=True, current__isnull=False)

    def read(self, row: OperationType) -> Values:
        meaning = {name: getattr(row.current, name) for name in OperationTypeVersion.MEANING}
        return meaning | {"name": row.name, "resource": row.resource.identifier, "is_active": row.is_active}

    def assign(self, row: OperationType, name: str, value: Any, rows: Rows) -> None:
        if name not in OperationTypeVersion.MEANING:
            super().assign(row, name, value, rows)

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        if values["name"].startswith(roles.PREFIX) and "name" in changed:
            yield ("name",), f"names that begin with {roles.PREFIX} are for credential roles: write the role instead"
            return
        yield from super().find_problems(values, changed, context)
        if not changed.isdisjoint(OperationTypeVersion.MEANING):
            try:
                OperationTypeVersion.check_meaning(_meaning(values))
            except ValidationError as error:
                yield from self.findings(error)

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        row = self.build(values, changed, context.rows)
        lifecycle.save_operation_type(row, _meaning(values), self.columns(changed), audit.about, audit.now)


def _meaning(values: Values) -> Values:
    return {name: values[name] for name in OperationTypeVersion.MEANING}
