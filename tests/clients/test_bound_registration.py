"""Agents that register themselves for bound tokens and certificates (RFC 9449 5.2, RFC 8705 2.1.2, 3.4)."""

from typing import Any

import pytest
from django.test import Client

from clients.models import CIBA, Agent
from tests.clients.test_registration import body, manage, register, sent_back, with_key
from tests.support.certificates import dns, make_certificate
from tests.support.world import post_form

pytestmark = pytest.mark.django_db
ENDPOINT = "https://client.example.com/ciba"
BY_CERTIFICATE = {
    "grant_types": ["client_credentials"],
    "token_endpoint_auth_method": "tls_client_auth",
    "tls_client_auth_san_dns": "agent.example.com",
    "tls_client_certificate_bound_access_tokens": True,
}


@pytest.fixture(autouse=True)
def opened(settings: Any) -> Any:
    settings.REGISTRATION = "open"
    settings.MTLS_URL = "https://mtls.example.com"
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    return settings


def refused(response: Any, words: str) -> bool:
    assert response.status_code == 400, response.content
    assert response.json()["error"] == "invalid_client_metadata"
    assert words in response.json()["error_description"]
    return True


def test_bound_tokens_stay_bound() -> None:
    """Whoever stole the registration access token does not hold the key."""
    reply = register(with_key(dpop_bound_access_tokens=True)).json()
    assert reply["dpop_bound_access_tokens"] is True
    assert refused(manage("PUT", reply, sent_back(reply, dpop_bound_access_tokens=False)), "cannot be removed")
    left_out = {name: value for name, value in sent_back(reply).items() if name != "dpop_bound_access_tokens"}
    assert refused(manage("PUT", reply, left_out), "cannot be removed")
    assert Agent.objects.get(client_id=reply["client_id"]).dpop_bound_access_tokens
    assert manage("PUT", reply, sent_back(reply)).status_code == 200


def test_push_of_bound_tokens_is_refused_with_the_reason() -> None:
    push = {"backchannel_token_delivery_mode": "push", "backchannel_client_notification_endpoint": ENDPOINT}
    assert refused(register(with_key(grant_types=[CIBA], dpop_bound_access_tokens=True, **push)), "prove its key")
    reply = register(with_key(grant_types=[CIBA], **push)).json()
    assert refused(manage("PUT", reply, sent_back(reply, dpop_bound_access_tokens=True)), "prove its key")


def test_both_constraints_at_once() -> None:
    both = {"dpop_bound_access_tokens": True, "tls_client_certificate_bound_access_tokens": True}
    assert refused(register(with_key(**both)), "one of them")


def test_an_agent_with_a_certificate() -> None:
    response = register(body(**BY_CERTIFICATE))
    assert response.status_code == 201, response.content
    reply = response.json()
    assert {name: reply[name] for name in BY_CERTIFICATE} == BY_CERTIFICATE
    holder = make_certificate("CN=Agent", dns("agent.example.com"))
    form = {"grant_type": "client_credentials", "scope": "calendar.read", "client_id": reply["client_id"]}
    headers = {"Client-Cert": holder.header, "Client-Cert-Verify": "SUCCESS"}
    answer = post_form(Client(), "/oauth/token", form, **headers)
    assert answer.json()["error"] == "invalid_scope", "it is who it says; its registration grants nothing"
    assert refused(
        manage("PUT", reply, sent_back(reply, tls_client_auth_san_dns="thief.example.com")), "name cannot be changed"
    )
    assert manage("PUT", reply, sent_back(reply)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tls_client_auth_san_dns": None}, "exactly one"),
        ({"tls_client_auth_san_ip": "192.0.2.1"}, "exactly one"),
        ({"tls_client_auth_san_dns": "*.example.com"}, "wildcard"),
        ({"tls_client_auth_san_dns": "x" * 501}, "too long"),
        ({"tls_client_auth_san_dns": ["agent.example.com"]}, "must be a string"),
        ({"tls_client_auth_san_dns": None, "tls_client_auth_subject_dn": "nobody"}, "is malformed"),
        ({"tls_client_certificate_bound_access_tokens": "yes"}, "one of"),
    ],
)
def test_names_that_cannot_be_registered(changed: dict[str, Any], words: str) -> None:
    assert refused(register(body(**{**BY_CERTIFICATE, **changed})), words)


def test_without_mutual_tls_there_is_none(opened: Any) -> None:
    opened.MTLS_URL = ""
    unbound = {name: value for name, value in BY_CERTIFICATE.items() if not name.endswith("bound_access_tokens")}
    assert refused(register(body(**unbound)), "token_endpoint_auth_method")
    assert refused(register(with_key(tls_client_certificate_bound_access_tokens=True)), "does not offer the requested")
