"""Client authentication: who gets in, and that everybody else learns nothing (RFC 6749 2.3, RFC 7523 3)."""

import json
from base64 import b64encode
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from joserfc import jws
from joserfc.jwk import OctKey

from accounts.models import User
from audit.models import Event
from clients import lifecycle
from clients.models import CLIENT_CREDENTIALS, Agent, AgentSecret, SpentAssertion
from foundation.handles import b64url
from tests.support.keys import new_key, sign_anything
from tests.support.world import JWT_BEARER, Caller, FromNow, allow_everything, make_caller, post_form

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"


def call(agent: Caller, **parameters: Any) -> Any:
    return agent.client_credentials(scope="calendar.read", **parameters)


def refused(response: Any) -> bool:
    """The one answer for every reason."""
    assert response.json() == {"error": "invalid_client", "error_description": "client authentication failed"}
    assert response.status_code == 401
    assert response["Cache-Control"] == "no-store"
    return True


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA", "RS256"])
def test_each_algorithm_authenticates(agent: Caller, algorithm: str) -> None:
    caller = allow_everything(make_caller("Other", algorithm))
    assert call(caller).status_code == 200


@pytest.mark.parametrize("audience", [ISSUER, f"{ISSUER}/oauth/token"])
def test_the_audience_is_the_issuer_or_the_token_endpoint(agent: Caller, audience: str) -> None:
    assert call(agent, client_assertion=agent.assertion(audience)).status_code == 200


def test_the_audience_may_be_the_called_endpoint(agent: Caller, user: User) -> None:
    assertion = agent.assertion(f"{ISSUER}/bc-authorize")
    assert agent.ask(user, client_assertion=assertion).status_code == 200


def test_an_agent_may_insist_on_the_issuer_as_audience(agent: Caller) -> None:
    agent.agent.assertion_audience = "issuer"
    agent.agent.save()
    assert call(agent).status_code == 200
    refused(call(agent, client_assertion=agent.assertion(f"{ISSUER}/oauth/token")))


@pytest.mark.parametrize("others", [[], ["https://elsewhere.example.com"], [f"{ISSUER}/oauth/token", 7]])
def test_the_audience_may_be_an_array_that_holds_the_issuer(agent: Caller, others: list[Any]) -> None:
    """RFC 7519 4.1.3. Not where the agent is held to the issuer alone."""
    assert call(agent, client_assertion=agent.assertion(aud=[ISSUER, *others])).status_code == 200
    Agent.objects.update(assertion_audience="issuer")
    refused(call(agent, client_assertion=agent.assertion(aud=[ISSUER, *others])))


@pytest.mark.parametrize("profile", ["fapi-ciba-id1", "fapi2-ciba"])
def test_the_fapi_profiles_stay_as_they_are(agent: Caller, profile: str) -> None:
    """One text for an audience, and no RS256."""
    by_rsa = allow_everything(make_caller("Other", "RS256"))
    Agent.objects.update(profile=profile)
    refused(call(agent, client_assertion=agent.assertion(aud=[ISSUER])))
    refused(call(by_rsa))
    assert call(agent).json().get("error") != "invalid_client"
    by_rsa.algorithm = "PS256"
    assert call(by_rsa).json().get("error") != "invalid_client"


@pytest.mark.parametrize(("profile", "is_taken"), [("ciba", True), ("fapi-ciba-id1", False), ("fapi2-ciba", False)])
def test_a_key_that_its_profile_could_never_use_is_refused(db: None, profile: str, is_taken: bool) -> None:
    key = {**new_key("RS256").as_dict(private=False), "alg": "RS256"}
    agent = Agent(name="x", profile=profile, client_jwks={"keys": [key]}, grant_types=[CLIENT_CREDENTIALS])
    agent.dpop_bound_access_tokens = profile == "fapi2-ciba"
    try:
        agent.full_clean()
        problems = {}
    except ValidationError as error:
        problems = error.message_dict
    assert ("client_jwks" not in problems) is is_taken, problems


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"aud": [f"{ISSUER}/oauth/token"]}, id="a list without the issuer"),
        pytest.param({"aud": [[ISSUER]]}, id="a list in a list"),
        pytest.param({"aud": {ISSUER: 1}}, id="an object for an audience"),
        pytest.param({"aud": []}, id="no audience in a list"),
        pytest.param({"aud": f"{ISSUER}/"}, id="the issuer with a slash"),
        pytest.param({"aud": "https://elsewhere.example.com"}, id="another server"),
        pytest.param({"aud": f"{ISSUER}/bc-authorize"}, id="another endpoint of ours than the called one"),
        pytest.param({"exp": None}, id="no expiry"),
        pytest.param({"exp": FromNow(-60)}, id="expired"),
        pytest.param({"exp": FromNow(7200)}, id="lives for two hours"),
        pytest.param({"exp": "tomorrow"}, id="an expiry that is no number"),
        pytest.param({"exp": True}, id="an expiry that is a boolean"),
        pytest.param({"exp": 10**400}, id="an expiry beyond all numbers"),
        pytest.param({"nbf": FromNow(600)}, id="not yet valid"),
        pytest.param({"iat": FromNow(600)}, id="from the future"),
        pytest.param({"jti": None}, id="no jti"),
        pytest.param({"jti": ""}, id="an empty jti"),
        pytest.param({"jti": 7}, id="a jti that is no text"),
        pytest.param({"jti": "x" * 256}, id="a long jti"),
        pytest.param({"sub": "somebody"}, id="another subject than issuer"),
        pytest.param({"iss": "somebody"}, id="an issuer that does not exist"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"iss": ["a"]}, id="an issuer that is no text"),
    ],
)
def test_claims_that_do_not_authenticate(agent: Caller, claims: dict[str, Any]) -> None:
    refused(call(agent, client_assertion=agent.assertion(**claims)))
    assert not SpentAssertion.objects.exists()
    assert not Event.objects.filter(kind="token.refused").exists(), "unauthenticated calls are counted, not audited"


def test_an_assertion_works_once(agent: Caller) -> None:
    assertion = agent.assertion()
    assert call(agent, client_assertion=assertion).status_code == 200
    refused(call(agent, client_assertion=assertion))


def test_two_agents_may_use_the_same_jti(agent: Caller, other_agent: Caller) -> None:
    assert call(agent, client_assertion=agent.assertion(jti="same")).status_code == 200
    assert call(other_agent, client_assertion=other_agent.assertion(jti="same")).status_code == 200


def test_a_key_that_is_not_the_agents(agent: Caller) -> None:
    thief = Caller(agent.agent, new_key("ES256"))
    refused(call(thief))
    thief.key = new_key("ES256")
    header = {"alg": "ES256", "kid": agent.key.kid}
    payload = json.dumps({"iss": agent.agent.client_id})
    forged = jws.serialize_compact(header, payload, thief.key, algorithms=["ES256"])
    refused(call(agent, client_assertion=forged))


def sign_with_public_key_as_secret(agent: Caller, header: dict[str, Any]) -> str:
    secret = OctKey.import_key(json.dumps(agent.key.as_dict(private=False)).encode())
    payload = jws.extract_compact(agent.assertion().encode()).payload
    return jws.serialize_compact(header, payload, secret, algorithms=["HS256"])


def test_no_algorithm_and_symmetric_algorithms(agent: Caller) -> None:
    header, payload, signature = agent.assertion().split(".")
    none = b64url(b'{"alg":"none"}')
    refused(call(agent, client_assertion=f"{none}.{payload}."))
    refused(call(agent, client_assertion=f"{none}.{payload}.{signature}"))
    refused(call(agent, client_assertion=f"{header}.{payload}."))
    refused(call(agent, client_assertion=sign_with_public_key_as_secret(agent, {"alg": "HS256", "kid": agent.key.kid})))


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c", "crit"])
def test_a_header_that_brings_its_own_key(agent: Caller, member: str) -> None:
    """The key is the registered one, whatever the token's header says."""
    thief = new_key("ES256")
    value: Any = (
        thief.as_dict(private=False) if member == "jwk" else ["exp"] if member == "crit" else "https://x.example"
    )
    header = b64url(json.dumps({"alg": "ES256", member: value}).encode())
    payload = agent.assertion().split(".")[1]
    signature = jws.serialize_compact({"alg": "ES256"}, b"x", thief, algorithms=["ES256"]).split(".")[2]
    refused(call(agent, client_assertion=f"{header}.{payload}.{signature}"))


@pytest.mark.parametrize(
    "junk",
    ["x", "a.b.c", "....", "é.é.é", "." * 20_000, "e30.e30.e30", "W10.W10.W10", b64url(b"{" * 5000) + ".e30.e30"],
)
def test_what_is_no_assertion(agent: Caller, junk: str) -> None:
    refused(call(agent, client_assertion=junk))


def test_the_type_of_assertion_must_be_said(agent: Caller) -> None:
    form = {"grant_type": CLIENT_CREDENTIALS, "client_assertion": agent.assertion(), "client_assertion_type": "saml"}
    refused(post_form(Client(), "/oauth/token", form))


def test_client_id_must_agree_with_the_assertion(agent: Caller) -> None:
    assert call(agent, client_id=agent.agent.client_id).status_code == 200
    refused(call(agent, client_id="somebody"))


class TestWithoutKid:
    """An assertion without `kid` works when exactly one key fits its algorithm."""

    def sign(self, caller: Caller, key: Any, algorithm: str) -> str:
        payload = jws.extract_compact(caller.assertion().encode()).payload
        return jws.serialize_compact({"alg": algorithm}, payload, key, algorithms=[algorithm])

    def register(self, caller: Caller, *jwks: dict[str, Any]) -> None:
        caller.agent.client_jwks = {"keys": list(jwks)}
        caller.agent.full_clean()
        caller.agent.save()

    @pytest.mark.parametrize("algorithm", ["ES256", "PS256", "RS256", "EdDSA"])
    @pytest.mark.parametrize("has_kid", [True, False])
    def test_one_key_of_each_kind(self, agent: Caller, algorithm: str, has_kid: bool) -> None:
        ours = {name: new_key(name) for name in ("ES256", "PS256", "EdDSA")}
        named = [{**key.as_dict(private=False), "kid": key.kid} for key in ours.values()]
        self.register(agent, *(named if has_kid else [{n: v for n, v in k.items() if n != "kid"} for k in named]))
        key = ours["PS256" if algorithm == "RS256" else algorithm]
        assert call(agent, client_assertion=self.sign(agent, key, algorithm)).status_code == 200
        refused(call(agent, client_assertion=self.sign(agent, new_key(algorithm), algorithm)))

    def test_two_keys_that_differ_in_their_algorithm(self, agent: Caller) -> None:
        first, second = new_key("PS256"), new_key("RS256")
        jwks = [{**key.as_dict(private=False), "alg": alg} for key, alg in ((first, "PS256"), (second, "RS256"))]
        self.register(agent, *[{n: v for n, v in key.items() if n != "kid"} for key in jwks])
        assert call(agent, client_assertion=self.sign(agent, first, "PS256")).status_code == 200
        assert call(agent, client_assertion=self.sign(agent, second, "RS256")).status_code == 200
        refused(call(agent, client_assertion=self.sign(agent, first, "RS256")))

    def test_not_among_several_that_fit(self, agent: Caller) -> None:
        second = new_key("ES256")
        both = [{**key.as_dict(private=False), "kid": key.kid} for key in (agent.key, second)]
        self.register(agent, *both)
        refused(call(agent, client_assertion=self.sign(agent, agent.key, "ES256")))
        assert [call(agent).status_code, call(Caller(agent.agent, second)).status_code] == [200, 200], "a rotation"

    def test_a_kid_that_names_another_kind_of_key(self, agent: Caller) -> None:
        other = new_key("EdDSA")
        self.register(agent, *[{**key.as_dict(private=False), "kid": key.kid} for key in (agent.key, other)])
        forged = sign_anything({"alg": "ES256", "kid": other.kid}, {"iss": agent.agent.client_id}, agent.key, "ES256")
        refused(call(agent, client_assertion=forged))


def test_a_suspended_agent_is_nobody(agent: Caller, administrator: User) -> None:
    lifecycle.suspend(agent.agent, administrator, timezone.now())
    refused(call(agent))
    lifecycle.resume(agent.agent, administrator, timezone.now())
    assert call(agent).status_code == 200


# --- static secrets


@pytest.fixture
def secretive(agent: Caller, administrator: User) -> tuple[Agent, str]:
    """An agent with client_secret_basic, and its secret."""
    caller = allow_everything(make_caller("Old", token_endpoint_auth_method="client_secret_basic"))
    return caller.agent, lifecycle.issue_secret(caller.agent, administrator, timezone.now())


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def with_basic(header: str, **form: str) -> Any:
    form = {"grant_type": CLIENT_CREDENTIALS, "scope": "calendar.read", **form}
    return post_form(Client(), "/oauth/token", form, Authorization=header)


def test_client_secret_basic(secretive: tuple[Agent, str]) -> None:
    agent, secret = secretive
    assert with_basic(basic(agent.client_id, secret)).status_code == 200
    wrong = with_basic(basic(agent.client_id, secret[:-1] + "x"))
    assert refused(wrong)
    assert wrong["WWW-Authenticate"] == 'Basic realm="countersign"'


def test_client_secret_post(secretive: tuple[Agent, str]) -> None:
    agent, secret = secretive
    form = {"grant_type": CLIENT_CREDENTIALS, "scope": "calendar.read", "client_id": agent.client_id}
    refused(post_form(Client(), "/oauth/token", form | {"client_secret": secret}))  # not its method
    Agent.objects.filter(pk=agent.pk).update(token_endpoint_auth_method="client_secret_post")
    assert post_form(Client(), "/oauth/token", form | {"client_secret": secret}).status_code == 200
    refused(with_basic(basic(agent.client_id, secret)))


def test_a_secret_is_off_for_an_agent_with_a_key(agent: Caller, administrator: User) -> None:
    secret = lifecycle.issue_secret(agent.agent, administrator, timezone.now())
    refused(with_basic(basic(agent.agent.client_id, secret)))


def test_two_secrets_are_live_during_a_rotation_and_never_three(
    secretive: tuple[Agent, str], administrator: User
) -> None:
    agent, first = secretive
    second = lifecycle.issue_secret(agent, administrator, timezone.now())
    assert [with_basic(basic(agent.client_id, s)).status_code for s in (first, second)] == [200, 200]
    third = lifecycle.issue_secret(agent, administrator, timezone.now())
    assert [with_basic(basic(agent.client_id, s)).status_code for s in (first, second, third)] == [401, 200, 200]
    lifecycle.revoke_secrets(agent, administrator, timezone.now())
    assert [with_basic(basic(agent.client_id, s)).status_code for s in (second, third)] == [401, 401]
    assert not AgentSecret.objects.filter(agent=agent, revoked_at=None).exists()


def test_another_agents_secret(secretive: tuple[Agent, str], administrator: User) -> None:
    other = make_caller("Third", token_endpoint_auth_method="client_secret_basic")
    refused(with_basic(basic(other.agent.client_id, secretive[1])))


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ???", "Basic Og==", "Basic YQ==", "Bearer x", "Basic 4oKs", "x" * 9000]
)
def test_malformed_credentials(agent: Caller, header: str) -> None:
    refused(with_basic(header))


def test_two_ways_at_once_are_a_bad_request(agent: Caller, secretive: tuple[Agent, str]) -> None:
    header = basic(secretive[0].client_id, secretive[1])
    form = {"client_assertion": agent.assertion(), "client_assertion_type": JWT_BEARER}
    response = with_basic(header, **form)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


def test_no_authentication_at_all(agent: Caller) -> None:
    refused(post_form(Client(), "/oauth/token", {"grant_type": CLIENT_CREDENTIALS, "client_id": agent.agent.client_id}))


def test_an_authenticated_refusal_leaves_one_event_and_its_jti(agent: Caller) -> None:
    for _ in range(3):
        response = agent.client_credentials(scope="nobody.knows")
        assert response.json()["error"] == "invalid_scope"
    assert Event.objects.filter(kind="token.refused").count() == 1, "equal ones within a minute are one"
    assert SpentAssertion.objects.count() == 3
    agent.client_credentials(scope="openid")
    assert Event.objects.filter(kind="token.refused").count() == 2, "another reason is another event"
