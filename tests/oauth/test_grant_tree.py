"""Everything that belongs to a grant is one tree for its user and for administrators. They can end any branch."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from audit.models import Event
from ciba.models import Prompt
from clients.models import AgentLink
from oauth.grants.grant_tree import BRANCH_KINDS
from oauth.models import Grant, RefreshToken
from tests.support.consent import WebAgent
from tests.support.world import PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def tokens(web: WebAgent, browser_of_user: Client) -> dict[str, str]:
    return web.tokens(browser_of_user)


@pytest.fixture
def grant(tokens: dict[str, str]) -> Grant:
    return Grant.objects.get()


def branches(browser: Client, grant: Grant) -> list[str]:
    """The addresses that end a branch, as the page offers them."""
    page = browser.get(f"/grants/{grant.id}").content.decode()
    parts = page.split('action="')[1:]
    return [part.partition('"')[0] for part in parts if f"/grants/{grant.id}/" in part.partition('"')[0]]


class TestTheUser:
    def test_sees_it_under_agents(self, grant: Grant, browser_of_user: Client) -> None:
        page = browser_of_user.get("/agents").content.decode()
        assert f"/grants/{grant.id}" in page and "Read your calendar at Bank" in page
        page = browser_of_user.get(f"/grants/{grant.id}").content.decode()
        assert "Refresh tokens" in page and "Access tokens" in page and "● Active" in page

    def test_sees_it_where_the_agent_may_not_ask_any_more(self, grant: Grant, browser_of_user: Client) -> None:
        AgentLink.objects.update(is_linked=False)
        assert f"/grants/{grant.id}" in browser_of_user.get("/agents").content.decode()

    def test_ends_an_access_token_alone(
        self, grant: Grant, tokens: dict[str, str], web: WebAgent, browser_of_user: Client, bank: ResourceServer
    ) -> None:
        (end,) = [path for path in branches(browser_of_user, grant) if "access-token" in path]
        assert bank.introspect(tokens["access_token"]).json()["active"]
        assert browser_of_user.post(end).status_code == 302
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert Event.objects.get(kind="token.revoked").grant_id == grant.id
        assert end not in branches(browser_of_user, grant)
        browser_of_user.post(end)
        assert Event.objects.filter(kind="token.revoked").count() == 1
        assert bank.introspect(web.refresh(tokens["refresh_token"]).json()["access_token"]).json()["active"]

    def test_ends_a_refresh_token_alone(
        self, grant: Grant, tokens: dict[str, str], web: WebAgent, browser_of_user: Client, bank: ResourceServer
    ) -> None:
        (end,) = [path for path in branches(browser_of_user, grant) if "refresh-token" in path]
        browser_of_user.post(end)
        assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert bank.introspect(tokens["access_token"]).json()["active"]
        grant.refresh_from_db()
        assert grant.revoked_at is None
        assert Event.objects.get(kind="refresh_token.revoked").actor == f"user:{grant.user_id}"

    def test_ends_all_of_it(
        self, grant: Grant, tokens: dict[str, str], web: WebAgent, browser_of_user: Client, bank: ResourceServer
    ) -> None:
        (end,) = [path for path in branches(browser_of_user, grant) if path.endswith(f"{grant.id}/end")]
        for _ in range(2):
            assert browser_of_user.post(end).status_code == 302
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert Event.objects.filter(kind="grant.revoked").count() == 1
        page = browser_of_user.get(f"/grants/{grant.id}").content.decode()
        assert "● Active" not in page and "danger" not in page

    def test_sees_what_was_done(self, agent: Caller, user: User, browser_of_user: Client, bank: ResourceServer) -> None:
        sent = agent.ask(user, authorization_details=[PAYMENT]).json()
        browser_of_user.post(f"/prompts/{Prompt.objects.get().id}", {"answer": "approve"})
        token = agent.poll(sent["auth_req_id"]).json()["access_token"]
        digest = bank.digest(PAYMENT, agent.agent.client_id, str(user.id))
        assert bank.use(token, digest).status_code == 201
        page = browser_of_user.get(f"/grants/{Grant.objects.get().id}").content.decode()
        assert "Uses" in page and digest[:12] in page and "Payment at Bank" in page


class TestAStranger:
    def test_neither_sees_nor_ends_it(
        self, grant: Grant, tokens: dict[str, str], browser_of_user: Client, stranger: User, web: WebAgent
    ) -> None:
        paths = branches(browser_of_user, grant)
        assert len(paths) == 3
        other = sign_in(stranger)
        assert other.get(f"/grants/{grant.id}").status_code == 404
        assert [other.post(path).status_code for path in paths] == [404] * 3
        assert all(Client().post(path)["Location"].startswith("/login") for path in paths)
        assert web.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_branch_of_another_grant_is_none_of_this_one(
        self, grant: Grant, tokens: dict[str, str], web: WebAgent, stranger: User, bank: ResourceServer
    ) -> None:
        """Whose is it comes first: my grant does not open the way to your tokens."""
        mine = sign_in(stranger)
        web.tokens(mine)
        my_grant = Grant.objects.get(user=stranger)
        (theirs,) = [branch.id for branch in BRANCH_KINDS["access-token"].find(grant, grant.created_at)]
        token = RefreshToken.objects.get(grant=grant)
        for path in (f"access-token/{theirs}", f"refresh-token/{token.pk}"):
            assert mine.post(f"/grants/{my_grant.id}/{path}/end").status_code == 302
        assert bank.introspect(tokens["access_token"]).json()["active"]
        assert web.refresh(tokens["refresh_token"]).status_code == 200

    @pytest.mark.parametrize(
        "path", ["use/x", "nothing/1", "refresh-token/x", "refresh-token/-1", "refresh-token/9999999999999999999",
                 "lease/x",                 "lease/00000000-0000-4000-8000-000000000000",
                 "access-token/%00", "access-token/é", "refresh-token/²"]
    )  # fmt: skip
    def test_branches_that_are_none(self, grant: Grant, browser_of_user: Client, path: str) -> None:
        assert browser_of_user.post(f"/grants/{grant.id}/{path}/end").status_code in (302, 400)
        assert browser_of_user.get(f"/grants/{grant.id}/{path}/end").status_code in (400, 405)
        grant.refresh_from_db()
        assert grant.revoked_at is None

    def test_another_site_cannot_have_it_ended(self, grant: Grant, user: User) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(user)
        assert browser.post(f"/grants/{grant.id}/end").status_code == 403


class TestAnAdministrator:
    def test_sees_the_tree_and_ends_any_branch(
        self, grant: Grant, tokens: dict[str, str], web: WebAgent, administrator: User, bank: ResourceServer
    ) -> None:
        browser = sign_in(administrator)
        address = f"/admin/oauth/grant/{grant.id}/"
        page = browser.get(f"{address}change/").content.decode()
        assert "Refresh tokens" in page and "Access tokens" in page
        (branch,) = BRANCH_KINDS["access-token"].find(grant, grant.created_at)
        assert browser.post(f"{address}end/", {"kind": "access-token", "branch": branch.id}).status_code == 302
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert Event.objects.get(kind="token.revoked").actor == f"user:{administrator.id}"
        browser.post(f"{address}end/")
        assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"

    def test_ends_several_from_the_list(self, grant: Grant, administrator: User) -> None:
        action = {"action": "end", "_selected_action": [str(grant.id)]}
        sign_in(administrator).post("/admin/oauth/grant/", action)
        assert Event.objects.get(kind="grant.revoked").actor == f"user:{administrator.id}"

    def test_only_who_may_suspend_an_agent(self, grant: Grant, administrator: User) -> None:
        User.objects.filter(pk=administrator.pk).update(is_superuser=False)
        administrator.user_permissions.add(Permission.objects.get(codename="view_grant"))
        browser = sign_in(administrator)
        assert browser.get(f"/admin/oauth/grant/{grant.id}/change/").status_code == 200
        assert browser.post(f"/admin/oauth/grant/{grant.id}/end/").status_code == 403
        grant.refresh_from_db()
        assert grant.revoked_at is None
