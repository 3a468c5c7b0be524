"""The roles of staff: the one table that the migration, the documents and the tests read.

A role is a Django group with permissions. A migration writes the groups (`put_groups`). Whoever changes
this table adds a migration that calls `put_groups` again (tests/accounts/test_staff_roles.py).
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.management import create_permissions

GROUP_PREFIX = "Staff: "  # sets these groups apart from the groups of users whom an agent may ask

_VIEWED = (
    "accounts.user", "accounts.invitation", "audit.event", "audit.setasideevent", "auth.group",
    "ciba.approval", "ciba.backchannelrequest", "ciba.hintissuer", "ciba.prompt",
    "clients.agent", "clients.agentlink", "clients.initialaccesstoken",
    "credentials.backend", "credentials.lease", "credentials.recovery", "credentials.role",
    "devices.device", "devices.vapidkey", "foundation.work", "oauth.grant", "oauth.signingkey", "oauth.use",
    "operations.operationtype", "operations.operationtypeversion", "operations.resource", "operations.scope",
)  # fmt: skip
_WRITTEN = (
    "accounts.user", "auth.group", "ciba.hintissuer", "clients.agent", "clients.initialaccesstoken",
    "credentials.backend", "credentials.role", "operations.operationtype", "operations.resource", "operations.scope",
)  # fmt: skip


def _named(action: str, *models: str) -> frozenset[str]:
    """`("view", "oauth.grant")` → `{"oauth.view_grant"}`."""
    return frozenset(f"{app}.{action}_{name}" for app, _, name in (model.partition(".") for model in models))


_SEE_ALL = _named("view", *_VIEWED)
_END_ANYTHING = frozenset(
    {
        "accounts.disable_user", "ciba.cancel_backchannelrequest", "clients.suspend_agent",
        "clients.change_initialaccesstoken",  # these tokens are never changed, only revoked
        "credentials.change_lease",  # the same
    }
)  # fmt: skip
_DEVELOP = frozenset({"clients.change_own_agent"}) | _named(
    "view", "operations.operationtype", "operations.resource", "operations.scope"
)
_OPERATE = (
    _named("view", "ciba.hintissuer", "credentials.backend", "credentials.lease", "credentials.recovery",
           "credentials.role", "devices.vapidkey", "foundation.work", "oauth.signingkey")
    | _named("add", "credentials.backend", "credentials.role")
    | _named("change", "credentials.backend", "credentials.lease", "credentials.role")
)  # fmt: skip
_ADMINISTER = (
    _SEE_ALL | _END_ANYTHING | _DEVELOP | _OPERATE | _named("add", *_WRITTEN) | _named("change", *_WRITTEN)
    | {"accounts.assign_roles", "accounts.manage_sign_in", "audit.delete_setasideevent"}
)  # fmt: skip


@dataclass(frozen=True)
class StaffRole:
    """`sentence` is what an administrator reads who chooses a role for a user."""

    name: str
    sentence: str
    permissions: frozenset[str]

    @property
    def title(self) -> str:
        return self.name.capitalize()

    @property
    def group_name(self) -> str:
        return GROUP_PREFIX + self.title


ROLES = (
    StaffRole(
        "administrator",
        "Manages everything: agents, APIs, backends, users and their roles.",
        _ADMINISTER,
    ),
    StaffRole(
        "security",
        "Sees everything, and ends anything: suspends agents, revokes grants and leases, cancels requests, "
        "disables users and ends their sessions. Sets nothing up.",
        _SEE_ALL | _END_ANYTHING,
    ),
    StaffRole(
        "operator",
        "Runs the technical side: backends, roles of backends and leases. Sees deliveries, keys and hint issuers.",
        _OPERATE,
    ),
    StaffRole(
        "developer",
        "Adds agents and changes those that they added. An administrator decides what these agents may ask for, and "
        "whom. Sees APIs, scopes and operation types.",
        _DEVELOP,
    ),
    StaffRole("auditor", "Sees everything and changes nothing.", _SEE_ALL),
)
GROUP_NAMES = tuple(role.group_name for role in ROLES)


def put_groups(apps: Any, alias: str) -> None:
    """Creates the roles' groups and sets their permissions to the table's. Calling it again changes nothing.

    For a migration: `apps` are its historical apps. Django creates permissions only after the last
    migration, so this creates those that the table names first.
    """
    labels = {name.partition(".")[0] for role in ROLES for name in role.permissions}
    for label in sorted(labels & {config.label for config in apps.get_app_configs()}):
        config = apps.get_app_config(label)
        config.models_module = getattr(config, "models_module", True)  # Django passes over an app without it
        create_permissions(config, apps=apps, using=alias, verbosity=0)
    rows = apps.get_model("auth", "Permission").objects.using(alias).select_related("content_type")
    by_name = {f"{row.content_type.app_label}.{row.codename}": row for row in rows}
    groups = apps.get_model("auth", "Group").objects.using(alias)
    for role in ROLES:
        group, _ = groups.get_or_create(name=role.group_name)
        # A later migration may create a permission that the table names today, and calls this again.
        group.permissions.set(by_name[name] for name in role.permissions if name in by_name)
