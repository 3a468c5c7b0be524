"""A public CIBA client that nobody here wrote (openid-client for Node), unmodified, against the running server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from ciba.models import BackchannelRequest, Prompt
from tests.node import NodeProgram, running
from tests.support.world import PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def public_client(
    node_clients: Path, agent: Caller, user: User, live_server: LiveServer, settings: Any
) -> Iterator[NodeProgram]:
    """The client, started: it has asked, and polls."""
    settings.ISSUER_URL = live_server.url
    settings.POLL_INTERVAL = 1
    reply = {
        "issuer": live_server.url, "client_id": agent.agent.client_id, "login_hint": user.email,
        "key": {**agent.key.as_dict(private=True), "kid": agent.key.kid}, "authorization_details": [PAYMENT],
    }  # fmt: skip
    with running(node_clients, "openid_client_ciba.mjs") as program:
        program.send(reply)
        yield program


def test_it_polls_until_the_approval(
    public_client: NodeProgram, browser_of_user: Client, user: User, bank: ResourceServer, agent: Caller
) -> None:
    sent = public_client.receive()["asked"]
    assert sent["interval"] == 1 and BackchannelRequest.objects.get().binding_message == "From Node"
    assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 200
    answer = public_client.receive()
    assert answer["claims"]["sub"] == user.sub, "checked by the client: signature, issuer, audience, times"
    assert answer["claims"]["urn:openid:params:jwt:claim:auth_req_id"] == sent["auth_req_id"]
    digest = bank.digest(PAYMENT, agent.agent.client_id, user.sub)
    assert bank.use(answer["tokens"]["access_token"], digest).status_code == 201


def test_it_reads_the_no(public_client: NodeProgram, browser_of_user: Client) -> None:
    public_client.receive()
    browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
    assert public_client.receive() == {"error": "access_denied", "status": 400}
