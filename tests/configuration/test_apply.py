"""apply_config: the difference, its options, its exit codes, and the ways of the administration that a file goes."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import User
from accounts.staff_roles import GROUP_NAMES
from audit.models import Event
from ciba.models import HintIssuer
from clients import lifecycle as agents
from clients.models import Agent
from credentials.backends.secrets import sealed, target_of
from credentials.models import Backend, Role
from operations.models import OperationType, Resource, Scope
from tests.support.configuration import apply, example, export, parsed_example
from tests.support.leases import Holder
from tests.support.world import Caller, ResourceServer, make_user

pytestmark = pytest.mark.django_db
SECRET = "the first secret"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", SECRET)


def with_change(section: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    """The example, with other fields of one object. A field given as None is left out."""
    content = parsed_example()
    changed = content[section][index] | fields
    content[section][index] = {name: value for name, value in changed.items() if value is not None}
    return content


def applied(folder: Path) -> None:
    """The example, whose backend does not exist: its preflight fails."""
    outcome = apply(folder, example(), "--yes")
    assert outcome.code == 4, outcome
    # as the backend was: its preflight has told the role nothing
    assert Role.objects.get().is_active


def events() -> list[tuple[str, str]]:
    return list(Event.objects.order_by("id").values_list("kind", "actor"))


class TestTheExampleOfTheGuide:
    def test_makes_every_object(self, tmp_path: Path) -> None:
        applied(tmp_path)
        agent = Agent.objects.get(client_id="payment-assistant")
        assert {one.name for one in agent.scopes.all()} == {"leases", "payments.read"}
        assert {one.name for one in agent.operation_types.all()} == {"credential:orders-readonly", "payment"}
        assert [one.name for one in agent.groups.all()] == ["Treasury"]
        assert agent.registration_source == "manual" and agent.name_skeleton and not agent.current_problem
        version = OperationType.objects.get(name="payment").current
        assert version and (version.number, version.risk, version.lifetime) == (1, "critical", 600)
        backend = Backend.objects.get()
        assert target_of(backend).secret == SECRET and backend.secret_changed_at is not None
        assert Role.objects.get().operation_type.current.lifetime == 900  # type: ignore[union-attr]
        assert Group.objects.get(name="Agent managers").permissions.count() == 2
        assert HintIssuer.objects.get().algorithms == ["ES256"]

    def test_is_recorded_like_the_work_of_an_administrator(self, tmp_path: Path) -> None:
        applied(tmp_path)
        assert sorted({kind for kind, _ in events()}) == [
            "agent.registered", "backend.changed", "backend.checked", "group.changed", "hint_issuer.changed",
            "operation_type.changed", "resource.changed", "role.changed", "scope.changed",
        ]  # fmt: skip
        assert {actor for _, actor in events()} == {"config:countersign.yaml"}
        body = json.loads(Event.objects.get(kind="agent.registered").body)
        assert body["client_id"] == "payment-assistant" and "client_jwks_uri" in body["facts"]["changed"]
        assert not Event.objects.filter(body__contains=SECRET).exists()

    def test_a_second_time_changes_nothing_and_writes_no_event(self, tmp_path: Path) -> None:
        applied(tmp_path)
        before = events(), export()
        outcome = apply(tmp_path, example(), "--yes")
        assert (outcome.code, outcome.text.splitlines()[-1]) == (0, "No difference.")
        assert outcome.text.count(": unchanged") == 9
        assert (events(), export()) == before

    def test_is_shown_before(self, tmp_path: Path) -> None:
        outcome = apply(tmp_path, example())
        assert outcome.code == 1 and "pass --yes" in outcome.error, "no terminal"
        assert "+ operation type payment: added\n" in outcome.text
        assert '    secret: {"env": "CONFIG_SECRET_ORDERS"}\n' in outcome.text and SECRET not in outcome.text
        assert not Resource.objects.exists() and not Event.objects.exists()


# Section → a change of the example, the line that shows it, and the events that it writes.
CHANGES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("resources", {"name": "Payments API"}, 'name: "Payments" → "Payments API"', ["resource.changed"]),
    ("resources", {"is_active": False}, "is_active: true → false", ["resource.changed"]),
    ("scopes", {"risk": "critical"}, 'risk: "sensitive" → "critical"', ["scope.changed"]),
    ("operation_types", {"uses": 3}, "uses: 1 → 3", ["operation_type.changed"]),
    ("operation_types", {"is_active": False}, "is_active: true → false", ["operation_type.changed"]),
    ("groups", {"permissions": ["clients.view_agent"]}, 'permissions: [] → ["clients.view_agent"]', ["group.changed"]),
    ("backends", {"max_leases": 5}, "max_leases: 1000 → 5", ["backend.changed"]),
    ("backends", {"is_draining": True}, "is_draining: false → true", ["backend.drained"]),
    ("credential_roles", {"max_leases": 5}, "max_leases: 100 → 5", ["role.changed"]),
    ("credential_roles", {"risk": "critical"}, 'risk: "sensitive" → "critical"',
     ["operation_type.changed", "role.changed"]),
    ("agents", {"name": "Payer"}, 'name: "Payment Assistant" → "Payer"', ["agent.changed"]),
    ("agents", {"scopes": ["leases"]}, 'scopes: ["leases", "payments.read"] → ["leases"]', ["agent.changed"]),
    ("agents", {"status": "suspended"}, 'status: "active" → "suspended"', ["agent.suspended"]),
    ("agents", {"max_leases": 7}, "max_leases: null → 7", ["agent.changed"]),
    ("hint_issuers", {"algorithms": ["ES256", "PS256"]}, 'algorithms: ["ES256"] → ["ES256", "PS256"]',
     ["hint_issuer.changed"]),
]  # fmt: skip


@pytest.mark.parametrize(("section", "fields", "line", "kinds"), CHANGES, ids=lambda one: str(one)[:40])
def test_a_change_is_shown_applied_and_recorded(
    tmp_path: Path, section: str, fields: dict[str, Any], line: str, kinds: list[str]
) -> None:
    applied(tmp_path)
    earlier = Event.objects.count()
    content = with_change(section, **fields)
    checked = apply(tmp_path, content, "--check")
    assert checked.code == 1 and f"    {line}\n" in checked.text
    assert checked.text.count(": changed") == 1 and Event.objects.count() == earlier
    assert apply(tmp_path, content, "--yes").code == 0
    assert [kind for kind, _ in events()[earlier:]] == kinds
    assert apply(tmp_path, content, "--check").code == 0
    # and back again
    assert apply(tmp_path, example(), "--check").code == 1
    assert apply(tmp_path, example(), "--yes").code in (0, 4)
    assert apply(tmp_path, example(), "--check").code == 0


def test_only_the_changed_part_of_a_schema_is_shown(tmp_path: Path) -> None:
    applied(tmp_path)
    content = parsed_example()
    content["operation_types"][0]["schema"]["properties"]["creditor"]["maxLength"] = 140
    outcome = apply(tmp_path, content, "--yes")
    assert "~ operation type payment: changed\n    schema.properties.creditor.maxLength: 70 → 140\n" in outcome.text
    versions = OperationType.objects.get(name="payment").versions.order_by("number")
    assert [one.schema["properties"]["creditor"]["maxLength"] for one in versions] == [70, 140]


def test_a_schema_that_says_the_same_in_another_order_is_no_new_version(tmp_path: Path) -> None:
    applied(tmp_path)
    content = parsed_example()
    schema = content["operation_types"][0]["schema"]
    content["operation_types"][0]["schema"] = dict(reversed(schema.items()))
    assert apply(tmp_path, content, "--check").code == 0


def test_a_field_that_is_left_out_has_its_default(tmp_path: Path) -> None:
    applied(tmp_path)
    Agent.objects.update(dpop_bound_access_tokens=True)
    outcome = apply(tmp_path, example(), "--yes")
    assert "    dpop_bound_access_tokens: true → false\n" in outcome.text
    assert not Agent.objects.get().dpop_bound_access_tokens


def test_text_from_the_database_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    applied(tmp_path)
    Resource.objects.filter(name="Payments").update(name="P\x1b[2J\x9b\u202e\nname: x")
    outcome = apply(tmp_path, example(), "--check")
    assert '    name: "P\\u001b[2J\\u009b\\u202e\\nname: x" → "Payments"\n' in outcome.text


class TestPrune:
    def leave_out_everything(self) -> dict[str, Any]:
        return {name: 1 if name == "version" else [] for name in parsed_example()}

    def test_nothing_is_touched_without_it(self, tmp_path: Path) -> None:
        applied(tmp_path)
        before = export()
        outcome = apply(tmp_path, self.leave_out_everything(), "--yes")
        assert outcome.code == 0 and outcome.text.count("? ") == 8, outcome.text
        assert "? agent payment-assistant: not in the file, stays as it is (--prune would suspend it)" in outcome.text
        assert apply(tmp_path, self.leave_out_everything(), "--check").code == 0
        assert export() == before

    def test_it_deactivates_and_deletes_nothing(self, tmp_path: Path, bank: ResourceServer) -> None:
        applied(tmp_path)
        assert apply(tmp_path, self.leave_out_everything(), "--check", "--prune").code == 1
        earlier = Event.objects.count()
        outcome = apply(tmp_path, self.leave_out_everything(), "--yes", "--prune")
        assert "- backend orders: not in the file, --prune will drain it\n    is_draining: false → true" in outcome.text
        active = Resource.objects.filter(is_active=True)
        assert [one.name for one in active] == ["Countersign: leases"], "what Countersign needs itself stays"
        assert [one.name for one in Scope.objects.filter(is_active=True)] == ["leases"]
        assert not OperationType.objects.filter(is_active=True).exists()
        assert not Role.objects.filter(is_active=True).exists() and not HintIssuer.objects.filter(is_active=True)
        assert Agent.objects.get().status == "suspended" and Backend.objects.get().status == "draining"
        ordinary = Group.objects.exclude(name__in=GROUP_NAMES)
        assert ordinary.count() == 2 and not ordinary.filter(permissions__isnull=False).exists()
        staff = Group.objects.filter(name__in=GROUP_NAMES, permissions__isnull=False).distinct()
        assert staff.count() == len(GROUP_NAMES), "a migration writes these"
        assert {actor for _, actor in events()[earlier:]} == {"config:countersign.yaml"}
        assert apply(tmp_path, self.leave_out_everything(), "--check", "--prune").code == 0

    def test_a_list_that_the_file_does_not_have_is_not_pruned(self, tmp_path: Path) -> None:
        applied(tmp_path)
        outcome = apply(tmp_path, {"version": 1, "scopes": []}, "--yes", "--prune")
        assert outcome.text.splitlines()[0] == "- scope payments.read: not in the file, --prune will deactivate it"
        assert Agent.objects.get().is_active and Resource.objects.filter(is_active=True).count() == 2


class TestWhatIsNotInTheFile:
    def test_an_agent_that_registered_itself(self, tmp_path: Path, agent: Caller) -> None:
        """Its registration changes by its own requests, so it is neither exported nor pruned, and no file takes it."""
        Agent.objects.update(registration_source="dcr")
        assert agent.agent.client_id not in export()
        nothing: dict[str, Any] = {"version": 1, "agents": []}
        assert apply(tmp_path, nothing, "--yes", "--prune").text == "No difference.\n"
        own = {"client_id": agent.agent.client_id, "name": "Mine", "grant_types": ["client_credentials"]}
        outcome = apply(tmp_path, {"version": 1, "agents": [own]}, "--yes")
        assert outcome.code == 2 and "registered itself" in outcome.error
        assert Agent.objects.get().name == "Assistant"

    def test_links_between_users_and_agents(self, tmp_path: Path, agent: Caller, user: User) -> None:
        exported = export()
        assert user.email not in exported
        assert apply(tmp_path, exported.replace("name: Assistant", "name: Helper"), "--yes").code == 0
        assert Agent.objects.get().name == "Helper" and Agent.objects.get().links.filter(user=user, is_linked=True)

    def test_members_of_a_group(self, tmp_path: Path, user: User) -> None:
        applied(tmp_path)
        user.groups.add(Group.objects.get(name="Treasury"))
        assert apply(tmp_path, with_change("groups", permissions=["auth.view_group"]), "--yes").code == 0
        assert user.groups.get().name == "Treasury"

    def test_secrets_of_agents_and_resources(self, tmp_path: Path, bank: ResourceServer, administrator: User) -> None:
        content = {"client_id": "old", "name": "Old", "grant_types": ["client_credentials"],
                   "token_endpoint_auth_method": "client_secret_basic"}  # fmt: skip
        assert apply(tmp_path, {"version": 1, "agents": [content]}, "--yes").code == 0
        secret = agents.issue_secret(Agent.objects.get(), administrator, timezone.now())
        exported = export()
        assert bank.secret not in exported and secret not in exported and str(bank.resource.id) not in exported
        assert apply(tmp_path, exported, "--check").code == 0


def test_the_owner_of_an_agent_is_a_user(tmp_path: Path) -> None:
    make_user("owner@example.com")
    content = {
        "client_id": "a",
        "name": "A",
        "grant_types": ["authorization_code"],
        "owner": "Owner@example.com",
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["https://a.example/b", "https://a.example/a"],
    }
    assert apply(tmp_path, {"version": 1, "agents": [content]}, "--yes").code == 0
    agent = Agent.objects.get()
    assert agent.user.email == "owner@example.com"
    assert agent.redirect_uris == "https://a.example/b https://a.example/a"
    assert apply(tmp_path, {"version": 1, "agents": [content]}, "--check").code == 0


class TestSettingsOfABackendWithLiveLeases:
    def test_change_only_if_the_system_is_the_same(self, tmp_path: Path, holder: Holder, role: Role) -> None:
        """On another system every account would be missing, and its lease would count as revoked."""
        holder.issue_lease(role)
        content = export().replace("user: lease_admin", "user: lease_admin\n      sslmode: prefer")
        content = content.replace("sslmode: disable", "")
        outcome = apply(tmp_path, content, "--yes")
        assert outcome.code == 2 and "live leases" in outcome.error and "--same-system orders" in outcome.error
        assert apply(tmp_path, content, "--yes", "--same-system", "orders").code == 0
        assert Backend.objects.get().settings["sslmode"] == "prefer"


class TestPreflights:
    def test_a_new_backend_is_tested_and_enabled(self, tmp_path: Path, orders: Backend, role: Role) -> None:
        """A row that nothing has tested yet, as a kill between commit and preflight leaves it."""
        Backend.objects.update(status="new", preflight_at=None)
        outcome = apply(tmp_path, export(), "--yes")
        assert (outcome.code, outcome.text.splitlines()[-1]) == (0, "backend orders: preflight passed")
        assert Backend.objects.get().status == "enabled"
        assert apply(tmp_path, export(), "--yes").text.splitlines()[-1] == "No difference."

    def test_a_role_that_fails_is_deactivated_and_the_drift_shows(
        self, tmp_path: Path, orders: Backend, role: Role
    ) -> None:
        content = export().replace("- orders_reader", "- nobody_made_it")
        outcome = apply(tmp_path, content, "--yes")
        assert outcome.code == 4 and "credential role orders-readonly: preflight failed: " in outcome.text
        assert not Role.objects.get().is_active
        assert apply(tmp_path, content, "--check").code == 1

    def test_a_drained_backend_is_tested_before_it_issues_again(self, tmp_path: Path, orders: Backend) -> None:
        content = export()
        Backend.objects.update(status="draining")
        assert apply(tmp_path, content, "--check").code == 1
        assert apply(tmp_path, content, "--yes").code == 0
        assert Backend.objects.get().status == "enabled"


class TestStoredSecrets:
    def test_stay_although_the_file_names_another(self, tmp_path: Path, orders: Backend, role: Role) -> None:
        """Countersign may have rotated it. The one of the file would log in nowhere."""
        Backend.objects.update(sealed_secret=sealed(orders, "a rotated secret"))
        content = export()
        assert "secret: {env" not in content and "      env: CONFIG_SECRET_BACKEND_ORDERS" in content
        outcome = apply(tmp_path, content, "--yes")
        assert outcome.code == 0, "and the variable need not be set"
        assert target_of(Backend.objects.get()).secret == "a rotated secret"

    def test_are_replaced_if_the_caller_says_so(
        self, tmp_path: Path, orders: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Backend.objects.update(sealed_secret=sealed(orders, "a wrong secret"))
        monkeypatch.setenv("CONFIG_SECRET_BACKEND_ORDERS", SECRET)
        outcome = apply(tmp_path, export(), "--yes", "--replace-secret", "orders")
        assert outcome.code == 0 and '    secret: replaced by {"env": "CONFIG_SECRET_BACKEND_ORDERS"}' in outcome.text
        assert "a wrong secret" not in outcome.text and SECRET not in outcome.text
        assert target_of(Backend.objects.get()).secret == SECRET
        again = apply(tmp_path, export(), "--check", "--replace-secret", "orders")
        assert again.code == 0, "the same secret is no difference"
        assert apply(tmp_path, export(), "--check", "--replace-secret", "unknown").code == 2
