"""From asking to the last use, over the wire."""

import json

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest, Prompt
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db


def test_an_agent_asks_a_user_approves_the_agent_continues(
    agent: Caller, user: User, bank: ResourceServer, browser_of_user: Client
) -> None:
    sent = agent.ask(user, authorization_details=[PAYMENT], binding_message="Invoice 7")
    assert sent.status_code == 200, sent.content
    answer = sent.json()
    assert answer["interval"] == 5 and answer["expires_in"] == 300
    assert agent.poll(answer["auth_req_id"]).json()["error"] == "authorization_pending"

    prompt = Prompt.objects.get()
    page = browser_of_user.get(f"/v1/prompts/{prompt.id}").json()
    assert page["content"]["operations"][0]["summary"] == "Pay EUR 120.00 to Acme GmbH"
    approved = browser_of_user.post(f"/v1/prompts/{prompt.id}/approve")
    assert approved.status_code == 200, approved.content

    token = agent.poll(answer["auth_req_id"]).json()
    assert token["token_type"] == "Bearer" and token["authorization_details"] == [PAYMENT]
    assert agent.poll(answer["auth_req_id"]).json()["error"] == "invalid_grant"

    state = bank.introspect(token["access_token"]).json()
    assert state["active"] and state["sub"] == str(user.id) and state["uses_left"] == 1
    digest = bank.digest(PAYMENT, agent.agent.client_id, str(user.id))
    assert digest == state["operation_digest"]
    changed = bank.digest({**PAYMENT, "amount": "9120.00"}, agent.agent.client_id, str(user.id))
    assert bank.use(token["access_token"], changed).json()["error"] == "operation_mismatch"
    assert bank.use(token["access_token"], digest).status_code == 201
    assert bank.use(token["access_token"], digest).json()["error"] == "used_up"

    request = BackchannelRequest.objects.get()
    assert request.state == "redeemed"
    trail = list(Event.objects.filter(request_id=request.id).order_by("id").values_list("kind", flat=True))
    assert trail == [
        "request.opened", "request.approved", "request.redeemed", "token.issued", "request.polled_again",
        "use.refused", "use.spent", "use.refused",
    ]  # fmt: skip
    assert json.loads(Event.objects.filter(kind="use.spent").get().body)["facts"]["operation_digest"] == digest


def test_routine_work_runs_unasked(agent: Caller, bank: ResourceServer) -> None:
    token = agent.client_credentials(authorization_details=[CALENDAR]).json()
    state = bank.introspect(token["access_token"]).json()
    assert state["active"] and state["sub"] == agent.agent.client_id
