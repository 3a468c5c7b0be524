"""A stolen bound token, on the wire, at each endpoint of ours that takes access tokens (RFC 9449 7, RFC 8705 3)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from clients.models import Agent
from operations.models import Resource, Scope
from tests.support.certificates import Holder, make_certificate
from tests.support.consent import WebAgent, make_web_agent
from tests.support.keys import Prover, new_key
from tests.support.world import Caller, ResourceServer

pytestmark = pytest.mark.django_db
Call = Callable[[str, dict[str, str]], Any]


@pytest.fixture
def prover() -> Prover:
    return Prover(new_key("ES256"))


@pytest.fixture
def userinfo_token(bank: ResourceServer, signing: None, browser_of_user: Client, prover: Prover) -> str:
    web: WebAgent = make_web_agent("Public agent", method="none")
    web.prover = prover
    return str(web.tokens(browser_of_user, scope="openid email")["access_token"])


@pytest.fixture
def leases_token(agent: Caller, prover: Prover, settings: Any) -> str:
    own = Resource.objects.create(identifier=f"{settings.ISSUER_URL}/v1", name="Leases")
    Scope.objects.create(resource=own, name="leases", description="Use leases", risk="routine")
    agent.agent.scopes.set(Scope.objects.all())
    agent.prover = prover
    return str(agent.client_credentials(scope="leases").json()["access_token"])


@pytest.fixture(params=["/userinfo", "/v1/leases"])
def protected(request: Any) -> tuple[str, str]:
    """A path, and a token that is good there."""
    name = {"/userinfo": "userinfo_token", "/v1/leases": "leases_token"}[request.param]
    return request.param, request.getfixturevalue(name)


def get(path: str, authorization: str, proof: str | None = None, **headers: str) -> Any:
    given = {"Authorization": authorization} | ({} if proof is None else {"DPoP": proof}) | headers
    return Client().get(path, headers=given)


def refused(response: Any, challenge: str) -> bool:
    """401, with this much of the challenge."""
    assert response.status_code == 401, response.content
    assert challenge in response["WWW-Authenticate"]
    assert response["Cache-Control"] == "no-store"
    return True


def test_its_holder_and_nobody_else(protected: tuple[str, str], prover: Prover) -> None:
    path, token = protected

    def own(**claims: Any) -> str:
        return prover.proof(path, method="GET", token=token, **claims)

    answer = get(path, f"DPoP {token}", own())
    assert answer.status_code == 200, answer.content
    assert answer["DPoP-Nonce"]
    thief = Prover(new_key("ES256"), nonce=prover.nonce)
    stolen = thief.proof(path, method="GET", token=token)
    proof = own()
    assert get(path, f"DPoP {token}", proof).status_code == 200
    assert refused(get(path, f"DPoP {token}", proof), 'DPoP error="invalid_dpop_proof"'), "replayed"
    assert refused(get(path, f"DPoP {token}", stolen), 'DPoP error="invalid_token"'), "with another key"
    assert refused(get(path, f"Bearer {token}"), 'Bearer error="invalid_token"'), "as a bearer token"
    assert refused(get(path, f"Bearer {token}", own()), 'Bearer error="invalid_token"'), "the wrong scheme"
    assert refused(get(path, f"DPoP {token}"), 'DPoP error="invalid_dpop_proof"'), "without a proof"
    assert refused(get(path, f"DPoP {token}", own(ath=None)), 'DPoP error="invalid_dpop_proof"'), "a token request's"
    assert refused(get(path, f"DPoP {token}", own(htu="https://x.example/")), 'DPoP error="invalid_dpop_proof"')
    assert refused(get(path, f"DPoP {token}", own(htm="POST")), 'DPoP error="invalid_dpop_proof"')
    stale = get(path, f"DPoP {token}", own(nonce="stale"))
    assert refused(stale, 'DPoP error="use_dpop_nonce"')
    assert stale["DPoP-Nonce"] == prover.nonce
    assert refused(get(path, "DPoP x", own()), 'DPoP error="invalid_token"')
    assert 'algs="ES256 PS256 EdDSA"' in stale["WWW-Authenticate"]


def test_nobody_is_told_both_schemes(protected: tuple[str, str]) -> None:
    path, _ = protected
    answer = Client().get(path)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer ") and ", DPoP algs=" in answer["WWW-Authenticate"]


def test_a_certificate_bound_token(agent: Caller, leases_token: str, settings: Any) -> None:
    settings.MTLS_URL, settings.TRUSTED_PROXIES = "https://mtls.example.com", ["127.0.0.1"]
    Agent.objects.filter(pk=agent.agent.pk).update(tls_client_certificate_bound_access_tokens=True)
    holder: Holder = make_certificate()
    agent.prover, agent.headers, agent.http = None, {"Client-Cert": holder.header}, Client()
    token = agent.client_credentials(scope="leases").json()["access_token"]

    def content(certificate: Holder | None) -> Any:
        return get("/v1/leases", f"Bearer {token}", **({"Client-Cert": certificate.header} if certificate else {}))

    assert content(holder).status_code == 200
    assert refused(content(make_certificate()), 'Bearer error="invalid_token"')
    assert refused(content(None), 'Bearer error="invalid_token"')
    settings.TRUSTED_PROXIES = []
    assert refused(content(holder), 'Bearer error="invalid_token"'), "a header that nobody vouches for"
