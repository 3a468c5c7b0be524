"""The roles of staff: the groups that the migration made, who assigns a role to whom, and what a developer may do."""

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone

from accounts import lifecycle, staff_roles
from accounts.models import User
from accounts.staff_roles import GROUP_NAMES, ROLES, StaffRole, put_groups
from audit.models import Event
from ciba.models import BackchannelRequest
from clients.models import Agent
from operations.models import Scope
from tests.support.configuration import apply
from tests.support.keys import new_key
from tests.support.world import PASSWORD, PAYMENT, Caller, make_user, sign_in

pytestmark = pytest.mark.django_db
BY_NAME = {role.name: role for role in ROLES}


def permissions_of(group: Group) -> set[str]:
    rows = group.permissions.select_related("content_type")
    return {f"{row.content_type.app_label}.{row.codename}" for row in rows}


def make_staff(*roles: str, email: str = "", **fields: Any) -> User:
    staff = make_user(email or f"{'-'.join(roles)}@example.com", is_staff=True, **fields)
    staff.groups.add(*Group.objects.filter(name__in=[BY_NAME[name].group_name for name in roles]))
    return staff


def change(browser: Client, user: User, *roles: str, **more: Any) -> Any:
    form = {"email": user.email, "name": user.name, "phone": user.phone or "", "roles": roles, **more}
    return browser.post(f"/admin/accounts/user/{user.pk}/change/", form)


def roles_of(user: User) -> set[str]:
    return {role.name for role in User.objects.get(pk=user.pk).staff_roles}


class TestTheTable:
    @pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
    def test_the_migration_made_its_group(self, role: StaffRole) -> None:
        """If this fails, the table changed: add a migration that calls put_groups again."""
        assert permissions_of(Group.objects.get(name=role.group_name)) == role.permissions

    def test_writing_it_again_repairs_and_changes_nothing_else(self) -> None:
        group, other = Group.objects.get(name="Staff: Auditor"), Group.objects.create(name="Treasury")
        group.permissions.add(Permission.objects.get(codename="manage_sign_in"))
        Group.objects.filter(name="Staff: Operator").delete()
        before = Permission.objects.count()
        for _ in range(2):
            put_groups(apps, "default")
            assert {one.name: permissions_of(one) for one in Group.objects.exclude(pk=other.pk)} == {
                role.group_name: role.permissions for role in ROLES
            }
            assert Permission.objects.count() == before and not other.permissions.exists()

    def test_a_permission_of_a_later_migration_is_left_to_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fresh database runs the first migration with today's table."""
        later = StaffRole("auditor", "", BY_NAME["auditor"].permissions | {"audit.view_later", "later.view_app"})
        monkeypatch.setattr(staff_roles, "ROLES", (later,))
        put_groups(apps, "default")
        assert permissions_of(Group.objects.get(name=later.group_name)) == BY_NAME["auditor"].permissions

    def test_an_administrator_may_do_what_any_role_may(self) -> None:
        assert all(role.permissions <= BY_NAME["administrator"].permissions for role in ROLES)

    def test_an_auditor_sees_every_model_of_the_console(self) -> None:
        seen = {f"{model._meta.app_label}.view_{model._meta.model_name}" for model in site._registry}
        assert seen <= BY_NAME["auditor"].permissions
        assert all(".view_" in name for name in BY_NAME["auditor"].permissions)


class TestAssignment:
    def test_an_administrator_makes_an_operator(self, user: User) -> None:
        browser = sign_in(make_staff("administrator"))
        assert change(browser, user, "operator").status_code == 302
        user = User.objects.get(pk=user.pk)
        assert roles_of(user) == {"operator"} and user.is_staff and user.has_perm("credentials.change_backend")
        body = Event.objects.get(kind="user.roles_changed").body
        assert '"roles":["operator"]' in body and '"roles_before":[]' in body
        assert not Event.objects.filter(kind="user.changed").exists()
        assert change(browser, user, "auditor", "operator").status_code == 302
        assert roles_of(user) == {"auditor", "operator"}
        assert change(browser, user).status_code == 302
        user = User.objects.get(pk=user.pk)
        assert not user.is_staff and not user.groups.exists()

    def test_the_page_offers_one_sentence_for_each_role_and_no_single_permissions(self, user: User) -> None:
        page = sign_in(make_staff("administrator")).get(f"/admin/accounts/user/{user.pk}/change/").content.decode()
        assert all(f"<strong>{role.title}</strong>: {role.sentence}" in page for role in ROLES)
        assert 'name="user_permissions"' not in page and 'name="is_superuser"' not in page

    def test_a_superuser_has_both(self, user: User, administrator: User) -> None:
        browser = sign_in(administrator)
        page = browser.get(f"/admin/accounts/user/{user.pk}/change/").content.decode()
        assert 'name="user_permissions"' in page and 'name="roles"' in page
        ordinary, more = Group.objects.create(name="Treasury"), Permission.objects.get(codename="manage_sign_in")
        change(browser, user, "auditor", groups=[ordinary.pk], user_permissions=[more.pk], is_staff="on")
        assert roles_of(user) == {"auditor"} and user.groups.filter(pk=ordinary.pk).exists()
        change(browser, user, "auditor", groups=[], is_staff="on")
        assert roles_of(user) == {"auditor"}, "the list of groups leaves roles alone"
        assert user.groups.count() == 1 and not user.user_permissions.exists()
        # The group of a role cannot be chosen as a group.
        change(browser, user, groups=[Group.objects.get(name="Staff: Security").pk], is_staff="on")
        assert "security" not in roles_of(user)

    def manager(self, *roles: str) -> User:
        """Of staff with these roles, who may also assign roles."""
        manager = make_staff(*roles, email="manager@example.com")
        names = ["change_user", "view_user", "assign_roles", "manage_sign_in", "disable_user"]
        manager.user_permissions.set(Permission.objects.filter(codename__in=names))
        return manager

    @pytest.mark.parametrize("wanted", ["administrator", "security", "auditor"])
    def test_nobody_assigns_a_role_with_a_right_that_they_lack(self, user: User, wanted: str) -> None:
        manager = self.manager("operator", "developer")
        browser = sign_in(manager)
        page = browser.get(f"/admin/accounts/user/{user.pk}/change/").content.decode()
        assert "<strong>Operator</strong>" in page and f"<strong>{wanted.capitalize()}</strong>" not in page
        for target in (user, manager):
            refused = change(browser, target, wanted, "operator", "developer")
            assert refused.status_code == 200 and "is not one of the available choices" in refused.content.decode()
            assert wanted not in roles_of(target)
            roles, by = [*target.staff_roles, BY_NAME[wanted]], User.objects.get(pk=manager.pk)
            with pytest.raises(PermissionDenied):
                lifecycle.assign_roles(target, roles, by, timezone.now())
        assert not User.objects.get(pk=user.pk).is_staff
        assert change(browser, user, "operator").status_code == 302 and roles_of(user) == {"operator"}

    @pytest.mark.parametrize("role", ["security", "operator", "developer", "auditor"])
    def test_no_other_role_assigns_roles(self, user: User, role: str) -> None:
        staff = make_staff(role)
        for target in (user, staff):
            assert change(sign_in(staff), target, "administrator").status_code == 403
        assert roles_of(user) == set() and roles_of(staff) == {role}

    def test_nobody_changes_what_a_role_may_do(self, administrator: User) -> None:
        group = Group.objects.get(name="Staff: Auditor")
        more = Permission.objects.get(codename="manage_sign_in")
        for by in (administrator, make_staff("administrator", email="second@example.com")):
            sent = {"name": "Auditors", "permissions": [more.pk]}
            assert sign_in(by).post(f"/admin/auth/group/{group.pk}/change/", sent).status_code == 403
        assert permissions_of(Group.objects.get(name="Staff: Auditor")) == BY_NAME["auditor"].permissions


ABOVE = {
    "changes": lambda browser, user: change(browser, user, email="mine@example.com"),
    "disables": lambda browser, user: browser.post(
        "/admin/accounts/user/", {"action": "disable", "_selected_action": str(user.pk)}
    ),
    "ends the sessions of": lambda browser, user: browser.post(
        "/admin/accounts/user/", {"action": "end_sessions", "_selected_action": str(user.pk)}
    ),
    "makes a sign-in link for": lambda browser, user: browser.post(
        "/admin/accounts/user/", {"action": "invite_again", "_selected_action": str(user.pk)}
    ),
}


@pytest.mark.parametrize("target", [*BY_NAME, "superuser"])
@pytest.mark.parametrize("manager", BY_NAME)
def test_nobody_manages_a_user_with_a_right_that_they_lack(manager: str, target: str) -> None:
    browser = sign_in(make_staff(manager, email="manager@example.com"))
    is_superuser = target == "superuser"
    above = make_staff(*([] if is_superuser else [target]), email="above@example.com", is_superuser=is_superuser)
    has_every_right = not is_superuser and BY_NAME[target].permissions <= BY_NAME[manager].permissions
    managed = set()
    for what, act in ABOVE.items():
        before = (Event.objects.count(), User.objects.filter(pk=above.pk).values().get())
        act(browser, above)
        if before != (Event.objects.count(), User.objects.filter(pk=above.pk).values().get()):
            managed.add(what)
    allowed = {"administrator": set(ABOVE), "security": {"disables", "ends the sessions of"}}.get(manager, set())
    assert managed == (allowed if has_every_right else set())


class TestConfigurationFiles:
    """manage.py apply_config describes groups of users. A role is none of them."""

    def test_pruning_takes_no_permission_of_a_role(self, tmp_path: Path) -> None:
        Group.objects.create(name="Treasury").permissions.add(Permission.objects.get(codename="view_agent"))
        outcome = apply(tmp_path, {"version": 1, "groups": []}, "--yes", "--prune")
        assert "Treasury" in outcome.text and "Staff: " not in outcome.text
        for role in ROLES:
            assert permissions_of(Group.objects.get(name=role.group_name)) == role.permissions

    def test_no_file_changes_a_role(self, tmp_path: Path) -> None:
        groups = [{"name": "Staff: Auditor", "permissions": ["accounts.manage_sign_in"]}]
        outcome = apply(tmp_path, {"version": 1, "groups": groups}, "--yes")
        assert outcome.code == 2 and "the group of a staff role" in outcome.error
        auditor = Group.objects.get(name="Staff: Auditor")
        assert permissions_of(auditor) == BY_NAME["auditor"].permissions


class TestInvitations:
    def test_an_administrator_invites_staff(self, user: User) -> None:
        """The link works while its maker has every right of the user."""
        by, operator = make_staff("administrator"), make_staff("operator")
        _, handle = lifecycle.invite(operator.email, "", by, timezone.now())
        assert lifecycle.find_invitation(handle, timezone.now()) is not None
        by.groups.set(Group.objects.filter(name="Staff: Security"))
        assert lifecycle.find_invitation(handle, timezone.now()) is None
        by.groups.set(Group.objects.filter(name="Staff: Administrator"))
        found = lifecycle.find_invitation(handle, timezone.now())
        assert found and lifecycle.accept_invitation(found.pk, "correct horse battery", timezone.now())

    @pytest.mark.parametrize("target", ["operator", "a user"])
    def test_a_link_ends_when_its_maker_is_disabled(self, user: User, target: str) -> None:
        by = make_staff("administrator")
        other = make_staff("operator") if target == "operator" else user
        _, handle = lifecycle.invite(other.email, "", by, timezone.now())
        assert lifecycle.find_invitation(handle, timezone.now()) is not None
        lifecycle.disable(by, make_staff("security"), timezone.now())
        assert lifecycle.find_invitation(handle, timezone.now()) is None

    @pytest.mark.parametrize("target", ["a superuser", "an administrator"])
    def test_a_link_ends_when_the_user_gets_more_rights(self, target: str) -> None:
        by = make_staff("operator")
        by.user_permissions.set(Permission.objects.filter(codename__in=["assign_roles", "manage_sign_in"]))
        other = make_staff("operator", email="other@example.com")
        _, handle = lifecycle.invite(other.email, "", by, timezone.now())
        assert lifecycle.find_invitation(handle, timezone.now()) is not None
        if target == "a superuser":
            User.objects.filter(pk=other.pk).update(is_superuser=True)
        else:
            other.groups.add(Group.objects.get(name="Staff: Administrator"))
        assert lifecycle.find_invitation(handle, timezone.now()) is None


class TestSecurity:
    def test_ends_sessions(self, user: User) -> None:
        theirs = sign_in(user)
        assert theirs.get("/activity").status_code == 200
        ABOVE["ends the sessions of"](sign_in(make_staff("security")), user)
        assert theirs.get("/activity").status_code == 302
        assert sign_in(user).get("/activity").status_code == 200
        assert Event.objects.get(kind="user.sessions_ended").user_id == user.pk

    def test_cancels_requests(self, agent: Caller, user: User) -> None:
        sent = agent.ask(user, authorization_details=[PAYMENT]).json()
        request, staff = BackchannelRequest.objects.get(), make_staff("security")
        act = {"action": "cancel", "_selected_action": str(request.pk)}
        page = sign_in(staff).post("/admin/ciba/backchannelrequest/", act, follow=True)
        assert "1 requests cancelled." in page.content.decode()
        assert sign_in(user).get("/v1/prompts").json()["prompts"] == []
        assert agent.poll(sent["auth_req_id"]).json()["error"] == "invalid_grant"
        assert Event.objects.get(kind="request.cancelled").actor == f"user:{staff.pk}"
        again = sign_in(staff).post("/admin/ciba/backchannelrequest/", act, follow=True)
        assert "0 requests cancelled." in again.content.decode()

    def test_suspends_and_does_not_resume(self, agent: Caller) -> None:
        browser = sign_in(make_staff("security"))
        for action in ("suspend", "resume"):
            browser.post("/admin/clients/agent/", {"action": action, "_selected_action": str(agent.agent.pk)})
            assert Agent.objects.get(pk=agent.agent.pk).status == "suspended"


class TestDevelopers:
    @pytest.fixture
    def developer(self, db: None) -> User:
        return make_staff("developer")

    def form(self, **more: Any) -> dict[str, Any]:
        key = new_key("ES256")
        public = {**key.as_dict(private=False), "kid": key.kid}
        return {
            "name": "Mine", "profile": "ciba", "grant_types": "urn:openid:params:grant-type:ciba",
            "token_endpoint_auth_method": "private_key_jwt", "client_jwks": f'{{"keys": [{public}]}}'.replace("'", '"'),
            "assertion_audience": "any", "id_token_signed_response_alg": "ES256",
            "backchannel_token_delivery_mode": "poll", **more,
        }  # fmt: skip

    def wishes(self, user: User) -> dict[str, Any]:
        group = Group.objects.create(name="Treasury")
        return {
            "scopes": list(Scope.objects.values_list("pk", flat=True)), "groups": [group.pk], "user": str(user.pk),
            "linked_users": [str(user.pk)], "identity_scopes": ["openid", "profile", "email"],
            "max_lease_lifetime": "9999", "max_leases": "9999", "pkce_exempt": "on", "operation_types": ["1"],
        }  # fmt: skip

    def granted(self, agent: Agent) -> Any:
        return (
            agent.scopes.count(), agent.operation_types.count(), agent.groups.count(), agent.user, agent.links.count(),
            agent.identity_scopes, agent.max_lease_lifetime, agent.max_leases, agent.pkce_exempt,
        )  # fmt: skip

    @pytest.fixture
    def mine(self, developer: User, agent: Caller) -> Agent:
        page = sign_in(developer).post("/admin/clients/agent/add/", self.form(), follow=True)
        assert page.status_code == 200, page.content
        return Agent.objects.get(name="Mine")

    def test_does_not_change_how_users_are_asked(self, developer: User, mine: Agent) -> None:
        browser, before = sign_in(developer), list(mine.grant_types)
        Agent.objects.filter(pk=mine.pk).update(backchannel_user_code_parameter=True)
        sent = self.form(grant_types=["urn:openid:params:grant-type:ciba", "client_credentials"])
        assert browser.post(f"/admin/clients/agent/{mine.pk}/change/", sent).status_code == 302
        mine.refresh_from_db()
        assert mine.grant_types == before
        assert mine.backchannel_user_code_parameter

    NOTHING = (0, 0, 0, None, 0, ["openid"], None, None, False)

    def test_adds_an_agent_that_may_ask_for_nothing(self, developer: User, agent: Caller, user: User) -> None:
        browser = sign_in(developer)
        sent = self.form(**self.wishes(user))
        page = browser.post("/admin/clients/agent/add/", sent, follow=True).content.decode()
        assert "An administrator chooses the scopes" in page
        mine = Agent.objects.get(name="Mine")
        assert mine.created_by == developer and self.granted(mine) == self.NOTHING

    def test_registers_one_step_by_step_in_the_same_way(self, developer: User, agent: Caller, user: User) -> None:
        wishes = {**self.wishes(user), "owner": user.email, "users": user.email}
        url, browser = "/admin/clients/agent/register/", sign_in(developer)
        for kind in ("server", "script"):
            sent = {**wishes, "name": f"My {kind}", "credential": "secret"}
            page = browser.post(f"{url}?kind={kind}", sent).content.decode()
            mine = Agent.objects.get(name=f"My {kind}")
            assert mine.created_by == developer and self.granted(mine) == self.NOTHING
            assert f"/admin/clients/agent/{mine.pk}/" in page or str(mine.client_id) in page

    def test_changes_how_it_works_and_not_what_it_may_do(self, developer: User, mine: Agent, user: User) -> None:
        sent = self.form(**self.wishes(user), assertion_audience="issuer") | {"name": "Bank", "profile": "fapi-ciba"}
        browser = sign_in(developer)
        assert browser.post(f"/admin/clients/agent/{mine.pk}/change/", sent).status_code == 302
        mine.refresh_from_db()
        assert self.granted(mine) == self.NOTHING
        assert (mine.name, mine.profile, mine.assertion_audience) == ("Mine", "ciba", "issuer")

    def test_keeps_what_an_administrator_granted(self, developer: User, mine: Agent, user: User) -> None:
        mine.scopes.set(Scope.objects.all())
        mine.links.create(user=user, is_linked=True)
        browser = sign_in(developer)
        page = browser.get(f"/admin/clients/agent/{mine.pk}/change/").content.decode()
        assert user.email in page and "calendar.read" in page, "they read it"
        browser.post(f"/admin/clients/agent/{mine.pk}/change/", self.form())
        assert mine.scopes.count() == Scope.objects.count() and mine.links.filter(is_linked=True).exists()

    def test_a_problem_with_a_field_that_they_do_not_have_is_shown(self, developer: User, mine: Agent) -> None:
        Agent.objects.filter(pk=mine.pk).update(pkce_exempt=True, grant_types=["authorization_code"])
        sent = self.form(token_endpoint_auth_method="none", redirect_uris="https://a.example/", client_jwks="")
        page = sign_in(developer).post(f"/admin/clients/agent/{mine.pk}/change/", sent)
        assert page.status_code == 200 and "A public client always needs PKCE." in page.content.decode()

    def test_reaches_no_agent_of_others(self, developer: User, mine: Agent, agent: Caller) -> None:
        browser, other = sign_in(developer), agent.agent
        listed = browser.get("/admin/clients/agent/").content.decode()
        assert str(mine.client_id) in listed and str(other.client_id) not in listed
        before = Agent.objects.filter(pk=other.pk).values().get()
        for page in ("change", "history", "delete"):
            assert browser.get(f"/admin/clients/agent/{other.pk}/{page}/").status_code in {302, 403}
        browser.post(f"/admin/clients/agent/{other.pk}/change/", self.form())
        for action in ("issue_secret", "revoke_secrets", "suspend", "resume"):
            browser.post("/admin/clients/agent/", {"action": action, "_selected_action": str(other.pk)})
        found = browser.get("/admin/clients/agent/", {"q": other.name}).content.decode()
        assert str(other.client_id) not in found
        assert Agent.objects.filter(pk=other.pk).values().get() == before and not other.secrets.exists()

    def test_issues_a_secret_for_their_own(self, developer: User, mine: Agent) -> None:
        Agent.objects.filter(pk=mine.pk).update(token_endpoint_auth_method="client_secret_basic")
        browser = sign_in(developer)
        browser.post("/admin/clients/agent/", {"action": "issue_secret", "_selected_action": str(mine.pk)})
        assert mine.secrets.count() == 1

    def test_does_not_resume_what_security_suspended(self, developer: User, mine: Agent) -> None:
        Agent.objects.filter(pk=mine.pk).update(status="suspended")
        browser = sign_in(developer)
        browser.post("/admin/clients/agent/", {"action": "resume", "_selected_action": str(mine.pk)})
        mine.refresh_from_db()
        assert mine.status == "suspended"


def test_a_role_ends_at_once(user: User) -> None:
    staff = make_staff("auditor")
    browser = sign_in(staff, PASSWORD)
    assert browser.get("/admin/audit/event/").status_code == 200
    lifecycle.assign_roles(staff, [], make_staff("administrator"), timezone.now())
    assert browser.get("/admin/audit/event/", follow=True).status_code == 403


def test_names_of_groups_are_distinct() -> None:
    assert len(set(GROUP_NAMES)) == len(ROLES)
