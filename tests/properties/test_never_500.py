"""Random bodies, headers and paths at every endpoint: a specified error, never a 500, nothing stored."""

import json
import string
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from ciba.models import BackchannelRequest, Prompt
from oauth.models import Grant
from tests.properties.administration import HOSTILE
from tests.properties.conftest import undone
from tests.support.budget import examples
from tests.support.world import CALENDAR, FORM, JWT_BEARER, PAYMENT, Caller, ResourceServer

pytestmark = [pytest.mark.django_db, pytest.mark.soak]

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
NAMES = st.sampled_from(
    ["grant_type", "scope", "resource", "authorization_details", "login_hint", "id_token_hint", "login_hint_token",
     "binding_message", "requested_expiry", "auth_req_id", "client_id", "client_secret", "client_assertion",
     "client_assertion_type", "request", "token", "token_type_hint", "user_code", "acr_values"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from([*HOSTILE, "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
LIKELY = st.sampled_from(
    ["openid", "openid calendar.read", "person@example.com", "urn:openid:params:grant-type:ciba", "client_credentials",
     "60", "[]", '[{"type":"payment"}]', '[{"type":"calendar","day":"2026-02-30"}]', "https://bank.example.com/",
     "a.b.c", *HOSTILE]
)  # fmt: skip


MADE_UP = ("00000000-0000-4000-8000-000000000000", "7", "h" * 43)  # a UUID, a number, a handle


def every_path() -> list[str]:
    """Each named route outside the administration, with made-up values that fit its place-holders."""
    paths = []
    for name in sorted(name for name in get_resolver().reverse_dict if isinstance(name, str)):
        for possibilities, *_ in get_resolver().reverse_dict.getlist(name):
            for template, holders in possibilities:
                filled = ["/" + template % dict.fromkeys(holders, value) for value in MADE_UP]
                paths.append(next(path for path in filled if is_route(path)))
    return paths


def is_route(path: str) -> bool:
    try:
        return bool(resolve(path))
    except Resolver404:
        return False


# Every protocol endpoint that takes a body, from the URL table: a new one is tried without anybody's doing.
PROTOCOL = [path for path in every_path() if "POST" in getattr(resolve(path).func, "methods", ())]


def specified(response: Any) -> bool:
    """An OAuth error in JSON, or the thing asked for."""
    assert response.status_code < 500, response.content
    assert response.status_code not in {301, 302, 307, 308}
    body = response.json() if response.content else {}
    if response.status_code >= 400:
        assert isinstance(body["error"], str) and body["error"] != "server_error"
        assert response["Cache-Control"] == "no-store"
    return True


@examples(150, 20000)
@given(
    path=st.sampled_from(PROTOCOL),
    body=st.binary(max_size=300),
    content_type=st.sampled_from([FORM, "application/json", "text/plain", FORM + "; charset=latin-1", "x"]),
)
def test_any_bytes_from_anybody(signing: None, path: str, body: bytes, content_type: str) -> None:
    assert specified(Client().generic("POST", path, body, content_type=content_type))


@examples(150, 20000)
@given(
    path=st.sampled_from(PROTOCOL),
    header=TEXT | st.sampled_from(["Basic ", "Basic Og==", "Basic /w==", "Bearer x", "Basic YTpi"]),
)
def test_any_authorization_header(signing: None, path: str, header: str) -> None:
    assert specified(Client().post(path, "token=x", content_type=FORM, headers={"Authorization": header}))


@examples(150, 20000)
@given(assertion=TEXT | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_any_assertion(signing: None, assertion: str) -> None:
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
    response = Client().post("/oauth/token", urlencode(form), content_type=FORM)
    assert specified(response) and response.status_code in {400, 401}


@examples(150, 20000)
@given(parameters=st.dictionaries(NAMES.filter(lambda name: not name.startswith("client")), TEXT | LIKELY, max_size=6))
@pytest.mark.parametrize("path", PROTOCOL)
def test_any_parameters_of_an_authenticated_agent(agent: Caller, path: str, parameters: dict[str, str]) -> None:
    with undone():
        response = agent.post(path, **parameters)
        assert specified(response)
        if response.status_code >= 400:
            assert not BackchannelRequest.objects.exists() and not Grant.objects.exists()


@examples(150, 20000)
@given(
    claims=st.dictionaries(NAMES | st.sampled_from(["aud", "iss", "exp", "iat", "nbf", "jti", "sub"]), JSON | LIKELY)
)
def test_any_request_object(agent: Caller, user: User, claims: dict[str, Any]) -> None:
    with undone():
        assert specified(agent.post("/bc-authorize", request=agent.request_object(user, **claims)))


@examples(150, 20000)
@given(
    details=JSON
    | st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["payment", "calendar"])},
            optional=dict.fromkeys(("amount", "currency", "creditor", "day", "x"), JSON),
        ),
        max_size=3,
    )
)
def test_any_authorization_details(agent: Caller, user: User, details: Any) -> None:
    with undone():
        assert specified(agent.ask(user, authorization_details=details))
        assert specified(agent.client_credentials(authorization_details=details))


@examples(150, 20000)
@given(
    body=JSON
    | st.fixed_dictionaries({"token": JSON, "operation_digest": JSON | st.from_regex("[a-z]{43}", fullmatch=True)}),
    key=st.none() | TEXT,
)
def test_any_use_by_a_resource(bank: ResourceServer, signing: None, body: Any, key: str | None) -> None:
    headers = {"Authorization": bank.authorization} | ({"Idempotency-Key": key} if key is not None else {})
    assert specified(bank.http.post("/v1/uses", body, content_type="application/json", headers=headers))


@examples(150, 20000)
@given(token=TEXT | st.from_regex(r"[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,60}", fullmatch=True))
def test_any_token_at_introspection(bank: ResourceServer, signing: None, token: str) -> None:
    response = bank.introspect(token)
    assert specified(response)
    assert response.status_code == 400 or response.json() == {"active": False}


def test_the_paths_are_all_there() -> None:
    assert {"/oauth/token", "/bc-authorize", "/oauth/introspect", "/v1/uses"} <= set(PROTOCOL)
    assert {"/", "/login", "/oauth/token", "/v1/prompts", "/metrics", "/.well-known/jwks.json"} <= set(every_path())

    def unnamed(resolver: URLResolver) -> list[str]:
        found = [str(one.pattern) for one in resolver.url_patterns if isinstance(one, URLPattern) and not one.name]
        deeper = [one for one in resolver.url_patterns if isinstance(one, URLResolver) and not one.namespace]
        return found + [name for one in deeper for name in unnamed(one)]

    assert unnamed(get_resolver()) == [], "a route without a name is not tried"


@pytest.mark.parametrize("path", every_path())
def test_every_path_with_every_method_signed_in_and_not(path: str, user: User, signing: None) -> None:
    signed_in = Client()
    signed_in.force_login(user)
    for browser in (Client(), signed_in):
        for method in ("get", "head", "post", "put", "patch", "delete", "options", "trace"):
            response = getattr(browser, method)(path)
            assert response.status_code < 500 or path == "/readyz", (method, path, response.content)


@examples(150, 20000)
@given(path=st.text(string.printable + "\x00é\u202e", max_size=40), query=TEXT)
def test_any_address(signing: None, path: str, query: str) -> None:
    response = Client().get("/" + path.lstrip("/"), query_params={"q": query})
    assert response.status_code < 500


@examples(150, 20000)
@given(path=st.sampled_from(every_path()), query=st.dictionaries(NAMES | TEXT, TEXT | LIKELY, max_size=5))
def test_any_query_at_every_path(user: User, signing: None, path: str, query: dict[str, str]) -> None:
    browser = Client()
    browser.force_login(user)
    with undone():
        for client in (Client(), browser):
            assert client.get(path, query_params=query).status_code < 500 or path == "/readyz"


@examples(150, 20000)
@given(
    path=st.sampled_from(every_path()),
    method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    body=JSON | st.dictionaries(NAMES | TEXT, JSON, max_size=5),
)
def test_any_json_at_every_path(user: User, signing: None, path: str, method: str, body: Any) -> None:
    browser = Client()
    browser.force_login(user)
    with undone():
        for client in (Client(), browser):
            text = json.dumps(body)
            assert client.generic(method, path, text, content_type="application/json").status_code < 500


@examples(150, 20000)
@given(
    form=st.dictionaries(
        st.sampled_from(["answer", "email", "password", "next", "name", "subscription"]) | TEXT, TEXT, max_size=4
    )
)
def test_any_form_on_the_pages(agent: Caller, user: User, form: dict[str, str]) -> None:
    with undone():
        agent.ask(user, authorization_details=[PAYMENT])
        browser = Client()
        browser.force_login(user)
        for path in (f"/prompts/{Prompt.objects.get().id}", "/login", "/invitations/x", "/devices"):
            assert browser.post(path, form).status_code < 500


def test_the_likely_ones_are_not_all_refused(agent: Caller, user: User) -> None:
    """The tables above would be worth nothing if nothing ever got through."""
    assert agent.ask(user, authorization_details=[CALENDAR]).status_code == 200
