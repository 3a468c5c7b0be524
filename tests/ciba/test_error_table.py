"""Every error that CIBA Core names, on the wire: backchannel endpoint (13), token endpoint (11), push (12)."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from joserfc.jwk import ECKey

from accounts.models import User
from ciba import lifecycle
from ciba.models import BackchannelRequest, HintIssuer, Prompt
from clients.models import CIBA, CLIENT_CREDENTIALS, Agent
from devices import user_codes
from tests.ciba.conftest import TOKEN, do_due_work
from tests.ciba.test_hints import ISSUER, TestLoginHintToken
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.keys import Prover, new_key
from tests.support.world import CALENDAR, PAYMENT, PAYMENT_SCHEMA, Caller, ResourceServer, make_type, post_form

ALLOWED = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]*")  # RFC 6749 5.2


def wire(response: Any, status: int, error: str) -> bool:
    """As specified: status, code, description, JSON, never cached."""
    body = response.json()
    assert (response.status_code, body["error"]) == (status, error), response.content
    assert body.keys() <= {"error", "error_description"} and ALLOWED.fullmatch(body.get("error_description", ""))
    assert response["Content-Type"] == "application/json" and response["Cache-Control"] == "no-store"
    return True


@pytest.mark.django_db
class TestBackchannelEndpoint:
    @pytest.mark.parametrize(
        "parameters",
        [{"login_hint": "", "id_token_hint": ""}, {"id_token_hint": "x"}, {"login_hint_token": "x"}, {"scope": ""},
         {"requested_expiry": "soon"}, {"request": "x"}],
        ids=["no hint", "two hints", "two other hints", "no scope", "malformed", "bad request object"],
    )  # fmt: skip
    def test_invalid_request(self, agent: Caller, user: User, parameters: dict[str, str]) -> None:
        wire(agent.ask(user, **parameters), 400, "invalid_request")

    def test_invalid_request_for_a_repeated_parameter(self, agent: Caller) -> None:
        body = "scope=openid&scope=openid&login_hint=person%40example.com"
        response = agent.http.post("/bc-authorize", body, content_type="application/x-www-form-urlencoded")
        wire(response, 400, "invalid_request")

    @pytest.mark.parametrize("scope", ["calendar.read", "nobody.knows"])
    def test_invalid_scope(self, agent: Caller, user: User, scope: str) -> None:
        wire(agent.ask(user, scope=scope), 400, "invalid_scope")

    def test_expired_login_hint_token(self, agent: Caller, user: User) -> None:
        key = ECKey.generate_key("P-256", auto_kid=True)
        HintIssuer.objects.create(issuer=ISSUER, jwks={"keys": [{**key.as_dict(private=False), "kid": key.kid}]})
        old = int((timezone.now() - timedelta(hours=1)).timestamp())
        token = TestLoginHintToken().token(key, user, iat=old, exp=old + 60)
        wire(agent.ask(login_hint_token=token), 400, "expired_login_hint_token")

    def test_unknown_user_id(self, agent: Caller) -> None:
        wire(agent.ask(login_hint="nobody@example.com"), 400, "unknown_user_id")

    def test_unauthorized_client(self, agent: Caller, user: User) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(grant_types=[CLIENT_CREDENTIALS])
        wire(agent.ask(user), 400, "unauthorized_client")

    @pytest.mark.parametrize(("code", "error"), [("", "missing_user_code"), ("guess-1", "invalid_user_code")])
    def test_missing_and_invalid_user_code(self, agent: Caller, user: User, code: str, error: str) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_user_code_parameter=True)
        user_codes.set_code(user, "lemon-42", timezone.now())
        wire(agent.ask(user, user_code=code), 400, error)

    @pytest.mark.parametrize("message", ["x" * 121, "see https://x.example", "pay \u202eeuro", "a\nb"])
    def test_invalid_binding_message(self, agent: Caller, user: User, message: str) -> None:
        wire(agent.ask(user, binding_message=message), 400, "invalid_binding_message")

    def test_invalid_client(self, agent: Caller) -> None:
        wire(post_form(Client(), "/bc-authorize", {"scope": "openid", "login_hint": "x"}), 401, "invalid_client")
        wire(agent.post("/bc-authorize", client_assertion=agent.assertion(exp=1)), 401, "invalid_client")

    def test_access_denied(self, agent: Caller, user: User, bank: ResourceServer) -> None:
        made = make_type(bank.resource, "wire", PAYMENT_SCHEMA, risk="critical", assurance="passkey")
        agent.agent.operation_types.add(made)
        wire(agent.ask(user, authorization_details=[{**PAYMENT, "type": "wire"}]), 403, "access_denied")

    def test_invalid_target(self, agent: Caller, user: User) -> None:
        wire(agent.ask(user, resource="https://x.example/"), 400, "invalid_target")

    @pytest.mark.parametrize("details", [[{"type": "x"}], [{**PAYMENT, "more": 1}], "{", [CALENDAR, PAYMENT]])
    def test_invalid_authorization_details(self, agent: Caller, user: User, details: Any) -> None:
        wire(agent.ask(user, authorization_details=details), 400, "invalid_authorization_details")


@pytest.mark.django_db
class TestTokenEndpoint:
    @pytest.fixture
    def sent(self, agent: Caller, user: User) -> str:
        return str(agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"])

    def test_authorization_pending_then_slow_down(self, agent: Caller, sent: str) -> None:
        wire(agent.poll(sent), 400, "authorization_pending")
        wire(agent.poll(sent), 400, "slow_down")

    def test_expired_token(self, agent: Caller, sent: str) -> None:
        BackchannelRequest.objects.update(expires_at=timezone.now())
        wire(agent.poll(sent), 400, "expired_token")

    def test_access_denied(self, agent: Caller, sent: str, browser_of_user: Client) -> None:
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
        wire(agent.poll(sent), 400, "access_denied")

    def test_invalid_grant(self, agent: Caller, other_agent: Caller, sent: str, browser_of_user: Client) -> None:
        """Unknown, another agent's, used, cancelled."""
        wire(agent.poll("nobody knows"), 400, "invalid_grant")
        wire(other_agent.poll(sent), 400, "invalid_grant")
        browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        assert agent.poll(sent).status_code == 200
        wire(agent.poll(sent), 400, "invalid_grant")

    def test_unauthorized_client(self, agent: Caller, sent: str) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_token_delivery_mode="push")
        wire(agent.poll(sent), 400, "unauthorized_client")

    def test_continual_over_polling(self, agent: Caller, sent: str) -> None:
        responses = [agent.poll(sent) for _ in range(32)]
        wire(responses[-1], 503, "temporarily_unavailable")
        assert int(responses[-1]["Retry-After"]) == 155

    def test_invalid_request(self, agent: Caller) -> None:
        wire(agent.post("/oauth/token", grant_type=CIBA), 400, "invalid_request")

    def test_invalid_dpop_proof(self, agent: Caller, sent: str) -> None:
        form = {"grant_type": CIBA, "auth_req_id": sent, "client_assertion": agent.assertion()}
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        wire(post_form(Client(), "/oauth/token", form, DPoP="junk"), 400, "invalid_dpop_proof")

    def test_use_dpop_nonce(self, agent: Caller, sent: str) -> None:
        form = {"grant_type": CIBA, "auth_req_id": sent, "client_assertion": agent.assertion()}
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        response = post_form(Client(), "/oauth/token", form, DPoP=Prover(new_key("ES256")).proof())
        wire(response, 400, "use_dpop_nonce")
        assert response["DPoP-Nonce"]


@pytest.mark.django_db(transaction=True)
class TestPush:
    """Section 12: error, error_description and auth_req_id."""

    @pytest.mark.parametrize("error", ["access_denied", "expired_token", "transaction_failed"])
    def test_each_error(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, error: str
    ) -> None:
        auth_req_id = pushed.ask(user, client_notification_token=TOKEN).json()["auth_req_id"]
        request, now = BackchannelRequest.objects.get(), timezone.now()
        match error:
            case "access_denied":
                browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
            case "expired_token":
                lifecycle.expire_due(request.expires_at, 10)
            case _:
                lifecycle.stop_agent(pushed.agent, user, now)
        assert do_due_work() == ["done"]
        body = endpoint.received[0].json()
        assert body.keys() == {"auth_req_id", "error", "error_description"}
        assert (body["auth_req_id"], body["error"]) == (auth_req_id, error)
        assert ALLOWED.fullmatch(body["error_description"])
