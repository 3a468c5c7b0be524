"""Who may answer a prompt: only its approver, signed in."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from ciba import lifecycle
from ciba.models import Approval, BackchannelRequest, Prompt
from clients.models import AgentLink
from oauth.models import Grant
from operations.lifecycle import put_version
from operations.models import OperationType
from tests.support.world import FORM, PASSWORD, PAYMENT, PAYMENT_SCHEMA, Caller, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def prompt(agent: Caller, user: User) -> Prompt:
    assert agent.ask(user, authorization_details=[PAYMENT], binding_message="Invoice 7").status_code == 200
    return Prompt.objects.select_related("request").get()


def still_pending(prompt: Prompt) -> bool:
    prompt.refresh_from_db()
    request = BackchannelRequest.objects.get(pk=prompt.request_id)
    return (
        request.state == "pending"
        and not prompt.answer
        and not Approval.objects.exists()
        and not Grant.objects.exists()
    )


WAYS = ["page", "approve", "deny"]


def attempt(browser: Client, prompt: Prompt, way: str, **body: str) -> Any:
    if way == "page":
        return browser.post(f"/prompts/{prompt.id}", {"answer": "approve", **body})
    return browser.post(f"/v1/prompts/{prompt.id}/{way}", body)


class TestNobodyElse:
    @pytest.mark.parametrize("way", WAYS)
    def test_another_user(self, prompt: Prompt, stranger: User, way: str) -> None:
        assert attempt(sign_in(stranger), prompt, way).status_code == 404
        assert still_pending(prompt)
        assert Event.objects.get(kind="prompt.refused").actor == f"user:{stranger.id}"

    @pytest.mark.parametrize("way", WAYS)
    def test_an_administrator(self, prompt: Prompt, administrator: User, way: str) -> None:
        assert attempt(sign_in(administrator), prompt, way).status_code == 404
        assert still_pending(prompt)

    @pytest.mark.parametrize("way", WAYS)
    def test_no_session(self, prompt: Prompt, way: str) -> None:
        response = attempt(Client(), prompt, way)
        if way == "page":
            assert response.status_code == 302 and response["Location"].startswith("/login?next=/prompts/")
        else:
            assert response.status_code in {401, 403}
        assert still_pending(prompt)

    @pytest.mark.parametrize("way", WAYS)
    def test_the_agent_with_its_tokens(self, prompt: Prompt, agent: Caller, way: str) -> None:
        token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        for authorization in (f"Bearer {token}", f"Basic {token}"):
            browser = Client(headers={"Authorization": authorization})
            assert attempt(browser, prompt, way).status_code in {302, 401, 403}
        assert still_pending(prompt)

    def test_the_agent_with_its_assertion(self, prompt: Prompt, agent: Caller) -> None:
        for path in (f"/v1/prompts/{prompt.id}/approve", f"/prompts/{prompt.id}"):
            assert agent.post(path, answer="approve").status_code in {302, 401, 403}
        assert still_pending(prompt)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("name", ["user", "sub", "user_id", "approver", "login_hint", "email"])
    def test_a_body_that_names_the_user(self, prompt: Prompt, user: User, stranger: User, way: str, name: str) -> None:
        for value in (str(user.id), user.email):
            assert attempt(sign_in(stranger), prompt, way, **{name: value}).status_code == 404
        assert still_pending(prompt)

    @pytest.mark.parametrize("way", WAYS)
    def test_the_users_browser_led_by_another_site(self, prompt: Prompt, user: User, way: str) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.cookies = sign_in(user).cookies
        path = f"/prompts/{prompt.id}" if way == "page" else f"/v1/prompts/{prompt.id}/{way}"
        body = {"answer": "approve"}
        token = {"csrfmiddlewaretoken": "x" * 32}
        for form in (body, body | token):
            status = browser.post(path, urlencode(form), content_type=FORM).status_code
            assert status == (403 if way == "page" else 415), "/v1 reads no form"
            assert browser.post(path, form, content_type="application/json").status_code == 403
        assert still_pending(prompt)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_session_of_before_the_user_was_disabled(
        self, prompt: Prompt, user: User, administrator: User, way: str
    ) -> None:
        browser = sign_in(user)
        users.disable(user, administrator, timezone.now())
        assert attempt(browser, prompt, way).status_code in {302, 401, 403}
        users.enable(user, administrator, timezone.now())
        assert attempt(browser, prompt, way).status_code in {302, 401, 403}, "being enabled revives no session"
        assert still_pending(prompt)


class TestOpeningChangesNothing:
    @pytest.mark.parametrize(
        "path", ["/prompts/{}", "/prompts/{}?answer=approve", "/v1/prompts/{}", "/v1/prompts", "/"]
    )
    def test_get_and_head(self, prompt: Prompt, browser_of_user: Client, path: str) -> None:
        for method in (browser_of_user.get, browser_of_user.head):
            assert method(path.format(prompt.id)).status_code == 200
        assert still_pending(prompt)

    @pytest.mark.parametrize("path", ["/v1/prompts/{}/approve", "/v1/prompts/{}/deny"])
    def test_the_answers_take_only_post(self, prompt: Prompt, browser_of_user: Client, path: str) -> None:
        for method in ("get", "head", "put", "patch", "delete", "options"):
            response = getattr(browser_of_user, method)(path.format(prompt.id))
            assert response.status_code == (200 if method == "options" else 405)
        assert still_pending(prompt)

    @pytest.mark.parametrize("body", [{}, {"answer": ""}, {"answer": "yes"}, {"answer": "APPROVE"}, {"approve": "1"}])
    def test_an_unclear_answer_is_none(self, prompt: Prompt, browser_of_user: Client, body: dict[str, str]) -> None:
        assert browser_of_user.post(f"/prompts/{prompt.id}", body).status_code == 400
        assert still_pending(prompt)


class TestAssurance:
    @pytest.fixture
    def stale(self, user: User) -> Client:
        browser = sign_in(user)
        session = browser.session
        session["signed_in_at"] -= 15 * 60 + 1
        session.save()
        return browser

    def test_an_old_sign_in_does_not_approve(self, prompt: Prompt, stale: Client) -> None:
        page = attempt(stale, prompt, "page")
        assert page.status_code == 302 and page["Location"] == f"/login?next=%2Fprompts%2F{prompt.id}"
        assert attempt(stale, prompt, "approve").json()["error"] == "sign_in_again"
        assert still_pending(prompt)

    def test_it_denies_all_the_same(self, prompt: Prompt, stale: Client) -> None:
        assert attempt(stale, prompt, "deny").status_code == 200
        assert BackchannelRequest.objects.get().state == "denied"

    def test_after_signing_in_again_it_does(self, prompt: Prompt, user: User, stale: Client) -> None:
        stale.post("/login", {"email": user.email, "password": PASSWORD})
        assert attempt(stale, prompt, "approve").status_code == 200


class TestOnce:
    @pytest.mark.parametrize("first", ["approve", "deny"])
    @pytest.mark.parametrize("second", ["approve", "deny"])
    def test_the_first_answer_stands(self, prompt: Prompt, browser_of_user: Client, first: str, second: str) -> None:
        assert attempt(browser_of_user, prompt, first).status_code == 200
        assert attempt(browser_of_user, prompt, second).status_code == 409
        state = {"approve": "approved", "deny": "denied"}[first]
        assert BackchannelRequest.objects.get().state == state
        assert Event.objects.filter(kind__in=["request.approved", "request.denied"]).count() == 1

    def test_too_late(self, prompt: Prompt, browser_of_user: Client) -> None:
        BackchannelRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert attempt(browser_of_user, prompt, "approve").status_code == 409
        page = browser_of_user.get(f"/prompts/{prompt.id}")
        assert page.status_code == 200 and b'value="approve"' not in page.content
        assert browser_of_user.get(f"/v1/prompts/{prompt.id}").json()["state"] == "expired", "swept or not"
        assert still_pending(prompt)

    def test_the_evidence(self, prompt: Prompt, user: User, browser_of_user: Client) -> None:
        attempt(browser_of_user, prompt, "approve")
        approval = Approval.objects.get()
        assert bytes(approval.prompt_digest) == bytes(prompt.prompt_digest)
        assert approval.assurance == "session" and approval.address == "127.0.0.1"
        assert Event.objects.get(kind="request.approved").actor == f"user:{user.id}"


class TestWhatWasShown:
    def test_a_later_edit_does_not_change_a_pending_question(
        self, prompt: Prompt, payment_type: OperationType, browser_of_user: Client, agent: Caller
    ) -> None:
        meaning = {
            "schema": PAYMENT_SCHEMA, "title": "Gift", "summary": "Nothing to see", "risk": "routine",
            "assurance": "session", "uses": 99, "lifetime": 60,
        }  # fmt: skip
        put_version(payment_type, meaning, About(SYSTEM), timezone.now())
        agent.agent.name = "Somebody else"
        agent.agent.save()
        page = browser_of_user.get(f"/prompts/{prompt.id}").content.decode()
        assert "Pay EUR 120.00 to Acme GmbH" in page and "Nothing to see" not in page
        assert "Assistant" in page and "Somebody else" not in page
        attempt(browser_of_user, prompt, "approve")
        assert Grant.objects.get().uses_left == 1

    def test_the_agents_words_are_escaped_and_apart(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        evil = "<b>approved</b> by 'IT' & \"co\""
        agent.ask(user, authorization_details=[{**PAYMENT, "creditor": "<script>x</script>"}], binding_message=evil)
        page = browser_of_user.get(f"/prompts/{Prompt.objects.get().id}").content.decode()
        assert "<script>x" not in page and "<b>approved" not in page
        assert "&lt;b&gt;approved&lt;/b&gt;" in page and "&lt;script&gt;x&lt;/script&gt;" in page


class TestTheirAgents:
    def test_stopping_ends_questions_approvals_and_grants(
        self, prompt: Prompt, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        attempt(browser_of_user, prompt, "approve")
        agent.ask(user, authorization_details=[PAYMENT])
        assert browser_of_user.post(f"/agents/{agent.agent.pk}/stop").status_code == 302
        assert sorted(BackchannelRequest.objects.values_list("state", flat=True)) == ["cancelled", "revoked"]
        assert not Grant.objects.alive(timezone.now()).exists()
        assert agent.ask(user).json()["error"] == "unknown_user_id"
        assert browser_of_user.post(f"/agents/{agent.agent.pk}/allow").status_code == 302
        assert agent.ask(user).status_code == 200
        assert not Grant.objects.alive(timezone.now()).exists(), "what was stopped stays stopped"

    def test_another_users_agent_is_unknown(self, agent: Caller, stranger: User) -> None:
        browser = sign_in(stranger)
        for act in ("stop", "allow"):
            assert browser.post(f"/agents/{agent.agent.pk}/{act}").status_code == 404
            assert browser.get(f"/agents/{agent.agent.pk}/{act}").status_code == 405
        assert browser.post("/agents/999999999999999999999/stop").status_code == 404
        assert not AgentLink.objects.filter(stopped_at__isnull=False).exists()
        assert b"Assistant" not in browser.get("/agents").content

    def test_one_users_stop_is_theirs_alone(self, agent: Caller, user: User, stranger: User) -> None:
        AgentLink.objects.create(agent=agent.agent, user=stranger, is_linked=True)
        agent.ask(user)
        sign_in(stranger).post(f"/agents/{agent.agent.pk}/stop")
        assert BackchannelRequest.objects.get().state == "pending"
        assert agent.ask(user).status_code == 200


def test_the_sweep_expires_in_batches(agent: Caller, user: User) -> None:
    for _ in range(5):
        agent.ask(user)
    now = timezone.now() + timedelta(seconds=301)
    assert [lifecycle.expire_due(now, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert set(BackchannelRequest.objects.values_list("state", flat=True)) == {"expired"}
    assert Event.objects.filter(kind="request.expired").count() == 5
