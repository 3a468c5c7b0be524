"""offline_access by CIBA: a person lets an agent go on while they are away, and it gets a refresh token."""

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
from oauth.minting import RT_HASH_CLAIM, half_hash
from oauth.models import Grant, RefreshToken
from operations.models import Scope
from tests.agent_endpoint import AgentEndpoint
from tests.ciba.conftest import TOKEN, do_owed
from tests.consenting import pass_time
from tests.world import CALENDAR, PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db(transaction=True)
STAY = "openid calendar.read offline_access"


@pytest.fixture
def staying(agent: Caller) -> Caller:
    return let_refresh(agent)


def let_refresh(caller: Caller) -> Caller:
    Agent.objects.filter(pk=caller.agent.pk).update(grant_types=[CIBA, REFRESH_TOKEN])
    caller.agent.refresh_from_db()
    return caller


def approve(browser: Client) -> None:
    prompt = Prompt.objects.latest("request__created_at")
    assert browser.post(f"/v1/prompts/{prompt.id}/approve").status_code == 200


def tokens(caller: Caller, person: User, browser: Client) -> dict[str, Any]:
    auth_req_id = caller.ask(person, scope=STAY).json()["auth_req_id"]
    approve(browser)
    return dict(caller.poll(auth_req_id).json())


def refresh(caller: Caller, token: str) -> Any:
    return caller.post("/oauth/token", grant_type="refresh_token", refresh_token=token)


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(jws.extract_compact(token.encode()).payload))


def test_a_short_token_and_another_one_later(
    staying: Caller, person: User, browser_of_person: Client, bank: ResourceServer
) -> None:
    first = tokens(staying, person, browser_of_person)
    assert first["expires_in"] == settings.ACCESS_TOKEN_LIFETIME
    assert first["scope"] == STAY
    second = refresh(staying, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert bank.introspect(second["access_token"]).json()["active"] is True
    before, after = (claims_of(one["id_token"]) for one in (first, second))
    assert all(before[name] == after[name] for name in ("sub", "acr", "auth_time"))
    pass_time(31)
    assert refresh(staying, first["refresh_token"]).json()["error"] == "invalid_grant", "used twice"
    assert bank.introspect(second["access_token"]).json() == {"active": False}, "and so everything has ended"


def test_the_person_reads_what_it_means(staying: Caller, person: User, browser_of_person: Client) -> None:
    staying.ask(person, scope=STAY)
    prompt = Prompt.objects.get()
    page = browser_of_person.get(f"/prompts/{prompt.id}").content.decode()
    assert "Go on while you are away, without asking you again" in page
    assert "within 90 days" in page
    approve(browser_of_person)
    grant = Grant.objects.get()
    assert grant.is_offline and grant.expires_at == prompt_end(prompt, settings.GRANT_LIFETIME)


def prompt_end(prompt: Prompt, seconds: int) -> Any:
    prompt.refresh_from_db()
    assert prompt.answered_at is not None
    return prompt.answered_at + timedelta(seconds=seconds)


def test_without_it_an_approval_is_not_for_later(staying: Caller, person: User, browser_of_person: Client) -> None:
    auth_req_id = staying.ask(person, scope="openid calendar.read").json()["auth_req_id"]
    approve(browser_of_person)
    assert "refresh_token" not in staying.poll(auth_req_id).json()
    assert not RefreshToken.objects.exists()


@pytest.mark.parametrize(
    "more", [{"authorization_details": [PAYMENT]}, {"authorization_details": [CALENDAR]}], ids=["critical", "routine"]
)
def test_no_operation_is_approved_for_later(staying: Caller, person: User, more: dict[str, Any]) -> None:
    assert staying.ask(person, scope="openid offline_access", **more).json()["error"] == "invalid_scope"


def test_nor_a_scope_that_is_asked_for_each_time(staying: Caller, person: User) -> None:
    Scope.objects.filter(name="calendar.read").update(risk="sensitive")
    response = staying.ask(person, scope=STAY)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")
    assert staying.ask(person, scope="openid calendar.read").status_code == 200


def test_an_agent_that_may_not_refresh_may_not_stay(
    agent: Caller, staying: Caller, person: User, browser_of_person: Client
) -> None:
    auth_req_id = staying.ask(person, scope=STAY).json()["auth_req_id"]
    approve(browser_of_person)
    Agent.objects.filter(pk=agent.agent.pk).update(grant_types=[CIBA])
    answer = agent.poll(auth_req_id).json()
    assert "refresh_token" not in answer and answer["expires_in"] == settings.ACCESS_TOKEN_LIFETIME
    assert agent.ask(person, scope=STAY).status_code == 200
    assert BackchannelRequest.objects.latest("created_at").scopes == ["openid", "calendar.read"]


def test_stopping_the_agent_ends_it(staying: Caller, person: User, browser_of_person: Client) -> None:
    token = tokens(staying, person, browser_of_person)["refresh_token"]
    lifecycle.stop_agent(staying.agent, person, timezone.now())
    assert refresh(staying, token).json()["error"] == "invalid_grant"


def test_a_scope_that_was_raised_since_is_not_refreshed(
    staying: Caller, person: User, browser_of_person: Client
) -> None:
    token = tokens(staying, person, browser_of_person)["refresh_token"]
    Scope.objects.filter(name="calendar.read").update(risk="critical")
    assert refresh(staying, token).json()["scope"] == "openid offline_access"


def test_a_push_binds_the_refresh_token(
    pushed: Caller, person: User, browser_of_person: Client, endpoint: AgentEndpoint
) -> None:
    """CIBA Core 10.3.1: rt_hash in the ID token of a push that has a refresh token."""
    let_refresh(pushed)
    assert pushed.ask(person, scope=STAY, client_notification_token=TOKEN).status_code == 200
    approve(browser_of_person)
    assert do_owed() == ["done"]
    body = endpoint.received[0].json()
    claims = claims_of(body["id_token"])
    assert claims[RT_HASH_CLAIM] == half_hash(body["refresh_token"])
    assert claims["at_hash"] == half_hash(body["access_token"])
    assert refresh(pushed, body["refresh_token"]).status_code == 200


def test_a_push_that_never_arrives_leaves_no_refresh_token_alive(
    pushed: Caller, person: User, browser_of_person: Client, endpoint: AgentEndpoint
) -> None:
    let_refresh(pushed)
    endpoint.answers.append((404, {}, b""))
    assert pushed.ask(person, scope=STAY, client_notification_token=TOKEN).status_code == 200
    approve(browser_of_person)
    do_owed()
    body = endpoint.received[0].json()
    assert refresh(pushed, body["refresh_token"]).json()["error"] == "invalid_grant"
