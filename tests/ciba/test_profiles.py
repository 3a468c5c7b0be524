"""FAPI-CIBA on the wire: what its profiles refuse (Implementer's Draft 1, 5.2.2; FAPI 2.0, 5.3.2.1)."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from ciba.models import Prompt
from clients.models import CIBA, Agent
from oauth.tokens.token_verification import verify
from tests.support.certificates import Holder, dns, make_certificate
from tests.support.keys import Prover, new_key
from tests.support.world import PAYMENT, Caller, FromNow, allow_everything, make_caller, post_form, sign_in

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"
DNS = "agent.example.com"


@pytest.fixture(autouse=True)
def proxy(settings: Any) -> None:
    settings.MTLS_URL = "https://mtls.example.com"
    settings.TRUSTED_PROXIES = ["127.0.0.1"]


@pytest.fixture
def holder() -> Holder:
    return make_certificate("CN=Agent", dns(DNS))


def make_fapi(profile: str, user: User, holder: Holder, algorithm: str = "PS256", **fields: Any) -> Caller:
    caller = make_caller("FAPI", algorithm, profile=profile, **fields)
    caller.headers = {"Client-Cert": holder.header, "Client-Cert-Verify": "SUCCESS"}
    return allow_everything(caller, user)


@pytest.fixture(params=["private_key_jwt", "tls_client_auth"])
def id1(request: Any, agent: Caller, user: User, holder: Holder) -> Caller:
    """An agent of fapi-ciba-id1, by each way of client authentication that the conformance plans run."""
    fields = {"token_endpoint_auth_method": request.param, "tls_client_certificate_bound_access_tokens": True}
    if request.param == "tls_client_auth":
        fields["tls_client_auth_san_dns"] = DNS
    return make_fapi("fapi-ciba-id1", user, holder, **fields)


@pytest.fixture
def fapi2(agent: Caller, user: User, holder: Holder) -> Caller:
    """An agent of fapi2-ciba whose tokens are bound by DPoP."""
    caller = make_fapi("fapi2-ciba", user, holder, dpop_bound_access_tokens=True)
    caller.prover = Prover(new_key("ES256"))
    return caller


def signed(caller: Caller, user: User, **claims: Any) -> Any:
    claims.setdefault("binding_message", "Order 17")
    return caller.post("/bc-authorize", request=caller.request_object(user, **claims))


def refused(response: Any, error: str = "invalid_request", status: int = 400) -> bool:
    assert (response.status_code, response.json().get("error")) == (status, error), response.content
    return True


def approve(user: User) -> None:
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.latest('request__created_at').id}/approve")


class TestID1:
    def test_the_whole_way(self, id1: Caller, user: User, holder: Holder) -> None:
        response = signed(id1, user)
        assert response.status_code == 200, response.content
        assert response.json().keys() == {"auth_req_id", "expires_in", "interval"}
        auth_req_id = response.json()["auth_req_id"]
        assert refused(id1.poll(auth_req_id), "authorization_pending")
        approve(user)
        body = id1.poll(auth_req_id).json()
        assert body["token_type"] == "Bearer"
        claims = verify(body["access_token"], "at+jwt", timezone.now())
        assert claims and claims["cnf"] == {"x5t#S256": holder.x5t}
        assert refused(id1.poll(auth_req_id), "invalid_grant"), "an auth_req_id works once"

    def test_ping(self, id1: Caller, user: User) -> None:
        """Told or not, the tokens are fetched with the agent's own certificate."""
        Agent.objects.filter(pk=id1.agent.pk).update(
            backchannel_token_delivery_mode="ping",
            backchannel_client_notification_endpoint="https://agent.example.com/ciba",
        )
        assert refused(signed(id1, user)), "ping needs a client_notification_token"
        response = signed(id1, user, client_notification_token="a token of at least 128 random bits".replace(" ", "-"))
        assert response.status_code == 200, response.content
        approve(user)
        assert id1.poll(response.json()["auth_req_id"]).status_code == 200

    def test_an_unsigned_request(self, id1: Caller, user: User) -> None:
        assert refused(id1.ask(user, binding_message="Order 17"))
        assert refused(id1.ask(user, authorization_details=[PAYMENT]))

    def test_a_request_about_nothing(self, id1: Caller, user: User) -> None:
        assert refused(signed(id1, user, binding_message=None))
        assert signed(id1, user, binding_message=None, authorization_details=[PAYMENT]).status_code == 200

    @pytest.mark.parametrize("missing", ["aud", "iss", "exp", "iat", "nbf", "jti"])
    def test_a_request_object_without_a_claim(self, id1: Caller, user: User, missing: str) -> None:
        assert refused(signed(id1, user, **{missing: None}))

    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({"aud": "https://other.example.com"}, id="for another server"),
            pytest.param({"iss": "somebody"}, id="by another issuer"),
            pytest.param({"exp": FromNow(-300)}, id="expired"),
            pytest.param({"nbf": FromNow(300)}, id="not yet valid"),
            pytest.param({"nbf": FromNow(-3600), "exp": FromNow(300)}, id="living 65 minutes"),
        ],
    )
    def test_a_request_object_that_does_not_hold(self, id1: Caller, user: User, claims: dict[str, Any]) -> None:
        assert refused(signed(id1, user, **claims))

    @pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
    def test_an_algorithm_beyond_the_profile(self, id1: Caller, user: User, algorithm: str) -> None:
        """FAPI 1.0 Advanced 8.6: PS256 and ES256 alone, for assertions too. The agent has a key for both."""
        assert signed(id1, user).status_code == 200
        key = new_key(algorithm)
        id1.agent.client_jwks["keys"].append({**key.as_dict(private=False), "kid": key.kid})
        id1.agent.full_clean()
        id1.agent.save()
        id1.key, id1.algorithm = key, algorithm
        by_key = id1.agent.token_endpoint_auth_method == "private_key_jwt"
        assert refused(signed(id1, user), *(("invalid_client", 401) if by_key else ()))

    def test_a_request_signed_by_somebody_else(self, id1: Caller, user: User) -> None:
        thief = Caller(id1.agent, new_key("PS256"), "PS256")
        stolen = thief.request_object(user, binding_message="Order 17", header={"kid": id1.key.kid})
        assert refused(id1.post("/bc-authorize", request=stolen))
        none = "eyJhbGciOiJub25lIn0." + stolen.split(".")[1] + "."
        assert refused(id1.post("/bc-authorize", request=none))

    def test_parameters_beside_the_request_object(self, id1: Caller, user: User) -> None:
        request = id1.request_object(user, binding_message="Order 17")
        assert refused(id1.post("/bc-authorize", request=request, binding_message="Order 18"))

    def test_several_hints_and_none(self, id1: Caller, user: User) -> None:
        assert refused(signed(id1, user, id_token_hint="x"))
        assert refused(signed(id1, user, login_hint=None))

    def test_without_a_certificate(self, id1: Caller, user: User) -> None:
        auth_req_id = signed(id1, user).json()["auth_req_id"]
        approve(user)
        own, id1.headers = id1.headers, {}
        by_certificate = id1.agent.uses_mutual_tls
        assert refused(id1.poll(auth_req_id), *(("invalid_client", 401) if by_certificate else ("invalid_request",)))
        id1.headers = own
        assert id1.poll(auth_req_id).status_code == 200, "the approval was not lost"

    def test_another_agents_auth_req_id(self, id1: Caller, agent: Caller, user: User) -> None:
        auth_req_id = signed(id1, user).json()["auth_req_id"]
        approve(user)
        assert refused(agent.poll(auth_req_id), "invalid_grant")

    def test_the_profile_binds_though_the_registration_forgot(self, agent: Caller, id1: Caller, user: User) -> None:
        """A row that was changed past the form."""
        auth_req_id = signed(id1, user).json()["auth_req_id"]
        approve(user)
        Agent.objects.filter(pk=id1.agent.pk).update(tls_client_certificate_bound_access_tokens=False)
        assert refused(id1.poll(auth_req_id))
        Agent.objects.get(pk=id1.agent.pk).save()
        assert refused(id1.poll(auth_req_id), "unauthorized_client")
        assert refused(signed(id1, user), "unauthorized_client")


class TestFAPI2:
    def test_details_or_a_signature(self, fapi2: Caller, user: User) -> None:
        assert fapi2.ask(user, authorization_details=[PAYMENT]).status_code == 200
        assert signed(fapi2, user).status_code == 200
        assert refused(fapi2.ask(user, binding_message="Order 17"))
        assert refused(signed(fapi2, user, binding_message=None))

    def test_the_profile_is_judged_before_the_requested_access(self, fapi2: Caller, user: User) -> None:
        response = fapi2.ask(user, binding_message="Order 17", resource="https://nobody.example.com/")
        assert refused(response, "invalid_request")
        with_details = {"authorization_details": [PAYMENT], "resource": "https://nobody.example.com/"}
        assert refused(fapi2.ask(user, **with_details), "invalid_target")

    def test_assertions_are_for_the_issuer_alone(self, fapi2: Caller, user: User) -> None:
        for audience in (f"{ISSUER}/oauth/token", f"{ISSUER}/bc-authorize", "https://mtls.example.com/oauth/token"):
            response = fapi2.ask(user, authorization_details=[PAYMENT], client_assertion=fapi2.assertion(audience))
            assert refused(response, "invalid_client", 401)

    def test_a_token_without_a_proof(self, fapi2: Caller, user: User) -> None:
        auth_req_id = fapi2.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        approve(user)
        prover, fapi2.prover = fapi2.prover, None
        assert refused(fapi2.poll(auth_req_id), "invalid_dpop_proof")
        fapi2.prover = prover
        assert fapi2.poll(auth_req_id).json()["token_type"] == "DPoP"

    def test_clock_skew(self, fapi2: Caller, user: User) -> None:
        """FAPI 2.0 5.3.2.1: up to 10 seconds in the future are taken, 60 and more are not."""
        details = {"authorization_details": [PAYMENT]}
        ahead = fapi2.assertion(iat=FromNow(10), nbf=FromNow(10))
        assert fapi2.ask(user, client_assertion=ahead, **details).status_code == 200
        far = fapi2.assertion(iat=FromNow(61))
        assert refused(fapi2.ask(user, client_assertion=far, **details), "invalid_client", 401)


def problems(**fields: Any) -> str:
    fields = {"name": "New", "grant_types": [CIBA], "client_jwks": {"keys": [_public()]}} | fields
    with pytest.raises(ValidationError) as found:
        Agent(**fields).full_clean()
    return " ".join(found.value.messages)


def _public() -> dict[str, Any]:
    key = new_key("ES256")
    return {**key.as_dict(private=False), "kid": key.kid}


def test_an_agent_that_its_profile_does_not_allow_is_not_saved() -> None:
    assert "mutual TLS" in problems(profile="fapi-ciba-id1")
    assert "DPoP or mutual TLS" in problems(profile="fapi2-ciba")
    assert "authentication" in problems(
        profile="fapi2-ciba", token_endpoint_auth_method="client_secret_basic", dpop_bound_access_tokens=True
    )
    assert "one of them" in problems(dpop_bound_access_tokens=True, tls_client_certificate_bound_access_tokens=True)
    assert problems(profile="none of ours")


def test_push_of_bound_tokens_is_refused_with_the_reason(agent: Caller, user: User) -> None:
    """CIBA Core 10.3: it brings the tokens unasked, so that there is nothing to prove a key with."""
    endpoint = "https://agent.example.com/ciba"
    push = {"backchannel_token_delivery_mode": "push", "backchannel_client_notification_endpoint": endpoint}
    assert "prove its key" in problems(dpop_bound_access_tokens=True, **push)
    for name, value in {"dpop_bound_access_tokens": True, **push}.items():
        setattr(agent.agent, name, value)
    agent.agent.save()
    response = agent.ask(user, client_notification_token="a" * 32)
    assert refused(response, "unauthorized_client")
    assert "prove its key" in response.json()["error_description"]


def test_a_public_client_is_never_asked_for_ciba(agent: Caller) -> None:
    """FAPI-CIBA 5.2.2, CIBA Core 7.1: confidential clients alone."""
    form = {"client_id": agent.agent.client_id, "scope": "openid", "login_hint": "x"}
    assert refused(post_form(Client(), "/bc-authorize", form), "invalid_client", 401)
