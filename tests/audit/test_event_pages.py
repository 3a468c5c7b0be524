"""The trail in the administration: found by whom and what it concerns, opened, never changed; and /activity."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from audit import events
from audit.models import Event
from ciba.models import BackchannelRequest
from oauth.models import Grant
from tests.support.world import PAYMENT, Caller, make_user, sign_in

pytestmark = pytest.mark.django_db
LIST = "/admin/audit/event/"


@pytest.fixture
def browser(administrator: User) -> Client:
    return sign_in(administrator)


@pytest.fixture
def sent(agent: Caller, other_agent: Caller, user: User, stranger: User) -> BackchannelRequest:
    """One request, approved and fetched; and another agent's refusal, which is another story."""
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    request = BackchannelRequest.objects.get()
    sign_in(user).post(f"/prompts/{request.prompts.get().id}", {"answer": "approve"})
    assert agent.poll(auth_req_id).status_code == 200
    assert other_agent.ask(stranger).status_code == 400
    request.refresh_from_db()
    return request


def found(browser: Client, **query: Any) -> list[str]:
    page = browser.get(LIST, query)
    assert page.status_code == 200, page.content
    return [str(event.kind) for event in page.context["cl"].result_list]


STORY = ["token.issued", "request.redeemed", "request.approved", "request.opened"]


class TestFinding:
    def test_by_request(self, browser: Client, sent: BackchannelRequest) -> None:
        assert found(browser, q=str(sent.id)) == STORY

    def test_by_grant(self, browser: Client, sent: BackchannelRequest) -> None:
        assert found(browser, q=str(Grant.objects.get().id)) == STORY[:3]

    @pytest.mark.parametrize("by", ["client_id", "name"])
    def test_by_agent(self, browser: Client, sent: BackchannelRequest, agent: Caller, by: str) -> None:
        assert found(browser, q=getattr(agent.agent, by)) == STORY
        assert found(browser, client_id=agent.agent.client_id) == STORY

    def test_by_user(self, browser: Client, sent: BackchannelRequest, user: User) -> None:
        mine = [*STORY[:3], "user.signed_in", STORY[3]]
        assert found(browser, q=" Person@example.com ") == mine
        assert found(browser, q=str(user.id)) == mine
        assert found(browser, user_id=str(user.id)) == mine

    def test_by_kind_and_family(self, browser: Client, sent: BackchannelRequest) -> None:
        assert found(browser, family="request") == ["request.refused", *STORY[1:]]
        assert found(browser, kind="request.approved") == ["request.approved"]
        assert found(browser, family="nothing") == []

    def test_by_time(self, browser: Client, sent: BackchannelRequest) -> None:
        at = Event.objects.get(kind="request.opened").at
        assert found(browser, at__gt=at.isoformat(), kind="request.opened") == []
        assert found(browser, at__gte=at.isoformat(), kind="request.opened") == ["request.opened"]
        assert found(browser, at__year=at.year - 1) == []

    @pytest.mark.parametrize("junk", ["x" * 5000, "' OR 1=1 --", "\u202e", "00000000-0000-4000-8000-000000000000", "%"])
    def test_nothing_by_junk(self, browser: Client, sent: BackchannelRequest, junk: str) -> None:
        assert found(browser, q=junk) == []

    @pytest.mark.parametrize("query", [{"user_id": "x"}, {"at__gte": "x"}, {"user__password": "x"}, {"e": "1"}])
    def test_junk_as_a_filter_is_no_error(self, browser: Client, query: dict[str, str]) -> None:
        assert browser.get(LIST, query, follow=True).status_code < 500

    def test_the_list_names_agent_and_user(self, browser: Client, sent: BackchannelRequest, user: User) -> None:
        text = browser.get(LIST, {"q": str(sent.id)}).content.decode()
        assert f'title="{user.id}">person@example.com</a>' in text
        assert re.search(r'href="/admin/audit/event/\?client_id=[\w-]+" title="[\w-]+">Assistant</a>', text)

    def test_the_list_takes_the_same_queries_for_one_line_and_for_many(
        self, browser: Client, sent: BackchannelRequest, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(12):
            found(browser)


class TestChangingNothing:
    @pytest.mark.parametrize("path", ["add/", "{id}/change/", "{id}/delete/", ""])
    def test_even_a_superuser(self, browser: Client, sent: BackchannelRequest, path: str) -> None:
        event = Event.objects.latest("id")
        form = {"body": "x", "post": "yes", "action": "delete_selected", "_selected_action": event.id}
        before = list(Event.objects.order_by("id").values())
        response = browser.post(LIST + path.format(id=event.id), form)
        assert response.status_code == (403 if path else 302)  # the list has no such action, and shows itself again
        assert list(Event.objects.order_by("id").values())[: len(before)] == before

    def test_opened_it_has_no_field_to_fill_in(self, browser: Client, sent: BackchannelRequest) -> None:
        text = browser.get(f"{LIST}{Event.objects.latest('id').id}/change/").content.decode()
        assert "An agent" in text
        assert not re.search(r'<(?:textarea|select)|<input(?![^>]*type="(?:hidden|search)")[^>]*name="(?!csrf)', text)

    def test_without_the_right_to_view_there_is_nothing(self, sent: BackchannelRequest) -> None:
        clerk = make_user("clerk@example.com", is_staff=True)
        assert sign_in(clerk).get(LIST).status_code == 403
        clerk.user_permissions.add(Permission.objects.get(codename="view_event"))
        assert sign_in(clerk).get(LIST).status_code == 200


class TestOneRequestOnOnePage:
    def test_from_asking_to_the_token(self, browser: Client, sent: BackchannelRequest) -> None:
        page = browser.get(f"/admin/ciba/backchannelrequest/{sent.id}/change/")
        assert [row["event"].kind for row in page.context["trail"]] == STORY[::-1]

    def test_what_others_wrote_is_text_there(self, browser: Client, agent: Caller, user: User) -> None:
        hostile = {**PAYMENT, "creditor": "<script>alert(1)</script>"}
        agent.ask(user, authorization_details=[hostile], binding_message="<img src=x onerror=alert(1)>")
        request = BackchannelRequest.objects.get()
        for path in (f"/admin/ciba/backchannelrequest/{request.id}/change/", "/admin/ciba/backchannelrequest/", LIST):
            text = browser.get(path).content.decode()
            assert "<script>alert" not in text and "<img src=x" not in text


def test_every_kind_has_a_name_of_its_family_and_a_text() -> None:
    for kind in events.all_kinds():
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", kind.name) and kind.title and kind.title[0].isupper(), kind


class TestActivity:
    def test_it_is_the_users_own(self, sent: BackchannelRequest, user: User, stranger: User) -> None:
        mine = sign_in(user).get("/activity").content.decode()
        assert "You approved" in mine and "Pay EUR 120.00 to Acme GmbH" in mine
        theirs = sign_in(stranger).get("/activity").content.decode()
        assert "You signed in" in theirs and "Acme" not in theirs

    @pytest.mark.parametrize("before", ["x", "-1", "9" * 18, "9" * 19, "", "١٢", "1e3"])
    def test_any_page(self, sent: BackchannelRequest, user: User, before: str) -> None:
        assert sign_in(user).get("/activity", {"before": before}).status_code == 200
