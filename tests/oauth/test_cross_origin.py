"""What a page of another origin may call, and what it may not (Fetch Standard 3.3)."""

import pytest
from django.test import Client

from accounts.models import User
from tests.support.world import sign_in

pytestmark = pytest.mark.django_db
OPEN = [
    "/oauth/token", "/oauth/revoke", "/userinfo", "/oidc/register", "/oidc/register/some-client",
    "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json",
]  # fmt: skip
CLOSED = ["/bc-authorize", "/oauth/introspect", "/v1/uses", "/v1/leases", "/v1/prompts", "/authorize", "/", "/login"]
ORIGIN = {"Origin": "https://app.example.com"}


def preflight(path: str) -> dict[str, str]:
    headers = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "dpop"}
    return dict(Client().options(path, headers=headers).headers)


@pytest.mark.parametrize("path", OPEN)
def test_open_to_all_and_never_with_credentials(path: str) -> None:
    sent = preflight(path)
    assert "Content-Type" not in sent
    assert sent["Access-Control-Allow-Origin"] == "*" and {"DPoP", "Traceparent"} <= set(
        sent["Access-Control-Allow-Headers"].split(", ")
    )
    answer = Client().post(path, headers=ORIGIN)  # an error too: a page is to read why
    assert answer["Access-Control-Allow-Origin"] == "*" and "DPoP-Nonce" in answer["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in {**sent, **answer.headers}


@pytest.mark.parametrize("path", CLOSED)
def test_closed_to_all(path: str, user: User) -> None:
    answers = [
        preflight(path),
        sign_in(user).get(path, headers=ORIGIN).headers,
        Client().post(path, headers=ORIGIN).headers,
    ]
    assert not any(name.startswith("Access-Control") for answer in answers for name in answer)


def test_options_without_a_preflight_is_no_method() -> None:
    assert Client().options("/oauth/token").status_code == 405


def test_a_preflight_says_what_the_endpoint_takes() -> None:
    assert preflight("/oidc/register/some-client")["Access-Control-Allow-Methods"] == "GET, PUT, DELETE"
