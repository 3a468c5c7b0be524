"""The administration never answers 500: random requests, and one test for each kind that once did."""

import html
import io
import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.http import HttpRequest
from django.test import Client

from accounts.models import User
from authserver.request import Request as ServerRequest
from ciba.models import HintIssuer
from operations.models import Resource
from tests.operations.test_type_names import form_of
from tests.properties.administration import Administration, RandomRequests, make_rows
from tests.properties.conftest import undone
from tests.support.budget import chance, rounds
from tests.support.world import Caller, ResourceServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def there(agent: Caller, user: User, administrator: User) -> Administration:
    make_rows(agent, user, administrator)
    return Administration(administrator)


@pytest.mark.soak
def test_no_request_is_answered_with_an_error_of_the_server(there: Administration) -> None:
    dice = chance("administration")
    requests = RandomRequests(there, dice)
    answers = set()
    for number in range(rounds(1_500, 50_000)):
        request = requests.next()
        browser = there.viewers_browser if dice.random() < 0.15 else there.browser
        with undone():
            try:
                response = request.send(browser)
            except Exception as error:
                raise AssertionError(f"request {number}: {request}") from error
            assert response.status_code < 500, f"request {number}: {request}"
            answers.add(response.status_code)
    assert answers >= {200, 302, 400, 403, 404}, "the requests are too much alike to find anything"


@pytest.fixture
def admin(administrator: User) -> Client:
    browser = Client()
    browser.force_login(administrator)
    return browser


_FILTERS = re.compile(r'<nav id="changelist-filter".*?</nav>', re.DOTALL)


@pytest.mark.parametrize("model", sorted(f"{model._meta.label_lower}".replace(".", "/") for model in site._registry))
def test_every_filter_that_a_list_offers(there: Administration, model: str) -> None:
    page = f"/admin/{model}/"
    filters = _FILTERS.search(there.browser.get(page).content.decode())
    for query in re.findall(r'href="(\?[^"]*)"', filters.group() if filters else ""):
        assert there.browser.get(page + html.unescape(query)).status_code == 200, query


@pytest.mark.parametrize("unknown", ["999999", "x", "00000000-0000-4000-8000-000000000000", "9" * 40, "_5F", "é"])
@pytest.mark.parametrize(
    "model", ["ciba/backchannelrequest", "oauth/grant", "clients/agent", "credentials/lease", "devices/vapidkey"]
)
def test_an_unknown_id(admin: Client, model: str, unknown: str) -> None:
    for page in ("change", "history", "delete"):
        assert admin.get(f"/admin/{model}/{unknown}/{page}/").status_code in {302, 403}


@pytest.mark.parametrize(
    "path", ["credentials/role", "credentials/backend", "clients/agent", "operations/operationtype", "ciba/hintissuer"]
)
@pytest.mark.parametrize("form", [{}, {"_saveasnew": "1"}, {"_popup": "1"}], ids=str)
def test_an_empty_form(admin: Client, path: str, form: dict[str, str]) -> None:
    response = admin.post(f"/admin/{path}/add/", form)
    assert response.status_code == 200 and response.context["adminform"].form.errors


@pytest.mark.parametrize("user", ["\u0496n", "7", "x", "00000000-0000-4000-8000-000000000000", "", "9" * 40])
def test_a_user_who_cannot_be_one(admin: Client, user: str) -> None:
    assert admin.get("/admin/clients/agent/add/", {"user": user}).status_code == 200
    response = admin.post("/admin/clients/agent/add/", {"user": user, "name": "x"})
    assert response.status_code == 200 and response.context["adminform"].form.errors


JSON_THAT_IS_NOT_STORED = [
    '"\\ud800"', '{"keys": ["\\udfff"]}', '{"\\u0000": 1}', "[" * 5000, '{"a":' * 5000 + "1" + "}" * 5000,
    "[" * 41 + "]" * 41, "[NaN]", "[1e400]", "9" * 5000, '{"a": 1, "a": 2}', "{", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", JSON_THAT_IS_NOT_STORED, ids=lambda text: text[:12])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("ciba/hintissuer", "jwks"), ("clients/agent", "client_jwks"), ("operations/operationtype", "schema"),
        ("credentials/backend", "settings"), ("credentials/role", "settings"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_stored(admin: Client, path: str, field: str, text: str) -> None:
    response = admin.post(f"/admin/{path}/add/", {field: text})
    assert response.status_code == 200 and response.context["adminform"].form.errors[field]


def test_json_that_can_be_is_stored_as_it_was_typed(admin: Client) -> None:
    form = {"issuer": "https://a.example/", "algorithms": "ES256", "jwks_uri": "https://a.example/k", "is_active": "on"}
    assert admin.post("/admin/ciba/hintissuer/add/", form).status_code == 302
    assert HintIssuer.objects.get().jwks in (None, {})
    refused = admin.post("/admin/ciba/hintissuer/add/", {"jwks": '{"keys":   [1, 1.0]}'})
    assert "{&quot;keys&quot;:   [1, 1.0]}" in refused.content.decode()


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://[", "https://[v1.x/", "https://a:99999999/", "https://a:x/", "//", "http://\u2100.example/",
     "https://a.example/\x00", "https://a.\nexample/"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("operations/resource", "identifier"), ("ciba/hintissuer", "issuer"), ("ciba/hintissuer", "jwks_uri"),
        ("clients/agent", "client_jwks_uri"), ("clients/agent", "redirect_uris"),
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_read(admin: Client, path: str, field: str, url: str) -> None:
    response = admin.post(f"/admin/{path}/add/", {field: url, "name": "x"})
    assert response.status_code == 200 and response.context["adminform"].form.errors


@pytest.mark.parametrize(
    "url", ["http://[::1", "https://a:x/", "https://a.example/ b", "https://a.example/#x", "x", "//a"]
)
def test_no_resource_has_such_an_identifier(admin: Client, url: str) -> None:
    admin.post("/admin/operations/resource/add/", {"identifier": url, "name": "x"})
    assert not Resource.objects.exists()


@pytest.mark.parametrize("to_field", ["", "+", "x", "password", "id__x", "grants", "\u0663"])
@pytest.mark.parametrize("model", ["clients/agent", "accounts/user", "operations/resource", "audit/event"])
def test_a_field_to_refer_by_that_is_none(admin: Client, model: str, to_field: str) -> None:
    for page in ("", "add/"):
        assert admin.get(f"/admin/{model}/{page}", {"_to_field": to_field}).status_code in {200, 302, 400, 403}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lifetime", 999_999_999), ("lifetime", 0), ("lifetime", 10**30), ("uses", 0), ("uses", -1), ("uses", 40_000),
        ("uses", 10**30), ("risk", "none"), ("assurance", "x" * 300), ("title", "x" * 301), ("summary", ""),
    ],
)  # fmt: skip
def test_a_number_or_choice_out_of_range(admin: Client, bank: ResourceServer, field: str, value: Any) -> None:
    response = admin.post("/admin/operations/operationtype/add/", form_of(bank.resource, **{field: value}))
    assert response.status_code == 200 and response.context["adminform"].form.errors[field]


@pytest.mark.parametrize(
    "field",
    ["uses", "default_lifetime", "max_lifetime", "max_leases", "max_per_agent", "risk", "name", "title"],
)
@pytest.mark.parametrize("value", ["0", "-1", "9" * 30, "x" * 400])
def test_the_same_of_a_role(there: Administration, field: str, value: str) -> None:
    form = {
        "backend": there.row("Backend"), "name": "orders-writer", "title": "Orders", "summary": "Write orders",
        "risk": "sensitive", "assurance": "session", "uses": "1", "settings": '{"groups": ["a"]}',
        "default_lifetime": "600", "max_lifetime": "3600", "max_leases": "1", "max_per_agent": "1",
        "max_per_user": "1", field: value,
    }  # fmt: skip
    response = there.browser.post("/admin/credentials/role/add/", form)
    assert response.status_code in ({200, 302} if field == "title" else {200})


@pytest.mark.parametrize(
    "query",
    [
        "password__startswith=a",
        "password=a",
        "sealed_secret__gt=0",
        "email__regex=(",
        "user__password__startswith=a",
        "id__range=1",
        "created_at__range=x",
        "state__regex=(",
        "agent__user__password__startswith=a",
    ],
)
@pytest.mark.parametrize(
    "model", ["accounts/user", "credentials/backend", "ciba/backchannelrequest", "accounts/invitation", "clients/agent"]
)
def test_a_list_is_filtered_by_what_its_page_offers_alone(admin: Client, model: str, query: str) -> None:
    """Else who may see people could read the hash of a password, one character at a time."""
    assert admin.get(f"/admin/{model}/?{query}").status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "created_at__year=99999", "created_at__year=0", "created_at__month=13",
        "created_at__year=2026&created_at__month=2&created_at__day=31", "created_at__gte=10000-01-01",
        "created_at__gte=x", "agent__id__exact=" + "9" * 40, "agent__id__exact=x", "state__exact=%ff",
        "state__isnull=x", "q=%00", "p=" + "9" * 40, "p=-1", "o=1.x.-99",
        "o=" + "9" * 40, "&x" * 1100, "all=", "e=1", "_facets=x", "q=" + "x" * 5000, "q=%22",
    ],
)  # fmt: skip
def test_filters_searches_and_pages_of_a_list(admin: Client, query: str) -> None:
    assert admin.get(f"/admin/ciba/backchannelrequest/?{query}").status_code in {200, 302, 400}


@pytest.mark.parametrize(
    "lookup", ["year=99999", "year=0", "month=13", "gte=x", "gte=10000-01-01", "gte=0000-00-00", "isnull=x", "lt="]
)
def test_columns_that_our_pages_link_to(admin: Client, lookup: str) -> None:
    linked = [(model, column) for model, one in site._registry.items() for column in getattr(one, "linked_columns", ())]
    assert len(linked) >= 5
    for model, column in linked:
        page = f"/admin/{model._meta.label_lower.replace('.', '/')}/?{column}__{lookup}"
        assert admin.get(page).status_code in {200, 302, 400}, page


@pytest.mark.parametrize("key", ["x", "9" * 40, "\u0663", "", "00000000-0000-4000-8000-000000000000"])
@pytest.mark.parametrize("model", ["audit/setasideevent", "clients/agent", "accounts/user", "credentials/lease"])
def test_an_action_on_a_row_that_is_none(there: Administration, model: str, key: str) -> None:
    actions = {"audit/setasideevent": "delete_selected", "clients/agent": "suspend", "accounts/user": "disable"}
    form = {"action": actions.get(model, "end_now"), "_selected_action": key, "index": "0"}
    assert there.browser.post(f"/admin/{model}/", form).status_code in {200, 302, 400}


@pytest.mark.parametrize(
    "query",
    [
        "app_label=clients&model_name=agent&field_name=requests",
        "app_label=x&model_name=y&field_name=z",
        "",
        "app_label=clients&model_name=agent&field_name=user&page=x",
        "app_label=clients&model_name=agent&field_name=name",
        "app_label=clients&model_name=agent&field_name=user&term=%ff%22",
        "app_label=accounts&model_name=user&field_name=groups",
    ],
)
def test_autocompletion(admin: Client, query: str) -> None:
    assert admin.get(f"/admin/autocomplete/?{query}").status_code in {200, 403, 404}


CODECS = ["hex", "rot13", "idna", "punycode", "undefined", "utf-16", "unicode_escape", "x"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "path", ["/admin/?a=%41", "/oauth/token?a=%41", "/v1/prompts?a=%41", "/login?a=%41", "/x" + "?x" * 1100]
)
def test_a_content_type_that_names_a_codec(admin: Client, path: str, codec: str) -> None:
    for content_type in (
        f"text/plain; charset={codec}",
        f"application/x-www-form-urlencoded; charset={codec}",
        f"multipart/form-data; boundary=b; charset={codec}",
        f"text/plain; a*={codec}''%41",
        f"multipart/form-data; boundary*={codec}''%41",
    ):
        body = b"--b\r\nContent-Disposition: form-data; name*=" + codec.encode() + b"''%41\r\n\r\n\xff\r\n--b--\r\n"
        for method in ("GET", "POST"):
            assert admin.generic(method, path, body, content_type=content_type).status_code < 500


def test_the_server_makes_its_requests_of_the_class_that_is_tested() -> None:
    from authserver.wsgi import application

    assert application.request_class is ServerRequest
    environ = {
        "REQUEST_METHOD": "GET",
        "wsgi.input": io.BytesIO(),
        "CONTENT_TYPE": "x; charset=hex",
        "QUERY_STRING": "a=%C3%A9",
    }
    request: HttpRequest = ServerRequest(environ)
    assert request.GET["a"] == "é" and request.content_type == "x"
