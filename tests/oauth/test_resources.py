"""Introspection and uses: what a resource server may ask, and what it learns."""

import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jws

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from ciba import lifecycle
from ciba.models import Prompt
from clients import lifecycle as agents
from foundation.handles import b64url
from oauth.models import Grant, Use
from oauth.tokens import signing_keys
from operations.lifecycle import issue_resource_secret, revoke_resource_secrets
from operations.models import Resource
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer, post_form

pytestmark = pytest.mark.django_db


@pytest.fixture
def approved(agent: Caller, user: User, browser_of_user: Client) -> dict[str, Any]:
    """The token response of one approved payment."""
    sent = agent.ask(user, authorization_details=[PAYMENT]).json()
    browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    answer: dict[str, Any] = agent.poll(sent["auth_req_id"]).json()
    return answer


@pytest.fixture
def token(approved: dict[str, Any]) -> str:
    return str(approved["access_token"])


@pytest.fixture
def digest(bank: ResourceServer, agent: Caller, user: User) -> str:
    return bank.digest(PAYMENT, agent.agent.client_id, str(user.id))


@pytest.fixture
def mail(db: None) -> ResourceServer:
    """Another resource."""
    resource = Resource.objects.create(identifier="https://mail.example.com/", name="Mail")
    return ResourceServer(resource, issue_resource_secret(resource, About(SYSTEM), timezone.now()))


def change_header(token: str, **members: Any) -> str:
    _header, payload, signature = token.split(".")
    changed = {**jws.extract_compact(token.encode()).headers(), **members}
    return f"{b64url(json.dumps(changed).encode())}.{payload}.{signature}"


def test_introspection_tells_its_own_resource_everything(
    bank: ResourceServer, agent: Caller, user: User, token: str, digest: str
) -> None:
    state = bank.introspect(token).json()
    assert state["active"] is True
    assert state["sub"] == str(user.id)
    assert state["act"] == {"sub": agent.agent.client_id}
    assert state["authorization_details"] == [PAYMENT]
    assert state["operation_digest"] == digest
    assert state["uses_left"] == 1
    assert state["token_type"] == "Bearer"


def inactive(bank: ResourceServer, token: str) -> bool:
    response = bank.introspect(token)
    return response.status_code == 200 and response.json() == {"active": False}


def test_a_stranger_learns_nothing(mail: ResourceServer, token: str, digest: str) -> None:
    assert inactive(mail, token)
    assert mail.use(token, digest).json()["error"] == "invalid_token"
    assert not Use.objects.exists()


def test_what_is_no_access_token_of_ours(bank: ResourceServer, approved: dict[str, Any], token: str) -> None:
    header, payload, signature = token.split(".")
    forged_payload = b64url(json.dumps({"iss": "http://localhost:8000", "aud": bank.resource.identifier}).encode())
    for fake in (
        approved["id_token"],
        "x",
        "é",
        "a.b.c",
        "x" * 40_000,
        f"{header}.{payload}.",
        f"{header}.{forged_payload}.{signature}",
        change_header(token, alg="none"),
        change_header(token, alg="HS256"),
        change_header(token, kid="other"),
        change_header(token, kid=["list"]),
        change_header(token, typ="JWT"),
    ):
        assert inactive(bank, fake)


def test_every_death_shows_at_once(
    bank: ResourceServer, agent: Caller, user: User, administrator: User, token: str, digest: str
) -> None:
    now = timezone.now()
    agents.suspend(agent.agent, administrator, now)
    assert inactive(bank, token)
    assert bank.use(token, digest).json()["error"] == "invalid_token"
    agents.resume(agent.agent, administrator, now)
    users.disable(user, administrator, now)
    assert inactive(bank, token)
    assert bank.use(token, digest).json()["error"] == "invalid_token"
    users.enable(user, administrator, now)
    assert bank.introspect(token).json()["active"]
    lifecycle.stop_agent(agent.agent, user, now)
    assert inactive(bank, token)
    assert bank.use(token, digest).json()["error"] == "invalid_token"
    agents.allow_again(agent.agent, user, now)
    assert inactive(bank, token), "letting the agent ask again revives nothing"
    assert not Use.objects.exists()


def test_a_grant_that_is_over(bank: ResourceServer, token: str, digest: str) -> None:
    Grant.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert inactive(bank, token)
    assert bank.use(token, digest).json()["error"] == "invalid_token"


def test_a_withdrawn_key_ends_what_it_signed(bank: ResourceServer, token: str) -> None:
    kid = jws.extract_compact(token.encode()).headers()["kid"]
    assert signing_keys.withdraw(kid, timezone.now())
    signing_keys.clear_cache()
    assert inactive(bank, token)


class TestCredentials:
    def test_without_or_with_wrong_ones(self, bank: ResourceServer, token: str) -> None:
        assert post_form(Client(), "/oauth/introspect", {"token": token}).status_code == 401
        wrong = ResourceServer(bank.resource, "wrong")
        response = wrong.introspect(token)
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
        assert response["WWW-Authenticate"].startswith("Basic")
        assert wrong.use(token, "x" * 43).status_code == 401

    def test_an_agents_credentials_are_none(self, agent: Caller, token: str) -> None:
        body = {"token": token, "operation_digest": "x" * 43}
        assert agent.http.post("/v1/uses", body, content_type="application/json").status_code == 401
        header = "Basic " + b64encode(f"{agent.agent.client_id}:x".encode()).decode()
        assert post_form(Client(), "/oauth/introspect", {"token": token}, Authorization=header).status_code == 401

    def test_rotation_and_revocation(self, bank: ResourceServer, token: str) -> None:
        now = timezone.now()
        fresh = ResourceServer(bank.resource, issue_resource_secret(bank.resource, About(SYSTEM), now))
        assert [one.introspect(token).status_code for one in (bank, fresh)] == [200, 200]
        revoke_resource_secrets(bank.resource, About(SYSTEM), now)
        assert [one.introspect(token).status_code for one in (bank, fresh)] == [401, 401]

    def test_methods_and_parameters(self, bank: ResourceServer) -> None:
        assert Client().get("/oauth/introspect?token=x").status_code == 405
        response = post_form(Client(), "/oauth/introspect", {"x": "y"}, Authorization=bank.authorization)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


class TestUses:
    def test_one_use_is_spent_once(self, bank: ResourceServer, token: str, digest: str) -> None:
        first = bank.use(token, digest)
        assert first.status_code == 201
        assert first.json()["uses_left"] == 0
        second = bank.use(token, digest)
        assert (second.status_code, second.json()["error"]) == (409, "used_up")
        assert Use.objects.count() == 1

    def test_another_operation(self, bank: ResourceServer, agent: Caller, user: User, token: str) -> None:
        changed = bank.digest({**PAYMENT, "amount": "120.01"}, agent.agent.client_id, str(user.id))
        response = bank.use(token, changed)
        assert (response.status_code, response.json()["error"]) == (403, "operation_mismatch")
        assert Grant.objects.get().uses_left == 1
        event = json.loads(Event.objects.get(kind="use.refused").body)["facts"]
        assert event["called"] == changed

    def test_a_repeat_with_the_same_key_spends_nothing(self, bank: ResourceServer, token: str, digest: str) -> None:
        Grant.objects.update(uses_left=2)
        first, repeat, other = (bank.use(token, digest, key) for key in ("a", "a", "b"))
        assert [r.status_code for r in (first, repeat, other)] == [201, 200, 201]
        assert repeat.json() == first.json()
        assert other.json()["use_id"] != first.json()["use_id"]
        assert Event.objects.filter(kind="use.spent").count() == 2

    def test_a_repeat_of_a_revoked_grant_is_refused(self, bank: ResourceServer, token: str, digest: str) -> None:
        bank.use(token, digest, "a")
        Grant.objects.update(revoked_at=timezone.now())
        assert bank.use(token, digest, "a").json()["error"] == "invalid_token"

    def test_a_routine_grant_is_not_counted(self, bank: ResourceServer, agent: Caller) -> None:
        token = agent.client_credentials(authorization_details=[CALENDAR]).json()["access_token"]
        digest = bank.digest(CALENDAR, agent.agent.client_id, agent.agent.client_id)
        assert [bank.use(token, digest).status_code for _ in range(3)] == [201, 201, 201]

    def test_a_token_that_carries_no_operation(self, bank: ResourceServer, agent: Caller, digest: str) -> None:
        token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        assert bank.use(token, digest).json()["error"] == "invalid_token"

    @pytest.mark.parametrize(
        "body",
        ["", "{", "[]", "null", '"x"', "{}", '{"token":7}', '{"token":"x"}', '{"token":"x","operation_digest":7}',
         '{"token":"x","operation_digest":"short"}', '{"token":"x","token":"y"}', "[" * 5000, '{"a":"\\ud800"}'],
    )  # fmt: skip
    def test_junk(self, bank: ResourceServer, body: str) -> None:
        response = Client().post(
            "/v1/uses", body, content_type="application/json", headers={"Authorization": bank.authorization}
        )
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")

    def test_junk_keys_types_and_methods(self, bank: ResourceServer, token: str, digest: str) -> None:
        assert bank.use(token, digest, "x" * 256).json()["error"] == "invalid_request"
        assert bank.use(token, digest, "a b").json()["error"] == "invalid_request"
        assert post_form(Client(), "/v1/uses", {"token": token}).json()["error"] == "invalid_request"
        assert Client().get("/v1/uses").status_code == 405
        assert not Use.objects.exists()
