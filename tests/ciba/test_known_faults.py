"""Faults that other CIBA servers had, each as a test of this one.

What a pushed ID token must hold is in test_callbacks.py (TestPush), two redemptions at once in tests/races.
"""

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba.models import Approval, BackchannelRequest, Prompt
from oauth.models import Grant
from tests.support.world import PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db


def ask(caller: Caller, user: User, **more: Any) -> dict[str, Any]:
    more.setdefault("authorization_details", [PAYMENT])
    return dict(caller.ask(user, **more).json())


def answer(browser: Client, what: str, **body: Any) -> int:
    prompt = Prompt.objects.order_by("-request__created_at")[0]
    response = browser.post(f"/v1/prompts/{prompt.id}/{what}", body, content_type="application/json")
    return int(response.status_code)


def test_slow_down_is_sent_and_adds_five_seconds(agent: Caller, user: User) -> None:
    sent = ask(agent, user)
    assert sent["interval"] == 5
    agent.poll(sent["auth_req_id"])
    slow = agent.poll(sent["auth_req_id"]).json()
    assert slow["error"] == "slow_down" and "wait 10 seconds" in slow["error_description"]


def test_an_auth_req_id_is_no_uuid(agent: Caller, user: User) -> None:
    sent = ask(agent, user)["auth_req_id"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", sent), "256 bits"


def test_a_second_redemption_gets_nothing(agent: Caller, user: User, browser_of_user: Client) -> None:
    """At once: tests/races."""
    sent = ask(agent, user)["auth_req_id"]
    answer(browser_of_user, "approve")
    assert [agent.poll(sent).status_code for _ in range(2)] == [200, 400]


def test_the_binding_message_is_shown(agent: Caller, user: User, browser_of_user: Client) -> None:
    ask(agent, user, binding_message="Invoice 4711, Mueller")
    page = browser_of_user.get(f"/prompts/{Prompt.objects.get().id}").content
    assert b"Invoice 4711, Mueller" in page


def test_consent_is_not_remembered(agent: Caller, user: User, browser_of_user: Client) -> None:
    first = ask(agent, user)["auth_req_id"]
    answer(browser_of_user, "approve")
    agent.poll(first)
    second = ask(agent, user)["auth_req_id"]
    assert agent.poll(second).json()["error"] == "authorization_pending"


def test_a_second_decision_changes_nothing(agent: Caller, user: User, browser_of_user: Client) -> None:
    sent = ask(agent, user)["auth_req_id"]
    assert [answer(browser_of_user, one) for one in ("deny", "approve", "deny")] == [200, 409, 409]
    assert agent.poll(sent).json()["error"] == "access_denied"
    assert not Grant.objects.exists() and not Approval.objects.exists()


def test_a_poll_erases_no_decision(agent: Caller, user: User, browser_of_user: Client) -> None:
    """A poll writes nothing of the request: tests/oauth/test_query_counts.py pins it, tests/races races it."""
    sent = ask(agent, user)["auth_req_id"]
    before = BackchannelRequest.objects.values().get()
    agent.poll(sent)
    assert BackchannelRequest.objects.values().get() == before


def test_another_client_learns_no_state(
    agent: Caller, other_agent: Caller, user: User, browser_of_user: Client
) -> None:
    sent = ask(agent, user)["auth_req_id"]
    answers = {other_agent.poll("unknown").content, other_agent.poll(sent).content}
    answer(browser_of_user, "deny")
    assert len(answers | {other_agent.poll(sent).content}) == 1


def test_a_disabled_user_approves_nothing_and_holds_nothing(
    agent: Caller, user: User, administrator: User, bank: ResourceServer
) -> None:
    browser = sign_in(user)
    sent = ask(agent, user)["auth_req_id"]
    answer(browser, "approve")
    token = agent.poll(sent).json()["access_token"]
    ask(agent, user)
    users.disable(user, administrator, timezone.now())
    assert answer(browser, "approve") in (401, 403)
    assert bank.introspect(token).json() == {"active": False}
    assert BackchannelRequest.objects.filter(state="pending").count() == 1


def test_the_approver_is_the_user_of_the_session(agent: Caller, user: User, stranger: User) -> None:
    ask(agent, user)
    browser = sign_in(stranger)
    for body in ({"user": user.sub}, {"approver": user.sub}, {"sub": user.sub, "email": user.email}):
        assert answer(browser, "approve", **body) == 404
    browser.defaults["HTTP_X_USER"] = user.sub
    assert answer(browser, "approve") == 404
    assert BackchannelRequest.objects.get().state == "pending"
    assert Event.objects.filter(kind="prompt.refused").exists()
