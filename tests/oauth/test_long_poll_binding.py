"""A poll that is held (`Prefer: wait`) and sender-constrained: the proof was for when it began."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from accounts.models import User
from ciba.models import Prompt
from clients.models import CIBA
from foundation.handles import from_b64url
from runtime.processes import free_port
from tests.patience import PATIENCE
from tests.support.keys import Prover, new_key
from tests.support.web_server import make_server, running
from tests.support.world import JWT_BEARER, PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[str]:
    port = free_port()
    url = f"http://localhost:{port}"
    with running(make_server(port, tmp_path_factory.mktemp("server"), ISSUER_URL=url), port):
        yield url


def poll(issuer: str, agent: Caller, prover: Prover, auth_req_id: str, wait: int) -> httpx.Response:
    form = {"grant_type": CIBA, "auth_req_id": auth_req_id, "client_assertion_type": JWT_BEARER}
    form["client_assertion"] = agent.assertion(issuer)
    headers = {"DPoP": prover.proof(htu=f"{issuer}/oauth/token"), "Prefer": f"wait={wait}"}
    return httpx.post(f"{issuer}/oauth/token", data=form, headers=headers, timeout=PATIENCE)


def test_what_a_held_poll_brings_is_bound_to_the_key_of_its_proof(issuer: str, agent: Caller, user: User) -> None:
    prover = Prover(new_key("ES256"))
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    began = time.monotonic()
    assert prover.learn(poll(issuer, agent, prover, auth_req_id, wait=30)), "a nonce is asked for at once"
    assert time.monotonic() - began < 25
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(poll(issuer, agent, prover, auth_req_id, wait=30)))
    waiting.start()
    time.sleep(0.5)
    assert not answers, "it is held"
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    waiting.join(timeout=PATIENCE)
    (response,) = answers
    assert response.status_code == 200, response.text
    assert response.json()["token_type"] == "DPoP"
    claims = json.loads(from_b64url(response.json()["access_token"].split(".")[1]))
    assert claims["cnf"] == {"jkt": prover.jkt}
    assert response.headers["DPoP-Nonce"], "the next nonce, made when the answer was"
