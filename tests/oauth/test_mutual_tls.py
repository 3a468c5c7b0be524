"""Mutual TLS on the wire (RFC 8705): the certificate that a trusted proxy hands on (RFC 9440)."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.models import Prompt
from clients.models import Agent
from clients.mutual_tls import CERTIFICATE
from foundation.errors import ProtocolError
from oauth.resource_servers.access import authenticate_call
from oauth.tokens.token_verification import verify
from tests.support.certificates import Holder, dns, make_certificate
from tests.support.keys import Prover, new_key
from tests.support.world import PAYMENT, Caller, ResourceServer, allow_everything, make_caller, post_form, sign_in

pytestmark = pytest.mark.django_db
MTLS = "https://mtls.example.com"
DNS = "agent.example.com"


@pytest.fixture(autouse=True)
def proxy(settings: Any) -> None:
    """Django's test client stands where the proxy does: at 127.0.0.1."""
    settings.MTLS_URL = MTLS
    settings.TRUSTED_PROXIES = ["127.0.0.1/32"]


@pytest.fixture
def holder() -> Holder:
    return make_certificate("CN=Assistant", dns(DNS))


def content(holder: Holder | None, outcome: str | None = "SUCCESS") -> dict[str, str]:
    """What the proxy says of the connection."""
    if holder is None:
        return {}
    return {"Client-Cert": holder.header} | ({"Client-Cert-Verify": outcome} if outcome else {})


@pytest.fixture
def chained(agent: Caller, user: User, holder: Holder) -> Caller:
    """An agent that authenticates by the certificate of a trusted authority, and whose tokens are bound to it."""
    caller = make_caller(
        "Chained", token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns=DNS,
        tls_client_certificate_bound_access_tokens=True,
    )  # fmt: skip
    caller.headers = content(holder)
    return allow_everything(caller, user)


@pytest.fixture
def self_signed(agent: Caller, user: User, holder: Holder) -> Caller:
    """An agent that authenticates by a certificate that it registered."""
    caller = make_caller("Self-signed")
    caller.agent.client_jwks = {"keys": [holder.jwk()]}
    caller.agent.token_endpoint_auth_method = "self_signed_tls_client_auth"
    caller.agent.full_clean()
    caller.agent.save()
    caller.headers = content(holder, "FAILED:self-signed certificate")
    return allow_everything(caller, user)


def ask(caller: Caller, headers: dict[str, str] | None = None) -> Any:
    if headers is not None:
        caller.headers = headers
    return caller.client_credentials(scope="calendar.read")


def refused(response: Any) -> bool:
    assert response.status_code == 401
    assert response.json() == {"error": "invalid_client", "error_description": "client authentication failed"}
    return True


def cnf_of(response: Any) -> Any:
    claims = verify(response.json()["access_token"], "at+jwt", timezone.now())
    assert claims is not None
    return claims.get("cnf")


# --- client authentication


def test_a_trusted_certificate_authenticates_and_binds(chained: Caller, holder: Holder) -> None:
    response = ask(chained)
    assert response.status_code == 200
    assert response.json()["token_type"] == "Bearer", "RFC 8705 3 keeps the type"
    assert cnf_of(response) == {"x5t#S256": holder.x5t}


def test_a_registered_certificate_authenticates_though_no_authority_vouches(self_signed: Caller) -> None:
    response = ask(self_signed)
    assert response.status_code == 200
    assert cnf_of(response) is None, "it did not ask for bound tokens"
    assert ask(self_signed, {k: v for k, v in self_signed.headers.items() if k == "Client-Cert"}).status_code == 200


@pytest.mark.parametrize(
    "outcome", [None, "", "NONE", "FAILED", "FAILED:self-signed certificate", "success", "SUCCESS,SUCCESS", "1"]
)
def test_a_chain_that_the_proxy_did_not_trust(chained: Caller, holder: Holder, outcome: str | None) -> None:
    refused(ask(chained, content(holder, outcome)))


def test_another_certificate(chained: Caller, self_signed: Caller) -> None:
    for name in ("other.example.com", f"x{DNS}", f"{DNS}.example.com"):
        refused(ask(chained, content(make_certificate("CN=Assistant", dns(name)))))
    refused(ask(self_signed, content(make_certificate("CN=Assistant", dns(DNS)))))


def test_no_certificate_at_all(chained: Caller, self_signed: Caller) -> None:
    refused(ask(chained, {}))
    refused(ask(self_signed, {}))


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)], ids=["expired", "not yet valid"])
def test_a_certificate_out_of_its_time(chained: Caller, days: tuple[int, int]) -> None:
    refused(ask(chained, content(make_certificate("CN=Assistant", dns(DNS), days=days))))


def test_a_certificate_without_client_id(chained: Caller) -> None:
    form = {"grant_type": "client_credentials", "scope": "calendar.read"}
    refused(post_form(Client(), "/oauth/token", form, **chained.headers))
    refused(post_form(Client(), "/oauth/token", form | {"client_id": "nobody"}, **chained.headers))


def test_each_agent_keeps_to_its_method(agent: Caller, chained: Caller, holder: Holder) -> None:
    form = {"grant_type": "client_credentials", "scope": "calendar.read", "client_id": agent.agent.client_id}
    refused(post_form(Client(), "/oauth/token", form, **content(holder)))
    by_assertion = Caller(chained.agent, chained.key)
    assertion = {"client_assertion": by_assertion.assertion(), "grant_type": "client_credentials"}
    assertion["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    refused(post_form(Client(), "/oauth/token", assertion, **content(holder)))


def test_a_suspended_agent(chained: Caller) -> None:
    Agent.objects.filter(pk=chained.agent.pk).update(status="suspended")
    refused(ask(chained))


@pytest.mark.parametrize("header", ["x", "::", ":AAAA:", ":" + "A" * 20_000 + ":", "-----BEGIN CERTIFICATE-----"])
def test_a_certificate_that_cannot_be_read(chained: Caller, header: str) -> None:
    response = ask(chained, {"Client-Cert": header, "Client-Cert-Verify": "SUCCESS"})
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


def test_two_certificates_in_one_request(chained: Caller, holder: Holder) -> None:
    """As a server joins them: whichever the attacker adds, none counts."""
    other = make_certificate("CN=Assistant", dns(DNS))
    for joined in (f"{holder.header},{other.header}", f"{other.header}, {holder.header}"):
        response = ask(chained, {"Client-Cert": joined, "Client-Cert-Verify": "SUCCESS"})
        assert response.json()["error"] == "invalid_request"


# --- from whom the header comes


@pytest.mark.parametrize("proxies", [[], ["10.0.0.0/8"]], ids=["no trusted proxy", "another one"])
def test_the_header_counts_from_a_trusted_proxy_alone(chained: Caller, settings: Any, proxies: list[str]) -> None:
    settings.TRUSTED_PROXIES = proxies
    chained.http = Client()
    refused(ask(chained))


def test_a_trusted_address_in_x_forwarded_for_is_no_trusted_proxy(chained: Caller) -> None:
    chained.http = Client(REMOTE_ADDR="203.0.113.5")
    refused(ask(chained, chained.headers | {"X-Forwarded-For": "127.0.0.1"}))


def test_whom_the_proxy_forwards_for_makes_no_difference(chained: Caller) -> None:
    assert ask(chained, chained.headers | {"X-Forwarded-For": "203.0.113.5"}).status_code == 200


def test_without_mutual_tls_the_header_is_nothing(chained: Caller, settings: Any) -> None:
    settings.MTLS_URL = ""
    chained.http = Client()
    refused(ask(chained))


# --- bound tokens


def test_a_bound_agent_gets_no_token_without_its_certificate(agent: Caller, holder: Holder) -> None:
    Agent.objects.update(tls_client_certificate_bound_access_tokens=True)
    response = ask(agent)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"
    assert Event.objects.filter(kind="token.refused").count() == 1
    # Authenticated by its assertion, bound to whatever certificate it connects with (RFC 8705 3).
    assert cnf_of(ask(agent, content(holder, None))) == {"x5t#S256": holder.x5t}


def test_both_constraints_bind_to_both(chained: Caller, holder: Holder) -> None:
    chained.prover = Prover(new_key("ES256"))
    response = ask(chained)
    assert response.json()["token_type"] == "DPoP"
    assert cnf_of(response) == {"jkt": chained.prover.jkt, "x5t#S256": holder.x5t}


def test_a_proof_may_name_the_alias_address(chained: Caller) -> None:
    chained.prover = Prover(new_key("ES256"))
    assert ask(chained).status_code == 200
    form = {"grant_type": "client_credentials", "scope": "calendar.read", "client_id": chained.agent.client_id}
    proof = chained.prover.proof(htu=f"{MTLS}/oauth/token")
    assert post_form(Client(), "/oauth/token", form, DPoP=proof, **chained.headers).status_code == 200


def test_an_assertion_may_name_the_alias_address(agent: Caller) -> None:
    assert ask(agent).status_code == 200
    for address in (f"{MTLS}/oauth/token", "http://localhost:8000/oauth/token"):
        response = agent.client_credentials(scope="calendar.read", client_assertion=agent.assertion(address))
        assert response.status_code == 200
    refused(agent.client_credentials(scope="calendar.read", client_assertion=agent.assertion(MTLS)))


def call(token: str, holder: Holder | None) -> str:
    request = RequestFactory().get("/userinfo", headers={"Authorization": f"Bearer {token}"})
    if holder:
        request.META[CERTIFICATE] = holder.header
    try:
        authenticate_call(request, audience="https://bank.example.com/", now=timezone.now())
    except ProtocolError as error:
        return error.code
    return "ok"


def test_a_stolen_token_is_no_use(chained: Caller, holder: Holder) -> None:
    token = ask(chained).json()["access_token"]
    assert call(token, holder) == "ok"
    assert call(token, None) == "invalid_token"
    assert call(token, make_certificate("CN=Assistant", dns(DNS))) == "invalid_token"


def test_ciba_over_mutual_tls(chained: Caller, holder: Holder, user: User, bank: ResourceServer) -> None:
    auth_req_id = chained.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    response = chained.poll(auth_req_id)
    reply = bank.introspect(response.json()["access_token"]).json()
    assert reply["cnf"] == {"x5t#S256": holder.x5t}
    assert reply["token_type"] == "Bearer"


# --- registration and metadata


def problems(**fields: Any) -> str:
    agent = Agent(name="New", grant_types=["client_credentials"], **fields)
    with pytest.raises(ValidationError) as found:
        agent.full_clean()
    return " ".join(found.value.messages)


def test_what_may_be_registered(holder: Holder, settings: Any) -> None:
    assert "exactly one" in problems(token_endpoint_auth_method="tls_client_auth")
    assert "exactly one" in problems(
        token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns=DNS, tls_client_auth_san_ip="192.0.2.1"
    )
    plain = {name: value for name, value in holder.jwk().items() if name != "x5c"}
    assert "x5c" in problems(token_endpoint_auth_method="self_signed_tls_client_auth", client_jwks={"keys": [plain]})
    settings.MTLS_URL = ""
    assert "MTLS_URL" in problems(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns=DNS)
    assert "MTLS_URL" in problems(client_jwks={"keys": [plain]}, tls_client_certificate_bound_access_tokens=True)


def test_the_metadata(settings: Any) -> None:
    def document() -> Any:
        return Client().get("/.well-known/oauth-authorization-server").json()

    reply = document()
    assert {"tls_client_auth", "self_signed_tls_client_auth"} <= set(reply["token_endpoint_auth_methods_supported"])
    assert reply["tls_client_certificate_bound_access_tokens"] is True
    aliases = reply["mtls_endpoint_aliases"]
    assert aliases["token_endpoint"] == f"{MTLS}/oauth/token"
    assert aliases["backchannel_authentication_endpoint"] == f"{MTLS}/bc-authorize"
    assert not {"authorization_endpoint", "jwks_uri", "registration_endpoint"} & aliases.keys()
    settings.MTLS_URL = ""
    reply = document()
    assert "mtls_endpoint_aliases" not in reply and "tls_client_certificate_bound_access_tokens" not in reply
    assert "tls_client_auth" not in reply["token_endpoint_auth_methods_supported"]
