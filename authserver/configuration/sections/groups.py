"""Groups of users, with the permissions of their members. Who is a member is not in the file.

The groups of the staff roles are not in the file either: a migration writes them (accounts/staff_roles.py).
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib.auth.models import Group, Permission
from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Concat

from accounts import lifecycle
from accounts.staff_roles import GROUP_NAMES
from authserver.configuration.differences import Values
from authserver.configuration.section import Audit, Context, Field, Finding, Rows, Section, column

_PERMISSIONS = {
    "type": "array",
    "uniqueItems": True,
    "items": {"type": "string", "pattern": r"^[a-z0-9_]+\.[a-z0-9_]+$"},
    "description": "What its members may do in the administration, such as clients.change_agent.",
}


class Groups(Section):
    """A group stays for good, because agents may ask its members. --prune takes its permissions."""

    name, noun, model, key = "groups", "group", Group, "name"
    fields = (
        column(Group, "name", is_fixed=True),
        Field("permissions", _PERMISSIONS, [], is_set=True),
    )
    retired: ClassVar[Values] = {"permissions": []}
    retirement = "take the permissions of"
    unchecked = frozenset({"permissions"})

    def administered(self) -> models.QuerySet[Any]:
        return Group.objects.exclude(name__in=GROUP_NAMES).prefetch_related("permissions__content_type")

    def read(self, row: Group) -> Values:
        names = [f"{one.content_type.app_label}.{one.codename}" for one in row.permissions.all()]
        return {"name": row.name, "permissions": names}

    def assign(self, row: Group, name: str, value: Any, rows: Rows) -> None:
        if name != "permissions":
            super().assign(row, name, value, rows)

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        if values["name"] in GROUP_NAMES:
            yield (
                ("name",),
                "this is the group of a staff role, which Countersign writes itself: leave it out of the file",
            )
            return
        yield from super().find_problems(values, changed, context)
        known = set(_find_permissions(values["permissions"]).values_list("full_name", flat=True))
        for name in sorted(set(values["permissions"]) - known):
            yield ("permissions",), f"the permission {name} does not exist"

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        group = self.build(values, changed, context.rows)
        lifecycle.save_group(group, self.columns(changed), audit.about, audit.now)
        group.permissions.set(_find_permissions(values["permissions"]))


def _find_permissions(names: list[str]) -> models.QuerySet[Any]:
    full_name = Concat(F("content_type__app_label"), Value("."), F("codename"))
    return Permission.objects.annotate(full_name=full_name).filter(full_name__in=names)
