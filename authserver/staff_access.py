"""What each role of staff reaches in the console: one explicit table.

tests/authserver/test_staff_access.py opens every page and runs every action as every role and compares.
docs/staff-roles.md is written from it. Each text such as "ASU" names roles by the letters of `LETTERS`.
"""

from dataclasses import dataclass, field

from accounts.staff_roles import ROLES, StaffRole

LETTERS: dict[str, StaffRole] = dict(zip("ASODU", ROLES, strict=True))
EVERYBODY = "".join(LETTERS)
ONLY_SUPERUSERS = ""


def _exports(roles: str) -> dict[str, str]:
    return {"export_csv": roles, "export_json": roles}


@dataclass(frozen=True)
class ModelAccess:
    """Who sees the list, a row and its history, who adds, changes and deletes rows, and who runs which action."""

    model: str
    title: str
    group: str  # of lists on the first page
    sees: str
    adds: str = ""
    changes: str = ""
    deletes: str = ""
    actions: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class PageAccess:
    """A page that is no list and no row. `name` is its URL's name below `admin:`."""

    name: str
    title: str
    opens: str


MODELS = (
    ModelAccess(
        "clients.agent", "Agents", "Agents", sees="ASDU", adds="AD", changes="AD",
        actions={"suspend": "AS", "resume": "A", "issue_secret": "AD", "revoke_secrets": "ASD"},
        note="A developer reaches only the agents that they added. They do not change the name, the profile, the grant "
        "types and the use of user codes later, and never the owner, the scopes, the operation types, the groups, the "
        "linked users, the limits of leases and the exemption from PKCE.",
    ),
    ModelAccess(
        "clients.initialaccesstoken", "Initial access tokens", "Agents", sees="ASU", adds="A",
        actions={"revoke": "AS"},
    ),
    ModelAccess(
        "operations.resource", "APIs", "APIs", sees="ASDU", adds="A", changes="A",
        actions={"issue_secret": "A", "revoke_secrets": "A"},
    ),
    ModelAccess("operations.scope", "Scopes", "APIs", sees="ASDU", adds="A", changes="A"),
    ModelAccess("operations.operationtype", "Operation types", "APIs", sees="ASDU", adds="A", changes="A"),
    ModelAccess(
        "credentials.backend", "Backends", "Credentials", sees="ASOU", adds="AO", changes="AO",
        actions={"check_and_enable": "AO", "drain": "AO", "rotate": "AO", "end_leases": "ASO", "try_again": "ASO"},
    ),
    ModelAccess(
        "credentials.role", "Roles of backends", "Credentials", sees="ASOU", adds="AO", changes="AO",
        actions={"end_leases": "ASO"},
        note="An operator does not change the texts, the risk, the assurance and the uses of a role that exists.",
    ),
    ModelAccess(
        "credentials.lease", "Leases", "Credentials", sees="ASOU",
        actions={"end_now": "ASO", "try_again": "ASO"} | _exports("ASOU"),
    ),
    ModelAccess(
        "credentials.recovery", "Recoveries", "Credentials", sees="ASOU", actions={"end_recovery": ONLY_SUPERUSERS}
    ),
    ModelAccess(
        "accounts.user", "Users", "Users", sees="ASU", adds="A", changes="A",
        actions={"disable": "AS", "end_sessions": "AS", "enable": "A", "invite_again": "A"} | _exports("ASU"),
        note="Nobody manages a user who has a right that they lack.",
    ),
    ModelAccess("accounts.invitation", "Invitations", "Users", sees="ASU"),
    ModelAccess(
        "auth.group", "Groups", "Users", sees="ASU", adds="A", changes="A",
        note="Nobody changes the group of a role of staff.",
    ),
    ModelAccess("devices.device", "Devices", "Users", sees="ASU"),
    ModelAccess(
        "ciba.backchannelrequest", "Requests", "Requests", sees="ASU", actions={"cancel": "AS"} | _exports("ASU")
    ),
    ModelAccess("oauth.grant", "Grants", "Requests", sees="ASU", actions={"end": "AS"} | _exports("ASU")),
    ModelAccess("audit.event", "Audit log", "Audit log", sees="ASU", actions=_exports("ASU")),
    ModelAccess("audit.setasideevent", "Set-aside events", "Audit log", sees="ASU", deletes="A"),
    ModelAccess("ciba.hintissuer", "Hint issuers", "System", sees="ASOU", adds="A", changes="A"),
    ModelAccess("foundation.work", "Deliveries and other pending work", "System", sees="ASOU"),
    ModelAccess("oauth.signingkey", "Signing keys", "System", sees="ASOU"),
    ModelAccess("devices.vapidkey", "Push keys", "System", sees="ASOU"),
)  # fmt: skip

PAGES = (
    PageAccess("index", "The first page of the console", EVERYBODY),
    PageAccess("kill-agent", "Stop an agent, with all that was issued to it", "AS"),
    PageAccess("end-leases", "End every lease", "ASO"),
    PageAccess("end-leases-by", "End the leases of an agent, a user, a grant, a role or a backend", "ASO"),
    PageAccess("abandon-lease", "Abandon a lease", ONLY_SUPERUSERS),
    PageAccess("oauth_grant_end_branch", "Revoke a grant, or a part of it", "AS"),
    PageAccess("accounts_user_invite", "Invite a user", "A"),
    PageAccess("clients_agent_register", "Register an agent step by step", "AD"),
    PageAccess("clients_agent_handover", "What the builder of an agent needs", "ASDU"),
    PageAccess("credentials_backend_test", "Test a backend", "AO"),
    PageAccess("preview-prompt", "Preview the prompt of a role", "AO"),
    PageAccess("operations_operationtype_import", "Import an operation type", "A"),
    PageAccess("operations_operationtype_roll_back", "Return to an older version of an operation type", "A"),
    PageAccess("audit_event_export", "Export the audit log", "ASU"),
    PageAccess("ciba_backchannelrequest_export", "Export requests", "ASU"),
    PageAccess("oauth_grant_export", "Export grants", "ASU"),
    PageAccess("credentials_lease_export", "Export leases", "ASOU"),
    PageAccess("accounts_user_export", "Export users", "ASU"),
)
