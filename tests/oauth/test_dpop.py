"""DPoP on the wire (RFC 9449): bound tokens at the token endpoint, and at endpoints that take them."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.models import Prompt
from clients import replay
from clients.models import CLIENT_CREDENTIALS, Agent, SpentAssertion
from foundation.endpoint import error_response
from foundation.errors import ProtocolError
from foundation.handles import b64url
from oauth.resource_servers.access import authenticate_call
from oauth.tokens.token_verification import verify
from tests.oauth.test_query_counts import statements
from tests.patience import PATIENCE
from tests.support.keys import Prover, new_key
from tests.support.world import JWT_BEARER, PAYMENT, Caller, ResourceServer, post_form, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def prover(agent: Caller) -> Prover:
    """A DPoP key that has learnt the server's nonce; the agent proves it with each token request."""
    agent.prover = Prover(new_key("ES256"))
    assert agent.client_credentials(scope="calendar.read").status_code == 200
    return agent.prover


def send(agent: Caller, proof: str | None, **parameters: str) -> Any:
    """A client_credentials request with exactly this proof."""
    form = {"client_assertion_type": JWT_BEARER, "client_assertion": agent.assertion()}
    form |= {"grant_type": CLIENT_CREDENTIALS, "scope": "calendar.read", **parameters}
    return post_form(Client(), "/oauth/token", form, **({} if proof is None else {"DPoP": proof}))


def claims_of(token: str) -> dict[str, Any]:
    claims = verify(token, "at+jwt", timezone.now())
    assert claims is not None
    return claims


def refused(response: Any, error: str) -> bool:
    assert response.status_code == 400
    assert response.json()["error"] == error
    assert response["Cache-Control"] == "no-store"
    return True


# --- the token endpoint


def test_the_first_proof_is_answered_with_a_nonce_and_the_second_with_a_bound_token(agent: Caller) -> None:
    prover = Prover(new_key("ES256"))
    first = send(agent, prover.proof())
    assert refused(first, "use_dpop_nonce")
    assert not Event.objects.filter(kind="token.refused").exists(), "an answer, not a refusal"
    prover.learn(first)
    second = send(agent, prover.proof())
    assert second.status_code == 200
    assert second.json()["token_type"] == "DPoP"
    assert claims_of(second.json()["access_token"])["cnf"] == {"jkt": prover.jkt}
    assert second["DPoP-Nonce"]


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_each_algorithm(agent: Caller, algorithm: str) -> None:
    agent.prover = Prover(new_key(algorithm), algorithm)
    token = agent.client_credentials(scope="calendar.read").json()["access_token"]
    assert claims_of(token)["cnf"] == {"jkt": agent.prover.jkt}


def test_without_a_proof_tokens_stay_bearer_tokens(agent: Caller) -> None:
    response = send(agent, None)
    assert response.json()["token_type"] == "Bearer"
    assert "cnf" not in claims_of(response.json()["access_token"])
    assert "DPoP-Nonce" not in response


def test_a_bound_agent_gets_no_token_without_a_proof(agent: Caller, prover: Prover) -> None:
    Agent.objects.update(dpop_bound_access_tokens=True)
    assert refused(send(agent, None), "invalid_dpop_proof")
    assert refused(send(agent, ""), "invalid_dpop_proof")
    assert send(agent, prover.proof()).status_code == 200
    assert Event.objects.filter(kind="token.refused").count() == 2


def test_a_proof_works_once(agent: Caller, prover: Prover) -> None:
    proof = prover.proof()
    assert send(agent, proof).status_code == 200
    assert refused(send(agent, proof), "invalid_dpop_proof")


def test_two_keys_may_use_the_same_jti(agent: Caller, prover: Prover) -> None:
    other = Prover(new_key("ES256"), nonce=prover.nonce)
    assert send(agent, prover.proof(jti="same")).status_code == 200
    assert send(agent, other.proof(jti="same")).status_code == 200
    assert refused(send(agent, prover.proof(jti="same")), "invalid_dpop_proof")


def test_an_assertion_and_a_proof_may_use_the_same_jti(agent: Caller, prover: Prover) -> None:
    form = {"client_assertion": agent.assertion(jti="same")}
    assert send(agent, prover.proof(jti="same"), **form).status_code == 200


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: p.proof("/userinfo"), id="made for another endpoint"),
        pytest.param(lambda p: p.proof(method="GET"), id="made for another method"),
        pytest.param(lambda p: p.proof(iat=int(time.time()) - 600), id="made long ago"),
        pytest.param(lambda p: p.proof(iat=int(time.time()) + 600), id="made in the future"),
        pytest.param(lambda p: p.proof(header={"jwk": dict(p.key.as_dict(private=True))}), id="with the private key"),
        pytest.param(lambda p: p.proof(header={"typ": "JWT"}), id="of another typ"),
        pytest.param(lambda p: f"{p.proof()}, {p.proof()}", id="two in one request"),
        pytest.param(lambda p: "x" * 9000, id="a huge one"),
        pytest.param(lambda p: "é", id="no ASCII"),
    ],
)
def test_proofs_that_are_refused(agent: Caller, prover: Prover, make: Callable[[Prover], str]) -> None:
    before = SpentAssertion.objects.count()
    assert refused(send(agent, make(prover)), "invalid_dpop_proof")
    assert SpentAssertion.objects.count() == before + 1, "the assertion is spent, the proof is not stored"


def test_a_stale_and_a_foreign_nonce(agent: Caller, prover: Prover) -> None:
    for nonce in ("x", "", "é"):
        response = send(agent, prover.proof(nonce=nonce))
        assert refused(response, "use_dpop_nonce")
        assert response["DPoP-Nonce"] == prover.nonce


def test_nonces_may_be_turned_off(agent: Caller, settings: Any) -> None:
    settings.DPOP_NONCE_REQUIRED = False
    prover = Prover(new_key("ES256"))
    assert send(agent, prover.proof()).status_code == 200
    assert refused(send(agent, prover.proof(nonce="stale")), "use_dpop_nonce")


def test_the_slash_at_the_end_is_another_address(agent: Caller, prover: Prover) -> None:
    form = {"client_assertion_type": JWT_BEARER, "client_assertion": agent.assertion()}
    form |= {"grant_type": CLIENT_CREDENTIALS, "scope": "calendar.read"}
    assert post_form(Client(), "/oauth/token/", form, DPoP=prover.proof("/oauth/token/")).status_code == 200
    form["client_assertion"] = agent.assertion()
    assert refused(post_form(Client(), "/oauth/token/", form, DPoP=prover.proof()), "invalid_dpop_proof")


def test_an_unauthenticated_call_spends_nothing(agent: Caller, prover: Prover) -> None:
    proof = prover.proof()
    assert send(agent, proof, client_assertion="x").status_code == 401
    assert send(agent, proof).status_code == 200


def test_hostile_proofs_do_not_fill_the_audit_trail(agent: Caller, prover: Prover) -> None:
    """A public client's name is anybody's: what they write into a header must not make each refusal a new event."""
    for number in range(5):
        send(agent, f"{b64url(json.dumps({'alg': f'X{number}', 'typ': 'dpop+jwt'}).encode())}.e30.e30")
        send(agent, prover.proof(header={"crit": [f"x{number}"], f"x{number}": 1}))
        send(agent, prover.proof(htu=f"https://{number}.example.com/"))
    events = Event.objects.filter(kind="token.refused")
    minutes = len({event.at.minute for event in events})
    assert events.count() <= 3 * minutes


def test_the_metadata_names_the_algorithms() -> None:
    metadata = Client().get("/.well-known/oauth-authorization-server").json()
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256", "PS256", "EdDSA"]


def test_an_approval_is_redeemed_to_a_bound_token(
    agent: Caller, prover: Prover, user: User, bank: ResourceServer
) -> None:
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    assert agent.poll(auth_req_id).json()["error"] == "authorization_pending"
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    response = agent.poll(auth_req_id).json()
    assert response["token_type"] == "DPoP"
    reply = bank.introspect(response["access_token"]).json()
    assert reply["cnf"] == {"jkt": prover.jkt}
    assert reply["token_type"] == "DPoP"
    issued = Event.objects.filter(kind="token.issued").latest("id")
    assert prover.jkt in issued.body
    assert Event.objects.filter(kind="token.issued", client_id=agent.agent.client_id).exists()


def test_a_bad_proof_leaves_a_request_as_it_was(agent: Caller, prover: Prover, user: User) -> None:
    auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    form = {"grant_type": "urn:openid:params:grant-type:ciba", "auth_req_id": auth_req_id}
    assert refused(send(agent, prover.proof("/x"), **form), "invalid_dpop_proof")
    assert refused(send(agent, prover.proof(nonce="x"), **form), "use_dpop_nonce")
    assert agent.poll(auth_req_id).status_code == 200


# --- endpoints of ours that take the token

AUDIENCE = "https://bank.example.com/"


@pytest.fixture
def token(agent: Caller, prover: Prover) -> str:
    return str(agent.client_credentials(scope="calendar.read").json()["access_token"])


@pytest.fixture
def bearer_token(agent: Caller) -> str:
    return str(send(agent, None).json()["access_token"])


def call(authorization: str | None, proof: str | None = None, *, audience: str = AUDIENCE) -> str:
    """GET /userinfo of a caller with these headers: "ok", or the code and what the challenge says."""
    headers = {"Authorization": authorization, "DPoP": proof}
    request = RequestFactory().get("/userinfo", headers={n: v for n, v in headers.items() if v is not None})
    try:
        authenticate_call(request, audience=audience, now=timezone.now())
    except ProtocolError as error:
        answer = error_response(error, request)
    else:
        return "ok"
    assert answer.status_code == 401
    scheme = answer["WWW-Authenticate"].partition(" ")[0]
    return f"{scheme} {json.loads(answer.content)['error']}" if "error=" in answer["WWW-Authenticate"] else scheme


def own(prover: Prover, token: str, **claims: Any) -> str:
    return prover.proof("/userinfo", method="GET", token=token, **claims)


def test_a_bound_token_with_its_keys_proof(prover: Prover, token: str) -> None:
    proof = own(prover, token)
    assert call(f"DPoP {token}", proof) == "ok"
    assert call(f"DPoP {token}", proof) == "DPoP invalid_dpop_proof", "a proof works once"
    assert call(f"dpop {token}", own(prover, token)) == "ok", "schemes are case-insensitive"


def test_a_stolen_token_is_no_use(prover: Prover, token: str, bearer_token: str) -> None:
    thief = Prover(new_key("ES256"), nonce=prover.nonce)
    assert call(f"Bearer {token}") == "Bearer invalid_token", "sent as a bearer token"
    assert call(f"Bearer {token}", own(prover, token)) == "Bearer invalid_token"
    assert call(f"DPoP {token}") == "DPoP invalid_dpop_proof", "without a proof"
    assert call(f"DPoP {token}", own(thief, token)) == "DPoP invalid_token", "with another key's proof"
    assert call(f"DPoP {token}", own(prover, bearer_token)) == "DPoP invalid_dpop_proof", "a proof for another token"
    assert call(f"DPoP {token}", own(prover, token, htm="POST")) == "DPoP invalid_dpop_proof"
    assert call(f"DPoP {token}", own(prover, token, htu="https://x/")) == "DPoP invalid_dpop_proof"
    assert call(f"DPoP {token}", own(prover, token, ath=None)) == "DPoP invalid_dpop_proof"
    assert call(f"DPoP {token}", own(prover, token, nonce="x")) == "DPoP use_dpop_nonce"


def test_a_bearer_token(prover: Prover, bearer_token: str) -> None:
    assert call(f"Bearer {bearer_token}") == "ok"
    assert call(f"DPoP {bearer_token}", own(prover, bearer_token)) == "DPoP invalid_token"


@pytest.mark.parametrize(
    ("authorization", "answer"),
    [
        (None, "Bearer"),
        ("", "Bearer"),
        ("Bearer", "Bearer"),
        ("Basic eDp5", "Bearer"),
        ("Bearer x", "Bearer invalid_token"),
        ("DPoP x", "DPoP invalid_token"),
        ("Bearer é", "Bearer invalid_token"),
        ("Bearer " + "x" * 40_000, "Bearer invalid_token"),
    ],
)
def test_what_is_no_token(db: None, signing: None, authorization: str | None, answer: str) -> None:
    assert call(authorization) == answer


def test_a_token_for_another_audience(prover: Prover, token: str) -> None:
    assert call(f"DPoP {token}", own(prover, token), audience="https://other.example.com/") == "DPoP invalid_token"


def test_a_suspended_agents_token(agent: Caller, prover: Prover, token: str) -> None:
    Agent.objects.update(status="suspended")
    assert call(f"DPoP {token}", own(prover, token)) == "DPoP invalid_token"


# --- costs and races


@pytest.mark.django_db(transaction=True)
def test_a_proof_costs_one_statement(agent: Caller, prover: Prover) -> None:
    with statements(5) as sent:  # agent, jti of the assertion, jti of the proof, scopes, event
        agent.client_credentials(scope="calendar.read")
    assert [sql.split(" ")[0] for sql in sent] == ["SELECT", "INSERT", "INSERT", "SELECT", "INSERT"]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_with_one_proof_have_one_winner(agent: Caller) -> None:
    barrier, wins = threading.Barrier(4), []

    def race() -> None:
        for number in range(100):
            barrier.wait(timeout=PATIENCE)
            wins.append((number, replay.spend(agent.agent.client_id, f"dpop:{number}", time.time())))
        connection.close()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    assert len(wins) == 400
    assert sorted(number for number, won in wins if won) == list(range(100))
