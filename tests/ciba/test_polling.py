"""POST /oauth/token with the CIBA grant: the answers of CIBA Core 10.1 and 11 over the wire."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import KeySet

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba import lifecycle
from ciba.models import BackchannelRequest, Prompt
from clients import lifecycle as agents
from clients.models import CIBA, Agent
from foundation import poll_throttle
from oauth.models import Grant
from oauth.tokens.issuance import half_hash
from tests.support.world import PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(agent: Caller, user: User) -> str:
    """An open request for a payment: its auth_req_id."""
    return str(agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"])


@pytest.fixture
def approved(sent: str, browser_of_user: Client) -> str:
    assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 200
    return sent


def error_of(response: Any) -> str:
    assert response.status_code == 400
    assert response["Cache-Control"] == "no-store"
    assert "access_token" not in response.json()
    return str(response.json()["error"])


def kinds() -> list[str]:
    return list(Event.objects.order_by("id").values_list("kind", flat=True))


def expire(request: BackchannelRequest) -> None:
    """Time passes, and no sweep has run yet."""
    BackchannelRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_pending_is_an_answer_and_writes_nothing(agent: Caller, sent: str) -> None:
    before = kinds()
    assert error_of(agent.poll(sent)) == "authorization_pending"
    assert kinds() == before


def test_a_missing_or_unknown_id(agent: Caller) -> None:
    assert error_of(agent.post("/oauth/token", grant_type=CIBA)) == "invalid_request"
    for unknown in ("x", "x" * 50_000, "%00", "é"):
        assert error_of(agent.poll(unknown)) == "invalid_grant"


class TestPollThrottle:
    def test_each_early_poll_adds_five_seconds_for_good(self, agent: Caller, sent: str) -> None:
        assert error_of(agent.poll(sent)) == "authorization_pending"
        descriptions = []
        for _ in range(2):
            response = agent.poll(sent)
            assert error_of(response) == "slow_down"
            descriptions.append(response.json()["error_description"])
        assert "wait 10 seconds" in descriptions[0] and "wait 15 seconds" in descriptions[1]

    def test_a_slowed_down_agent_still_gets_its_tokens(self, agent: Caller, sent: str, browser_of_user: Client) -> None:
        for _ in range(3):
            agent.poll(sent)
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert agent.poll(sent).status_code == 200

    def test_a_stranger_does_not_slow_the_owner_down(self, agent: Caller, other_agent: Caller, sent: str) -> None:
        for _ in range(3):
            assert error_of(other_agent.poll(sent)) == "invalid_grant"
        assert error_of(agent.poll(sent)) == "authorization_pending"

    def test_lost_throttle_state_is_no_error(self, agent: Caller, sent: str) -> None:
        agent.poll(sent)
        poll_throttle.get_poll_throttle()._volatile.client.flushdb()
        assert error_of(agent.poll(sent)) == "authorization_pending"


class TestAnotherAgent:
    def test_it_gets_the_answer_for_unknown_in_every_state(
        self, agent: Caller, other_agent: Caller, sent: str, browser_of_user: Client
    ) -> None:
        unknown = other_agent.poll("nobody knows this").content
        assert other_agent.poll(sent).content == unknown
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert other_agent.poll(sent).content == unknown
        assert agent.poll(sent).status_code == 200, "and the owner lost nothing"
        assert other_agent.poll(sent).content == unknown


class TestTheEnds:
    def test_denied(self, agent: Caller, sent: str, browser_of_user: Client) -> None:
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
        assert error_of(agent.poll(sent)) == "access_denied"
        assert error_of(agent.poll(sent)) == "access_denied"
        assert not Grant.objects.exists()

    def test_expired_while_pending(self, agent: Caller, sent: str) -> None:
        expire(BackchannelRequest.objects.get())
        assert error_of(agent.poll(sent)) == "expired_token", "the answer does not depend on a sweep"
        assert lifecycle.expire_due(timezone.now(), 10) == 0, "and leaves nothing for one"
        assert error_of(agent.poll(sent)) == "expired_token"

    def test_expired_after_the_approval(self, agent: Caller, approved: str) -> None:
        expire(BackchannelRequest.objects.get())
        assert error_of(agent.poll(approved)) == "expired_token"
        lifecycle.expire_due(timezone.now(), 10)
        assert not Grant.objects.alive(timezone.now()).exists(), "what nobody fetched is revoked"
        assert "request.expired" in kinds() and "grant.revoked" in kinds()

    def test_an_approval_outlives_its_grant_no_more_than_its_question(
        self, agent: Caller, user: User, browser_of_user: Client
    ) -> None:
        """The grant of a payment lives ten minutes; the agent was given an hour to ask and comes after eleven."""
        sent = agent.ask(user, authorization_details=[PAYMENT], requested_expiry="3600").json()["auth_req_id"]
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        request = BackchannelRequest.objects.get()
        assert request.grant is not None and request.expires_at == request.grant.expires_at
        expire(request)
        assert error_of(agent.poll(sent)) == "expired_token"

    def test_a_redeemed_one_polled_again_ends_nothing(self, agent: Caller, approved: str, bank: ResourceServer) -> None:
        token = agent.poll(approved).json()["access_token"]
        for _ in range(3):
            assert error_of(agent.poll(approved)) == "invalid_grant"
        assert kinds().count("request.polled_again") == 1, "equal ones within a minute are one"
        assert bank.introspect(token).json()["active"] is True

    @pytest.mark.parametrize("end", ["user disabled", "agent suspended", "grant revoked"])
    def test_nothing_is_issued_to_or_for_the_dead(
        self, agent: Caller, user: User, approved: str, administrator: User, end: str
    ) -> None:
        if end == "user disabled":
            users.disable(user, administrator, timezone.now())
        elif end == "agent suspended":
            agents.suspend(agent.agent, administrator, timezone.now())
        else:
            Grant.objects.update(revoked_at=timezone.now())
        response = agent.poll(approved)
        assert response.json()["error"] == ("invalid_client" if end == "agent suspended" else "invalid_grant")
        assert "token.issued" not in kinds()

    def test_a_stopped_agent_gets_nothing(
        self, agent: Caller, user: User, approved: str, browser_of_user: Client
    ) -> None:
        assert browser_of_user.post(f"/agents/{agent.agent.pk}/stop").status_code == 302
        assert error_of(agent.poll(approved)) == "invalid_grant"
        assert BackchannelRequest.objects.get().state == "revoked"


class TestTheTokens:
    def keys(self) -> KeySet:
        return KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())

    def test_the_response(self, agent: Caller, approved: str) -> None:
        response = agent.poll(approved)
        assert response["Cache-Control"] == "no-store"
        assert response.json().keys() == {
            "access_token", "token_type", "expires_in", "scope", "authorization_details", "id_token",
        }  # fmt: skip
        assert "refresh_token" not in response.json(), "a grant with counted uses has none"
        assert 590 <= response.json()["expires_in"] <= 600, "as long as the grant: the type's lifetime"

    def test_the_access_token(self, agent: Caller, user: User, approved: str, bank: ResourceServer) -> None:
        claims = jwt.decode(agent.poll(approved).json()["access_token"], self.keys(), algorithms=["ES256"]).claims
        client_id = agent.agent.client_id
        assert claims["sub"] == str(user.id) and claims["client_id"] == client_id
        assert claims["act"] == {"sub": client_id}
        assert claims["aud"] == bank.resource.identifier
        assert claims["authorization_details"] == [PAYMENT]
        assert claims["operation_digest"] == bank.digest(PAYMENT, client_id, str(user.id))

    def test_the_id_token(self, agent: Caller, user: User, approved: str) -> None:
        """OpenID Connect Core 2 and 3.1.3.6; CIBA Core 7.3 names the claim for auth_req_id."""
        body = agent.poll(approved).json()
        token = jwt.decode(body["id_token"], self.keys(), algorithms=["ES256"])
        assert token.header["typ"] == "JWT"
        assert token.claims["aud"] == agent.agent.client_id
        assert token.claims["sub"] == str(user.id)
        assert token.claims["at_hash"] == half_hash(body["access_token"])
        assert token.claims["urn:openid:params:jwt:claim:auth_req_id"] == approved
        assert (token.claims["amr"], token.claims["acr"]) == (["pwd"], "session")
        assert 0 <= token.claims["iat"] - token.claims["auth_time"] < 60
        assert not {"name", "email"} & token.claims.keys()

    def test_profile_and_email_are_given_where_asked(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        agent.agent.identity_scopes = ["openid", "profile", "email"]
        agent.agent.save()
        sent = agent.ask(user, scope="openid profile email").json()["auth_req_id"]
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        body = agent.poll(sent).json()
        claims = jwt.decode(body["id_token"], self.keys(), algorithms=["ES256"]).claims
        assert (claims["name"], claims["email"]) == (user.name, user.email)
        access = jwt.decode(body["access_token"], self.keys(), algorithms=["ES256"]).claims
        assert access["aud"] == "http://localhost:8000/userinfo"

    @pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
    def test_rsa_signs_only_id_tokens_and_only_where_registered(
        self, agent: Caller, approved: str, algorithm: str
    ) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(id_token_signed_response_alg=algorithm)
        body = agent.poll(approved).json()
        header = jwt.decode(body["id_token"], self.keys(), algorithms=[algorithm]).header
        assert header["alg"] == algorithm
        assert jwt.decode(body["access_token"], self.keys(), algorithms=["ES256"]).header["alg"] == "ES256"

    def test_no_event_holds_a_token_or_an_id(self, agent: Caller, approved: str) -> None:
        body = agent.poll(approved).json()
        for event in Event.objects.all():
            for secret in (approved, body["access_token"], body["id_token"]):
                assert secret not in event.body
        issued = json.loads(Event.objects.get(kind="token.issued").body)["facts"]
        access = jwt.decode(body["access_token"], self.keys(), algorithms=["ES256"]).claims
        assert issued["jti"] == access["jti"]
