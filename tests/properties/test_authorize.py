"""Random authorization requests: never a 500, and the browser goes to the agent's own address or a page of ours."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from clients import redirects, uris
from foundation.errors import ProtocolError
from oauth.authorization.parameters import parse_parameters, parse_query
from tests.properties.conftest import undone
from tests.support.budget import examples
from tests.support.consent import CALLBACK, WebAgent, make_web_agent, query_of
from tests.support.world import FORM, ResourceServer

pytestmark = [pytest.mark.django_db, pytest.mark.soak]
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
NAMES = st.sampled_from(
    ["response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
     "prompt", "max_age", "acr_values", "claims", "id_token_hint", "login_hint", "request", "request_uri", "resource",
     "response_mode", "authorization_details", "display", "ui_locales", "iss", "code", "error"]
)  # fmt: skip
LIKELY = st.sampled_from(
    ["code", "none", "login", "consent", "0", "99999999999", "openid", "openid calendar.read", "accounts.close",
     '{"id_token":{"sub":{"value":"x"}}}', '{"userinfo":{"acr":{"values":["session"],"essential":true}}}', "[]", "null",
     "https://bank.example.com/", "query", "fragment", "S256", "plain", CALLBACK, "//evil.example.com", "a.b.c"]
)  # fmt: skip
OURS = ("/login?", "/consents/", "/authorize/resume?")


@pytest.fixture
def web(bank: ResourceServer, signing: None) -> WebAgent:
    return make_web_agent()


def goes_where_it_may(response: Any, web: WebAgent) -> None:
    assert response.status_code in {200, 302, 303, 400}, response.content[-500:]
    if location := response.get("Location"):
        if location.startswith(OURS):
            return
        assert location.startswith(f"{CALLBACK}?")
        reply = query_of(location)
        assert reply["iss"] == "http://localhost:8000" and ("error" in reply) != ("code" in reply)


@examples(200, 20000)
@given(changed=st.dictionaries(NAMES, TEXT | LIKELY | st.none(), max_size=5))
def test_any_request(web: WebAgent, browser_of_user: Client, changed: dict[str, str | None]) -> None:
    browser = browser_of_user
    with undone():
        goes_where_it_may(browser.get(web.url(**changed)), web)
        goes_where_it_may(Client().get(web.url(**changed)), web)
        body = urlencode(web.parameters(**changed))
        goes_where_it_may(browser.post("/authorize", body, content_type=FORM), web)


@examples(200, 20000)
@given(text=TEXT | st.from_regex(r"[a-z_]{1,12}=[^&]{0,20}(&[a-z_]{1,12}=[^&]{0,20}){0,4}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        sent = parse_parameters(parse_query(text))
    except ProtocolError:
        return
    assert len(sent.code_challenge) == 43


@examples(200, 20000)
@given(uri=TEXT | st.from_regex(r"(https?|[a-z.]{1,12}):/{0,3}[^ ]{0,30}", fullmatch=True))
def test_any_registered_uri_has_one_place(uri: str) -> None:
    """What is put into a policy and before a user's eyes holds nothing that ends it."""
    if uris.problem_with_redirect(uri, native=True):
        assert not redirects.is_registered(uri, [uri])
        return
    assert redirects.is_registered(uri, [uri])
    source = redirects.source_of(uri)
    assert not set(source) & set(" ;,'\"<>\n\r*") and redirects.place_of(uri)


@examples(200, 20000)
@given(handle=TEXT, answer=TEXT | st.sampled_from(["allow", "deny"]), scope=st.lists(TEXT, max_size=3))
def test_any_answer(web: WebAgent, browser_of_user: Client, handle: str, answer: str, scope: list[str]) -> None:
    browser = browser_of_user
    with undone():
        path = browser.get(web.url())["Location"]
        for target in (path, f"{path[:-1]}x"):
            response = browser.post(target, {"answer": answer, "scope": scope, "request": handle})
            assert response.status_code in {303, 400, 404}
