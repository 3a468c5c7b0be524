"""offline_access by CIBA: a user lets an agent keep access while they are away, and the agent gets a refresh token."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from joserfc import jws

from accounts.models import User
from ciba import lifecycle
from ciba.models import BackchannelRequest, Prompt
from clients.models import CIBA, REFRESH_TOKEN, Agent
from oauth.models import Grant, RefreshToken
from oauth.tokens.issuance import RT_HASH_CLAIM, half_hash
from operations.models import Scope
from tests.ciba.conftest import TOKEN, do_due_work
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.consent import pass_time
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db(transaction=True)
OFFLINE = "openid calendar.read offline_access"


@pytest.fixture
def offline(agent: Caller) -> Caller:
    return let_refresh(agent)


def let_refresh(caller: Caller) -> Caller:
    Agent.objects.filter(pk=caller.agent.pk).update(grant_types=[CIBA, REFRESH_TOKEN])
    caller.agent.refresh_from_db()
    return caller


def approve(browser: Client) -> None:
    prompt = Prompt.objects.latest("request__created_at")
    assert browser.post(f"/v1/prompts/{prompt.id}/approve").status_code == 200


def tokens(caller: Caller, user: User, browser: Client) -> dict[str, Any]:
    auth_req_id = caller.ask(user, scope=OFFLINE).json()["auth_req_id"]
    approve(browser)
    return dict(caller.poll(auth_req_id).json())


def refresh(caller: Caller, token: str) -> Any:
    return caller.post("/oauth/token", grant_type="refresh_token", refresh_token=token)


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(jws.extract_compact(token.encode()).payload))


def test_a_short_token_and_another_one_later(
    offline: Caller, user: User, browser_of_user: Client, bank: ResourceServer
) -> None:
    first = tokens(offline, user, browser_of_user)
    assert first["expires_in"] == settings.ACCESS_TOKEN_LIFETIME
    assert first["scope"] == OFFLINE
    second = refresh(offline, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert bank.introspect(second["access_token"]).json()["active"] is True
    before, after = (claims_of(one["id_token"]) for one in (first, second))
    assert all(before[name] == after[name] for name in ("sub", "acr", "auth_time"))
    pass_time(31)
    assert refresh(offline, first["refresh_token"]).json()["error"] == "invalid_grant", "used twice"
    assert bank.introspect(second["access_token"]).json() == {"active": False}, "and so everything has ended"


def test_the_user_reads_what_it_means(offline: Caller, user: User, browser_of_user: Client) -> None:
    offline.ask(user, scope=OFFLINE)
    prompt = Prompt.objects.get()
    page = browser_of_user.get(f"/prompts/{prompt.id}").content.decode()
    assert "Keep this access while you are away, without asking you again" in page
    assert "for the next 90 days" in page
    approve(browser_of_user)
    grant = Grant.objects.get()
    assert grant.is_offline and grant.expires_at == prompt_end(prompt, settings.GRANT_LIFETIME)


def prompt_end(prompt: Prompt, seconds: int) -> Any:
    prompt.refresh_from_db()
    assert prompt.answered_at is not None
    return prompt.answered_at + timedelta(seconds=seconds)


def test_without_it_an_approval_is_not_for_later(offline: Caller, user: User, browser_of_user: Client) -> None:
    auth_req_id = offline.ask(user, scope="openid calendar.read").json()["auth_req_id"]
    approve(browser_of_user)
    assert "refresh_token" not in offline.poll(auth_req_id).json()
    assert not RefreshToken.objects.exists()


@pytest.mark.parametrize(
    "more", [{"authorization_details": [PAYMENT]}, {"authorization_details": [CALENDAR]}], ids=["critical", "routine"]
)
def test_no_operation_is_approved_for_later(offline: Caller, user: User, more: dict[str, Any]) -> None:
    assert offline.ask(user, scope="openid offline_access", **more).json()["error"] == "invalid_scope"


def test_nor_a_scope_that_is_asked_for_each_time(offline: Caller, user: User) -> None:
    Scope.objects.filter(name="calendar.read").update(risk="sensitive")
    response = offline.ask(user, scope=OFFLINE)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")
    assert offline.ask(user, scope="openid calendar.read").status_code == 200


def test_an_agent_that_may_not_refresh_may_not_have_offline_access(
    agent: Caller, offline: Caller, user: User, browser_of_user: Client
) -> None:
    auth_req_id = offline.ask(user, scope=OFFLINE).json()["auth_req_id"]
    approve(browser_of_user)
    Agent.objects.filter(pk=agent.agent.pk).update(grant_types=[CIBA])
    answer = agent.poll(auth_req_id).json()
    assert "refresh_token" not in answer and answer["expires_in"] == settings.ACCESS_TOKEN_LIFETIME
    assert agent.ask(user, scope=OFFLINE).status_code == 200
    assert BackchannelRequest.objects.latest("created_at").scopes == ["openid", "calendar.read"]


def test_stopping_the_agent_ends_it(offline: Caller, user: User, browser_of_user: Client) -> None:
    token = tokens(offline, user, browser_of_user)["refresh_token"]
    lifecycle.stop_agent(offline.agent, user, timezone.now())
    assert refresh(offline, token).json()["error"] == "invalid_grant"


def test_a_scope_that_was_raised_since_is_not_refreshed(offline: Caller, user: User, browser_of_user: Client) -> None:
    token = tokens(offline, user, browser_of_user)["refresh_token"]
    Scope.objects.filter(name="calendar.read").update(risk="critical")
    assert refresh(offline, token).json()["scope"] == "openid offline_access"


def test_a_push_binds_the_refresh_token(
    pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
) -> None:
    """CIBA Core 10.3.1: rt_hash in the ID token of a push that has a refresh token."""
    let_refresh(pushed)
    assert pushed.ask(user, scope=OFFLINE, client_notification_token=TOKEN).status_code == 200
    approve(browser_of_user)
    assert do_due_work() == ["done"]
    body = endpoint.received[0].json()
    claims = claims_of(body["id_token"])
    assert claims[RT_HASH_CLAIM] == half_hash(body["refresh_token"])
    assert claims["at_hash"] == half_hash(body["access_token"])
    assert refresh(pushed, body["refresh_token"]).status_code == 200


def test_a_push_that_never_arrives_leaves_no_refresh_token_alive(
    pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
) -> None:
    let_refresh(pushed)
    endpoint.answers.append((404, {}, b""))
    assert pushed.ask(user, scope=OFFLINE, client_notification_token=TOKEN).status_code == 200
    approve(browser_of_user)
    do_due_work()
    body = endpoint.received[0].json()
    assert refresh(pushed, body["refresh_token"]).json()["error"] == "invalid_grant"
