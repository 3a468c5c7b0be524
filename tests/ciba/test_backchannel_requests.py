"""POST /bc-authorize over the wire: its acknowledgement, and every refusal (CIBA Core 7, 13)."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from joserfc import jws

from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest, Prompt
from clients.models import CLIENT_CREDENTIALS, Agent, AgentLink
from oauth.tokens.issuance import sign
from oauth.tokens.signing_keys import signing_key
from operations.models import OperationType
from tests.support.world import (
    CALENDAR,
    PAYMENT,
    PAYMENT_SCHEMA,
    Caller,
    ResourceServer,
    allow_everything,
    make_caller,
    make_type,
    sign_in,
)

pytestmark = pytest.mark.django_db


def refused(response: Any, error: str) -> bool:
    """As specified, and nothing left behind but one event."""
    assert response.json()["error"] == error
    assert response.status_code == 400
    assert response["Cache-Control"] == "no-store"
    assert not BackchannelRequest.objects.exists() and not Prompt.objects.exists()
    assert Event.objects.filter(kind="request.refused").count() == 1
    return True


class TestTheAcknowledgement:
    def test_it_has_what_ciba_core_7_3_asks(self, agent: Caller, user: User) -> None:
        response = agent.ask(user)
        assert response.status_code == 200
        assert response["Cache-Control"] == "no-store"
        assert response["Content-Type"] == "application/json"
        assert response.json().keys() == {"auth_req_id", "expires_in", "interval"}

    def test_the_id_is_unguessable_and_not_stored(self, agent: Caller, user: User) -> None:
        ids = [agent.ask(user).json()["auth_req_id"] for _ in range(5)]
        assert len(set(ids)) == 5
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in ids), "256 bits, CIBA Core 7.3's characters"
        columns = [str(value) for row in BackchannelRequest.objects.values() for value in row.values()]
        bodies = Event.objects.values_list("body", flat=True)
        assert not any(one in text for one in ids for text in [*columns, *bodies])

    @pytest.mark.parametrize(("sent", "given"), [("60", 60), ("99999", 3600), (None, 300)])
    def test_requested_expiry_is_honoured_within_bounds(
        self, agent: Caller, user: User, sent: str | None, given: int
    ) -> None:
        parameters = {"requested_expiry": sent} if sent else {}
        assert agent.ask(user, **parameters).json()["expires_in"] == given

    def test_what_belongs_to_other_profiles_is_ignored(self, agent: Caller, user: User) -> None:
        ignored = {"user_code": "1", "client_notification_token": "x" * 2000, "nobody_knows": "y"}
        assert agent.ask(user, **ignored).status_code == 200


class TestHints:
    def test_an_address_is_found_whatever_its_case(self, agent: Caller, user: User) -> None:
        assert agent.ask(login_hint=" Person@Example.COM ").status_code == 200
        assert BackchannelRequest.objects.get().user == user

    def test_nobody_and_somebody_else_are_one_answer(self, agent: Caller, user: User, stranger: User) -> None:
        """Unknown, not this agent's to ask, disabled, stopped: byte for byte the same."""
        answers = {agent.ask(login_hint="nobody@example.com").content, agent.ask(stranger).content}
        AgentLink.objects.update(is_linked=False)
        answers.add(agent.ask(user).content)
        AgentLink.objects.update(is_linked=True, stopped_at="2026-01-01T00:00:00Z")
        answers.add(agent.ask(user).content)
        AgentLink.objects.update(stopped_at=None)
        User.objects.filter(pk=user.pk).update(is_active=False)
        answers.add(agent.ask(user).content)
        answers.add(agent.ask(login_hint="\u202e").content)
        assert len(answers) == 1 and b"unknown_user_id" in answers.pop()
        assert not BackchannelRequest.objects.exists()

    def test_the_owner_and_a_group_may_be_asked(self, agent: Caller, user: User, stranger: User) -> None:
        refused(agent.ask(stranger), "unknown_user_id")
        group = Group.objects.create(name="Accounting")
        agent.agent.groups.add(group)
        stranger.groups.add(group)
        assert agent.ask(stranger).status_code == 200
        AgentLink.objects.all().delete()
        agent.agent.user = user
        agent.agent.save()
        assert agent.ask(user).status_code == 200


class TestIdTokenHint:
    @pytest.fixture
    def id_token(self, agent: Caller, user: User) -> str:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        prompt = Prompt.objects.get()
        sign_in(user).post(f"/v1/prompts/{prompt.id}/approve")
        token = agent.poll(auth_req_id).json()["id_token"]
        return str(token)

    def test_ours_names_the_user(self, agent: Caller, user: User, id_token: str) -> None:
        assert agent.ask(id_token_hint=id_token).status_code == 200
        assert {one.user for one in BackchannelRequest.objects.all()} == {user}

    def test_it_still_does_after_it_expired(self, agent: Caller, id_token: str) -> None:
        """OpenID Connect Core 3.1.2.1: a hint may have expired. It opens nothing: the user is asked all the same."""
        claims = json.loads(jws.extract_compact(id_token.encode()).payload)
        old = sign({**claims, "exp": claims["exp"] - 7200}, signing_key("ES256", timezone.now()), "JWT")
        assert agent.ask(id_token_hint=old).status_code == 200

    def test_another_agents_is_refused(self, other_agent: Caller, id_token: str) -> None:
        assert other_agent.ask(id_token_hint=id_token).json()["error"] == "invalid_request"

    def test_a_tampered_one_an_access_token_and_junk_are_refused(self, agent: Caller, id_token: str) -> None:
        head, body, signature = id_token.split(".")
        access_token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        other = "A" if signature[0] != "A" else "B"
        for wrong in (f"{head}.{body}.{other}{signature[1:]}", f"{head}.{body}.", access_token, "x", "a.b.c", "é"):
            assert agent.ask(id_token_hint=wrong).json()["error"] == "invalid_request"

    def test_a_disabled_user_is_unknown(self, agent: Caller, user: User, id_token: str) -> None:
        User.objects.filter(pk=user.pk).update(is_active=False)
        assert agent.ask(id_token_hint=id_token).json()["error"] == "unknown_user_id"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no scope", {"scope": ""}, "invalid_request"),
    ("no openid", {"scope": "calendar.read"}, "invalid_scope"),
    ("two hints", {"id_token_hint": "x"}, "invalid_request"),
    ("a login_hint_token that is none", {"login_hint": "", "login_hint_token": "x"}, "invalid_request"),
    ("no hint", {"login_hint": ""}, "invalid_request"),
    ("a link in the message", {"binding_message": "https://x.example"}, "invalid_binding_message"),
    ("junk in the expiry", {"requested_expiry": "soon"}, "invalid_request"),
    ("an unknown operation", {"authorization_details": [{"type": "x"}]}, "invalid_authorization_details"),
    ("a field too many", {"authorization_details": [{**PAYMENT, "to": "me"}]}, "invalid_authorization_details"),
    ("two payments", {"authorization_details": [PAYMENT, PAYMENT]}, "invalid_authorization_details"),
    ("one hides behind", {"authorization_details": [CALENDAR, PAYMENT]}, "invalid_authorization_details"),
    ("an unknown resource", {"resource": "https://x.example/"}, "invalid_target"),
]


@pytest.mark.parametrize(("parameters", "error"), [pytest.param(p, e, id=i) for i, p, e in REFUSED])
def test_what_is_refused(agent: Caller, user: User, parameters: dict[str, Any], error: str) -> None:
    refused(agent.ask(user, **parameters), error)


def test_an_assurance_that_nobody_can_give_is_refused_at_once(agent: Caller, user: User, bank: ResourceServer) -> None:
    for assurance in ("number", "passkey"):
        made = make_type(bank.resource, f"wire_{assurance}", PAYMENT_SCHEMA, risk="critical", assurance=assurance)
        agent.agent.operation_types.add(made)
        response = agent.ask(user, authorization_details=[{**PAYMENT, "type": f"wire_{assurance}"}])
        assert (response.status_code, response.json()["error"]) == (403, "access_denied")
    assert not BackchannelRequest.objects.exists()


def test_nobody_is_flooded(agent: Caller, other_agent: Caller, user: User, settings: Any) -> None:
    settings.MAX_PENDING_PER_USER = 2
    assert [agent.ask(user).status_code for _ in range(3)] == [200, 200, 403]
    assert other_agent.ask(user).status_code == 200, "another agent has its own measure"


def test_an_agent_without_the_grant_type(agent: Caller, user: User) -> None:
    agent.agent.grant_types = [CLIENT_CREDENTIALS]
    agent.agent.save()
    refused(agent.ask(user), "unauthorized_client")


def test_a_suspended_agent_is_no_client(agent: Caller, user: User) -> None:
    Agent.objects.filter(pk=agent.agent.pk).update(status="suspended")
    response = agent.ask(user)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_an_agent_asks_only_for_what_it_lists(user: User, payment_type: OperationType, signing: None) -> None:
    caller = make_caller("Bare")
    AgentLink.objects.create(agent=caller.agent, user=user, is_linked=True)
    assert caller.ask(user, authorization_details=[PAYMENT]).json()["error"] == "invalid_authorization_details"
    caller.ask(user, scope="openid calendar.read")
    assert BackchannelRequest.objects.get().scopes == ["openid"]
    allow_everything(caller)
    assert caller.ask(user, authorization_details=[PAYMENT]).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post(method: str) -> None:
    response = getattr(Client(), method)("/bc-authorize")
    assert response.status_code == 405
    assert response["Allow"] == "POST"
