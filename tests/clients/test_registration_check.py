"""A registration is checked when it is saved, and again when the demands of its profile have changed."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from clients import lifecycle, profiles
from clients.models import Agent
from tests.support.consent import WebAgent, make_web_agent, query_of
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db
PROBLEM = "fapi2-ciba requires tokens bound by DPoP or mutual TLS"


def change_demands(agent: Agent) -> None:
    """As if this agent's profile had demanded less when its registration was checked."""
    Agent.objects.filter(pk=agent.pk).update(profile="fapi2-ciba", demands_version=0)


def refused(response: Any) -> bool:
    body = response.json()
    assert (response.status_code, body["error"]) == (400, "unauthorized_client"), response.content
    assert PROBLEM in body["error_description"] and "administrator" in body["error_description"]
    return True


class TestTheVerdict:
    def test_is_stored_by_every_save(self, agent: Caller) -> None:
        row = agent.agent
        assert (row.registration_problem, row.demands_version) == ("", profiles.DEMANDS_VERSION)
        row.profile = "fapi2-ciba"
        row.save(update_fields=["profile"])
        row.refresh_from_db()
        assert row.registration_problem == PROBLEM
        row.profile = "ciba"
        row.save()
        row.refresh_from_db()
        assert row.registration_problem == ""

    def test_is_not_written_by_a_save_of_something_else(self, agent: Caller) -> None:
        change_demands(agent.agent)
        agent.agent.save(update_fields=["identity_scopes"])
        assert Agent.objects.get(pk=agent.agent.pk).demands_version == 0

    def test_follows_two_changes_at_once(self, agent: Caller) -> None:
        """Each alone leaves a good registration, and neither has seen the other."""
        Agent.objects.filter(pk=agent.agent.pk).update(dpop_bound_access_tokens=True)
        one, other = (Agent.objects.get(pk=agent.agent.pk) for _ in range(2))
        one.profile = "fapi2-ciba"
        other.dpop_bound_access_tokens = False
        one.save(update_fields=["profile"])
        other.save(update_fields=["dpop_bound_access_tokens"])
        assert Agent.objects.get(pk=agent.agent.pk).current_problem == PROBLEM
        lifecycle.recheck_registrations(timezone.now(), 100)
        row = Agent.objects.get(pk=agent.agent.pk)
        assert (row.registration_problem, row.demands_version) == (PROBLEM, profiles.DEMANDS_VERSION)

    def test_a_sweep_checks_again_what_was_checked_by_earlier_demands(self, agent: Caller) -> None:
        now = timezone.now()
        Agent.objects.update(demands_version=0)
        change_demands(agent.agent)
        assert lifecycle.recheck_registrations(now, 1) == 1
        assert lifecycle.recheck_registrations(now, 100) == Agent.objects.count() - 1
        assert lifecycle.recheck_registrations(now, 100) == 0
        assert Agent.objects.get(pk=agent.agent.pk).registration_problem == PROBLEM
        (event,) = Event.objects.filter(kind="agent.rechecked")
        assert event.client_id == agent.agent.client_id
        assert json.loads(event.body)["facts"]["problem"] == PROBLEM

    def test_filters_the_list_of_agents(self, agent: Caller, administrator: User) -> None:
        browser = sign_in(administrator)

        def listed(problem: str) -> bool:
            return agent.agent.client_id in browser.get("/admin/clients/agent/", {"problem": problem}).content.decode()

        assert (listed("yes"), listed("no"), listed("")) == (False, True, True)
        change_demands(agent.agent)
        lifecycle.recheck_registrations(timezone.now(), 100)
        assert (listed("yes"), listed("no"), listed("")) == (True, False, True)

    def test_a_later_version_is_left_alone(self, agent: Caller) -> None:
        """A process of the previous release does not undo what the next one has found."""
        Agent.objects.update(demands_version=profiles.DEMANDS_VERSION + 1, registration_problem="something new")
        assert lifecycle.recheck_registrations(timezone.now(), 100) == 0
        assert Agent.objects.get(pk=agent.agent.pk).registration_problem == "something new"

    def test_an_agent_that_meets_the_demands_again_is_recorded_too(self, agent: Caller) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(registration_problem=PROBLEM, demands_version=0)
        lifecycle.recheck_registrations(timezone.now(), 100)
        assert Agent.objects.get(pk=agent.agent.pk).registration_problem == ""
        assert Event.objects.filter(kind="agent.rechecked").count() == 1


@pytest.mark.parametrize("is_swept", [True, False], ids=["swept", "not yet swept"])
class TestAnAgentThatFails:
    def fail(self, agent: Agent, *, is_swept: bool) -> None:
        change_demands(agent)
        if is_swept:
            lifecycle.recheck_registrations(timezone.now(), 100)

    def test_cannot_ask(self, agent: Caller, user: User, *, is_swept: bool) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        self.fail(agent.agent, is_swept=is_swept)
        assert refused(agent.ask(user))
        assert refused(agent.client_credentials(scope="calendar.read"))
        assert refused(agent.poll(auth_req_id))
        assert Event.objects.filter(kind="request.refused").count() == 1
        assert Event.objects.filter(kind="token.refused").count() == 2

    def test_cannot_ask_in_the_browser(self, agent: Caller, browser_of_user: Client, *, is_swept: bool) -> None:
        web: WebAgent = make_web_agent()
        self.fail(web.agent, is_swept=is_swept)
        reply = query_of(browser_of_user.get(web.url())["Location"])
        assert reply["error"] == "unauthorized_client" and PROBLEM in reply["error_description"]

    def test_can_still_revoke(self, agent: Caller, user: User, *, is_swept: bool) -> None:
        """Revoking is never blocked."""
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        self.fail(agent.agent, is_swept=is_swept)
        assert agent.post("/oauth/revoke", token=auth_req_id).status_code == 200
        assert agent.agent.requests.get().state == "cancelled"

    def test_is_shown_to_the_administrator(self, agent: Caller, administrator: User, *, is_swept: bool) -> None:
        self.fail(agent.agent, is_swept=is_swept)
        page = sign_in(administrator).get("/admin/clients/agent/").content.decode()
        assert f"The agent cannot ask for anything: {PROBLEM}. Change its registration or its profile." in page

    def test_asks_again_once_it_is_corrected(self, agent: Caller, user: User, *, is_swept: bool) -> None:
        self.fail(agent.agent, is_swept=is_swept)
        row = Agent.objects.get(pk=agent.agent.pk)
        row.profile = "ciba"
        row.save()
        assert agent.ask(user).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_jwks": {"type": "object"}}, id="a JWK Set without keys"),
        pytest.param({"client_jwks": ["x"]}, id="a list"),
        pytest.param({"client_jwks": {"keys": [7]}}, id="a number for a key"),
        pytest.param({"profile": "none such"}, id="an unknown profile"),
    ],
)
def test_a_form_with_what_cannot_be_judged_is_shown_again(
    agent: Caller, administrator: User, changes: dict[str, Any]
) -> None:
    """The page of the agent judges what was typed, whatever that is."""
    for name, value in changes.items():
        setattr(agent.agent, name, value)
    assert agent.agent.find_registration_problem()
    browser = sign_in(administrator)
    form = {"name": "a", "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["client_credentials"]}
    typed = {name: json.dumps(value) if name == "client_jwks" else value for name, value in changes.items()}
    assert browser.post("/admin/clients/agent/add/", {"profile": "ciba", **form, **typed}).status_code == 200
