"""What django-oauth-toolkit 3.4.1 gets wrong, asked of our endpoints; and shown on its own, unchanged, beside it.

`plain_toolkit.py` runs the library with its own models and endpoints in another process. Each defect that it shows
there has a test here: of the endpoint of ours that does the same thing, or, where we do not mount one, of its 404.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider import urls as toolkit_urls

from accounts import lifecycle as users
from accounts.models import User
from clients.models import AgentSecret
from oauth.models import AuthorizationCode, Grant
from tests.patience import PATIENCE
from tests.support.consent import WebAgent, allow, answer, go_to, make_web_agent, query_of
from tests.support.world import Caller, ResourceServer, post_form

pytestmark = pytest.mark.django_db

# Defect → the tests (elsewhere, or below) that fail where we have it.
WHERE = {
    "1 introspection without credentials": "test_introspection_needs_credentials",
    "2 any client introspects any token, by GET": "test_introspection_is_of_its_own_and_never_by_get",
    "3 an ID token works as an access token": "test_an_id_token_is_no_access_token",
    "4 the device flow is there": "test_nothing_of_the_library_is_mounted",
    "5 a wrong Basic secret falls through to the body": "test_a_wrong_basic_secret_is_the_end_of_it",
    "6 a disabled user's tokens go on": "test_a_disabled_users_tokens_do_not_go_on",
    "7 prompt=none is a 500": "test_prompt_none_is_an_answer",
    **{
        f"8 {name} is silently ignored": "test_it_is_not_silently_ignored"
        for name in (
            "request", "request_uri", "max_age", "acr_values", "response_mode", "authorization_details", "dpop_jkt",
            "id_token_hint", "claims",
        )
    },
    "9 hidden fields of the consent page widen it": "test_the_consent_page_cannot_be_widened",
    "10 a replayed code ends nothing": "test_a_replayed_code_ends_what_it_issued",
    "11 tokens are saved before the code is used up": "test_the_code_is_used_up_first",
    "12 every scope is every client's": "test_a_scope_is_for_whom_it_was_given",
    "13 a token in the address works": "test_a_token_in_the_address_does_not_work",
    "the code is stored in clear": "test_the_code_is_stored_as_a_digest",
    "an error does not say who gave it": "test_an_error_says_who_gave_it",
    "PKCE by plain": "test_pkce_by_plain_is_refused",
}  # fmt: skip


@pytest.fixture(scope="module")
def content_of_the_library() -> dict[str, bool]:
    script = Path(__file__).parent.parent / "support" / "plain_toolkit.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


@pytest.mark.parametrize("defect", WHERE)
def test_the_library_by_itself_has_it(defect: str, content_of_the_library: dict[str, bool]) -> None:
    assert content_of_the_library[defect] is True, "mended upstream? then look at the probe, and at what rests on it"


def test_the_table_is_whole(content_of_the_library: dict[str, bool]) -> None:
    assert content_of_the_library.keys() == WHERE.keys()
    assert all(name in globals() for name in WHERE.values())


@pytest.fixture
def tokens(web: WebAgent, browser_of_user: Client) -> dict[str, Any]:
    return web.tokens(browser_of_user)


def test_introspection_needs_credentials(tokens: dict[str, Any], public: WebAgent, bank: ResourceServer) -> None:
    device = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"token": tokens["access_token"], "client_id": public.agent.client_id, "grant_type": device}
    response = post_form(Client(), "/oauth/introspect", form)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_introspection_is_of_its_own_and_never_by_get(tokens: dict[str, Any], web: WebAgent) -> None:
    other = make_web_agent("Other")
    assert other.post("/oauth/introspect", {"token": tokens["access_token"]}).json() == {"active": False}
    reply = web.post("/oauth/introspect", {"token": tokens["access_token"]}).json()
    assert {"sub", "iss", "iat", "jti", "token_type"} <= reply.keys()
    assert web.post("/oauth/introspect", {"token": tokens["refresh_token"]}).json()["active"]
    assert Client().get(f"/oauth/introspect?token={tokens['access_token']}").status_code == 405


def test_an_id_token_is_no_access_token(tokens: dict[str, Any], bank: ResourceServer) -> None:
    assert bank.introspect(tokens["id_token"]).json() == {"active": False}
    for path in ("/userinfo", "/v1/leases"):
        response = Client().get(path, headers={"Authorization": f"Bearer {tokens['id_token']}"})
        assert response.status_code == 401


def test_nothing_of_the_library_is_mounted() -> None:
    """Not its own endpoints, under any prefix that it is mounted at, and not those that we have no match for."""
    theirs = {re.split(r"[<(?]", str(one.pattern).lstrip("^"))[0].strip("/") for one in toolkit_urls.urlpatterns}
    assert {"token", "introspect", "device-authorization", "applications", "authorized_tokens"} <= theirs
    unmatched = ("token", "introspect", "revoke_token", "device-authorization", "device", "applications",
                 "applications/register", "authorized_tokens", "register")  # fmt: skip
    addresses = [f"{prefix}{path}" for prefix in ("/o/", "/oauth2/") for path in theirs]
    for address in [*addresses, *(f"/{path}" for path in unmatched)]:
        for method in ("get", "post"):
            for slash in ("", "/"):
                assert getattr(Client(), method)(f"{address}{slash}").status_code == 404, address


def test_a_wrong_basic_secret_is_the_end_of_it(web: WebAgent, agent: Caller) -> None:
    static = make_web_agent("Static", method="client_secret_basic")
    AgentSecret.issue(static.agent, timezone.now())
    static.secret = "wrong"
    posted = make_web_agent("Posted", method="client_secret_post")
    secret = AgentSecret.issue(posted.agent, timezone.now())
    form = {"grant_type": "client_credentials", "client_id": posted.agent.client_id, "client_secret": secret}
    response = static.post("/oauth/token", form)
    assert response.status_code in {400, 401} and "access_token" not in response.json()


def test_a_disabled_users_tokens_do_not_go_on(
    web: WebAgent, browser_of_user: Client, user: User, administrator: User
) -> None:
    tokens = web.tokens(browser_of_user, scope="openid")
    users.disable(user, administrator, timezone.now())
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert Client().get("/userinfo", headers=header).status_code == 401
    assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert web.post("/oauth/introspect", {"token": tokens["access_token"]}).json() == {"active": False}


def test_prompt_none_is_an_answer(web: WebAgent, browser_of_user: Client) -> None:
    response = browser_of_user.get(web.url(prompt="none"))
    assert query_of(response["Location"])["error"] == "consent_required"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("request", "e30.", "request_not_supported"),
        ("request_uri", "urn:x", "request_uri_not_supported"),
        ("max_age", "0", "/login"),
        ("acr_values", "session", "/login"),
        ("response_mode", "form_post", "invalid_request"),
        ("authorization_details", "[]", "invalid_request"),
        ("dpop_jkt", "x", "invalid_request"),
        ("id_token_hint", "garbage", "invalid_request"),
        ("claims", '{"id_token":{"acr":{"essential":true,"values":["x"]}}}', "unmet_authentication_requirements"),
    ],
)
def test_it_is_not_silently_ignored(
    name: str, value: str, expected: str, web: WebAgent, browser_of_user: Client
) -> None:
    session = browser_of_user.session
    session["signed_in_at"] -= 3600
    session.save()
    location = browser_of_user.get(web.url(**{name: value}))["Location"]
    assert location.startswith("/login") if expected == "/login" else query_of(location)["error"] == expected


def test_the_consent_page_cannot_be_widened(web: WebAgent, browser_of_user: Client) -> None:
    page = go_to(browser_of_user, web.url(scope="calendar.read"))
    sent_to = answer(browser_of_user, page, "allow", scope=["calendar.read", "openid", "email", "accounts.close"])
    assert web.exchange(query_of(sent_to["Location"])["code"]).json()["scope"] == "calendar.read"


def test_a_replayed_code_ends_what_it_issued(web: WebAgent, browser_of_user: Client, bank: ResourceServer) -> None:
    code = query_of(allow(browser_of_user, web.url()))["code"]
    requested = web.exchange(code).json()
    assert web.exchange(code).status_code == 400
    assert bank.introspect(requested["access_token"]).json() == {"active": False}


def test_the_code_is_used_up_first(web: WebAgent, browser_of_user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And raced, 100 rounds, in tests/races/test_codes.py."""
    code = query_of(allow(browser_of_user, web.url()))["code"]
    used: list[bool] = []

    def watch(*args: Any, **kwargs: Any) -> Any:
        used.append(AuthorizationCode.objects.get().used_at is not None)
        return sign(*args, **kwargs)

    from oauth.tokens import issuance

    sign = issuance.sign
    monkeypatch.setattr(issuance, "sign", watch)
    assert web.exchange(code).status_code == 200
    assert used and all(used)


def test_a_scope_is_for_whom_it_was_given(agent: Caller) -> None:
    agent.agent.scopes.clear()
    response = agent.client_credentials(scope="calendar.read")
    assert response.json()["error"] == "invalid_scope"


def test_a_token_in_the_address_does_not_work(web: WebAgent, browser_of_user: Client) -> None:
    token = web.tokens(browser_of_user, scope="openid")["access_token"]
    assert Client().get(f"/userinfo?access_token={token}").status_code == 400


def test_the_code_is_stored_as_a_digest(web: WebAgent, browser_of_user: Client) -> None:
    code = query_of(allow(browser_of_user, web.url()))["code"]
    assert code not in str(list(AuthorizationCode.objects.values())) + str(list(Grant.objects.values()))


def test_an_error_says_who_gave_it(web: WebAgent, browser_of_user: Client) -> None:
    response = answer(browser_of_user, go_to(browser_of_user, web.url()), "deny")
    assert query_of(response["Location"])["iss"] == "http://localhost:8000"


def test_pkce_by_plain_is_refused(web: WebAgent, browser_of_user: Client) -> None:
    response = browser_of_user.get(web.url(code_challenge_method="plain"))
    assert query_of(response["Location"])["error"] == "invalid_request"
