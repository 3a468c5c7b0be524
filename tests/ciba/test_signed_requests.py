"""Signed authentication requests (CIBA Core 7.1.1) over the wire."""

import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import ValidationError
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey

from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest
from clients.models import Agent, SpentAssertion
from foundation.handles import b64url, digest
from tests.support.world import FORM, JWT_BEARER, PAYMENT, Caller, FromNow, allow_everything, make_caller

pytestmark = pytest.mark.django_db


def send(caller: Caller, request: str, **beside: Any) -> Any:
    return caller.post("/bc-authorize", request=request, **beside)


def refused(response: Any) -> bool:
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request"), response.content
    assert not BackchannelRequest.objects.exists()
    return True


def test_everything_inside_is_read(agent: Caller, user: User) -> None:
    request = agent.request_object(
        user, authorization_details=[PAYMENT], binding_message="Invoice 7", requested_expiry=120
    )
    response = send(agent, request)
    assert response.status_code == 200 and response.json()["expires_in"] == 120
    stored = BackchannelRequest.objects.get()
    assert (stored.user, stored.binding_message, stored.authorization_details) == (user, "Invoice 7", [PAYMENT])


def test_the_event_holds_the_digest_of_what_was_signed(agent: Caller, user: User) -> None:
    request = agent.request_object(user)
    send(agent, request)
    facts = json.loads(Event.objects.get(kind="request.opened").body)["facts"]
    assert facts["request_object_digest"] == b64url(digest(request))


@pytest.mark.parametrize(
    ("given", "seconds"), [(90, 90), ("90", 90), (90.0, 90), (99999999, 3600)], ids=lambda value: repr(value)
)
def test_requested_expiry_is_a_number_or_text(agent: Caller, user: User, given: Any, seconds: int) -> None:
    assert send(agent, agent.request_object(user, requested_expiry=given)).json()["expires_in"] == seconds


@pytest.mark.parametrize("given", [0, -1, 1.5, True, [60], {"s": 60}, "1e3", 10**400])
def test_other_expiries_are_refused(agent: Caller, user: User, given: Any) -> None:
    refused(send(agent, agent.request_object(user, requested_expiry=given)))


def test_details_are_an_array_or_its_text(agent: Caller, user: User) -> None:
    for details in ([PAYMENT], json.dumps([PAYMENT])):
        assert send(agent, agent.request_object(user, authorization_details=details)).status_code == 200


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_every_algorithm_of_ours(agent: Caller, user: User, algorithm: str) -> None:
    caller = allow_everything(make_caller("Signer", algorithm), user)
    assert send(caller, caller.request_object(user)).status_code == 200


@pytest.mark.parametrize("claim", ["aud", "iss", "exp", "iat", "nbf", "jti"])
def test_every_claim_is_required(agent: Caller, user: User, claim: str) -> None:
    refused(send(agent, agent.request_object(user, **{claim: None})))


WRONG_CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("another audience", {"aud": "https://other.example"}),
    ("the endpoint as audience", {"aud": "http://localhost:8000/bc-authorize"}),
    ("several others as audience", {"aud": ["https://a.example", "https://b.example"]}),
    ("an audience that is an object", {"aud": {"http://localhost:8000": 1}}),
    ("another issuer", {"iss": "somebody"}),
    ("an issuer in a list", {"iss": ["x"]}),
    ("already over", {"exp": FromNow(-60)}),
    ("an hour and more from nbf to exp", {"nbf": FromNow(-1800), "exp": FromNow(1900)}),
    ("a day of life", {"exp": FromNow(86400)}),
    ("not yet", {"nbf": FromNow(600), "exp": FromNow(660)}),
    ("issued in the future", {"iat": FromNow(600)}),
    ("a time that is text", {"exp": "1999999999"}),
    ("a time that is true", {"nbf": True}),
    ("an empty jti", {"jti": ""}),
    ("a number as jti", {"jti": 7}),
    ("an endless jti", {"jti": "x" * 300}),
    ("usable as a client assertion", {"sub": "SELF"}),
    ("a request inside a request", {"request": "x"}),
    ("a request_uri", {"request_uri": "https://x.example/"}),
    ("a secret inside", {"client_secret": "x"}),
    ("a scope that is a list", {"scope": ["openid"]}),
    ("a hint that is an object", {"login_hint": {"email": "person@example.com"}}),
    ("two hints", {"id_token_hint": "x"}),
    ("no hint", {"login_hint": None}),
    ("an empty hint", {"login_hint": ""}),
]


@pytest.mark.parametrize("claims", [pytest.param(claims, id=name) for name, claims in WRONG_CLAIMS])
def test_what_is_refused(agent: Caller, user: User, claims: dict[str, Any]) -> None:
    if claims.get("sub") == "SELF":
        claims = {"sub": agent.agent.client_id}
    refused(send(agent, agent.request_object(user, **claims)))


def test_our_issuer_may_be_one_of_several_audiences(agent: Caller, user: User) -> None:
    """CIBA Core 7.1.1: aud contains our issuer."""
    request = agent.request_object(user, aud=["https://a.example", "http://localhost:8000"])
    assert send(agent, request).status_code == 200


class TestSignatures:
    def test_another_agents_key(self, agent: Caller, other_agent: Caller, user: User) -> None:
        refused(send(agent, other_agent.request_object(user, iss=agent.agent.client_id)))

    def test_another_agents_request(self, agent: Caller, other_agent: Caller, user: User) -> None:
        """Who sends it is who signed it."""
        refused(send(agent, other_agent.request_object(user)))

    def test_no_signature(self, agent: Caller, user: User) -> None:
        head, body, signature = agent.request_object(user).split(".")
        none = b64url(json.dumps({"alg": "none"}).encode())
        for wrong in (f"{none}.{body}.", f"{none}.{body}.{signature}", f"{head}.{body}.", f"{head}.{body}", "x", "é"):
            refused(send(agent, wrong))

    def test_the_public_key_as_a_secret(self, agent: Caller, user: User) -> None:
        """Never a shared secret, least of all one that everybody knows."""
        secret = OctKey.import_key(json.dumps(agent.agent.client_jwks["keys"][0]))
        body = json.loads(jws.extract_compact(agent.request_object(user).encode()).payload)
        signed = jws.serialize_compact({"alg": "HS256", "kid": agent.key.kid}, json.dumps(body), secret, ["HS256"])
        refused(send(agent, signed))

    def test_a_key_that_the_token_brings_along(self, agent: Caller, user: User) -> None:
        own = ECKey.generate_key("P-256")
        body = json.loads(jws.extract_compact(agent.request_object(user).encode()).payload)
        header = {"alg": "ES256", "jwk": own.as_dict(private=False)}
        refused(send(agent, jws.serialize_compact(header, json.dumps(body), own)))

    def test_changed_contents(self, agent: Caller, user: User) -> None:
        head, _, signature = agent.request_object(user).split(".")
        _, other, _ = agent.request_object(user, binding_message="more").split(".")
        refused(send(agent, f"{head}.{other}.{signature}"))

    def test_a_repeated_claim(self, agent: Caller, user: User) -> None:
        body = jws.extract_compact(agent.request_object(user).encode()).payload.decode()
        twice = body[:-1] + ', "binding_message": "a", "binding_message": "b"}'
        header = {"alg": "ES256", "kid": agent.key.kid}
        refused(send(agent, jws.serialize_compact(header, twice, agent.key)))

    @pytest.mark.parametrize("payload", ["[]", "7", "null", "not JSON", '"x"', "{}"])
    def test_something_else_signed(self, agent: Caller, user: User, payload: str) -> None:
        refused(send(agent, jws.serialize_compact({"alg": "ES256", "kid": agent.key.kid}, payload, agent.key)))

    def test_encrypted(self, agent: Caller, user: User) -> None:
        ours = ECKey.generate_key("P-256")
        header = {"alg": "ECDH-ES", "enc": "A128GCM"}
        sealed = jwe.encrypt_compact(header, agent.request_object(user).encode(), ours)
        response = send(agent, sealed)
        assert refused(response) and "encrypted" in response.json()["error_description"]

    def test_too_long(self, agent: Caller, user: User) -> None:
        refused(send(agent, agent.request_object(user, padding="x" * 70_000)))

    def test_an_agent_without_keys(self, agent: Caller, user: User) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(client_jwks=None)
        response = send(agent, agent.request_object(user))
        assert response.json()["error"] == "invalid_client", "it cannot even authenticate"


class TestReplay:
    def test_once(self, agent: Caller, user: User) -> None:
        request = agent.request_object(user)
        assert send(agent, request).status_code == 200
        response = send(agent, request)
        assert response.json() == {
            "error": "invalid_request",
            "error_description": "the request object was used before",
        }

    def test_another_with_the_same_jti(self, agent: Caller, user: User) -> None:
        assert send(agent, agent.request_object(user, jti="one")).status_code == 200
        assert send(agent, agent.request_object(user, jti="one", binding_message="x")).status_code == 400

    def test_other_agents_may_use_the_same_jti(self, agent: Caller, other_agent: Caller, user: User) -> None:
        assert send(agent, agent.request_object(user, jti="one")).status_code == 200
        assert send(other_agent, other_agent.request_object(user, jti="one")).status_code == 200

    def test_it_is_remembered_as_long_as_it_lives(self, agent: Caller, user: User) -> None:
        at = int(time.time())
        send(agent, agent.request_object(user, jti="one", exp=at + 3000))
        row = SpentAssertion.objects.get(jti_digest=digest("request one"))
        assert row.expires_at.timestamp() >= at + 3000

    def test_the_assertions_own_jti_is_another(self, agent: Caller, user: User) -> None:
        """One counter for both is no replay."""
        assertion, request = agent.assertion(jti="7"), agent.request_object(user, jti="7")
        assert send(agent, request, client_assertion=assertion).status_code == 200

    def test_a_request_object_authenticates_nobody(self, agent: Caller, user: User) -> None:
        stolen = agent.request_object(user)
        response = agent.client_credentials(client_assertion=stolen, scope="calendar.read")
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")

    def test_an_assertion_asks_for_nothing(self, agent: Caller, user: User) -> None:
        refused(send(agent, agent.assertion(nbf=int(time.time()))))


class TestBeside:
    @pytest.mark.parametrize(
        "name",
        ["scope", "login_hint", "id_token_hint", "login_hint_token", "binding_message", "requested_expiry", "resource",
         "authorization_details", "user_code", "acr_values", "client_notification_token"],
    )  # fmt: skip
    def test_no_parameter_is_beside_it(self, agent: Caller, user: User, name: str) -> None:
        """CIBA Core 7.1.1: MUST NOT; whoever carries the request could add to what was signed."""
        response = send(agent, agent.request_object(user), **{name: "openid"})
        assert refused(response) and name in response.json()["error_description"]

    def test_unknown_ones_are_ignored_beside_and_inside(self, agent: Caller, user: User) -> None:
        assert send(agent, agent.request_object(user, nobody_knows=[1, 2]), nobody_knows="x").status_code == 200

    def test_repeated_ones_are_refused(self, agent: Caller, user: User) -> None:
        request = agent.request_object(user)
        form = [("client_assertion_type", JWT_BEARER), ("client_assertion", agent.assertion()), ("request", request)]
        response = agent.http.post("/bc-authorize", urlencode([*form, ("request", request)]), content_type=FORM)
        refused(response)


class TestRegistered:
    @pytest.fixture
    def strict(self, agent: Caller) -> Caller:
        agent.agent.backchannel_authentication_request_signing_alg = "ES256"
        agent.agent.save()
        return agent

    def test_unsigned_is_refused(self, strict: Caller, user: User) -> None:
        response = strict.ask(user)
        assert refused(response) and "must sign its requests" in response.json()["error_description"]

    def test_signed_is_taken(self, strict: Caller, user: User) -> None:
        assert send(strict, strict.request_object(user)).status_code == 200

    def test_another_algorithm_of_its_keys_is_refused(self, agent: Caller, user: User) -> None:
        caller = allow_everything(make_caller("Signer", "PS256"), user)
        Agent.objects.filter(pk=caller.agent.pk).update(backchannel_authentication_request_signing_alg="ES256")
        refused(send(caller, caller.request_object(user)))

    def test_it_needs_keys(self) -> None:
        fields = {"token_endpoint_auth_method": "client_secret_basic", "grant_types": ["client_credentials"]}
        agent = Agent(name="Bare", backchannel_authentication_request_signing_alg="ES256", **fields)
        with pytest.raises(ValidationError, match="Signed requests need"):
            agent.full_clean()
