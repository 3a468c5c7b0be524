"""The short way to protocol endpoints: the same answers as on the long one, and a database that came back."""

import os
from typing import Any

import psycopg
import pytest
from django.core.handlers.base import BaseHandler
from django.db import connection
from django.test import RequestFactory
from django.urls import URLResolver, get_resolver

from authserver.handler import Handler, close_dead_connection
from foundation.protocol_paths import ENDPOINTS
from tests.support.world import FORM

VARYING = {"Date", "Content-Length"}


@pytest.fixture
def handler() -> Handler:
    handler = Handler()
    _ = get_resolver().url_patterns
    return handler


def exact_endpoints(resolver: Any, prefix: str = "") -> set[str]:
    """The paths without parameters of all protocol endpoints in the URL patterns."""
    found = set()
    for one in resolver.url_patterns:
        text = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            found |= exact_endpoints(one, text)
        elif hasattr(one.callback, "methods") and "(" not in text:
            found.add("/" + text.removeprefix("^").removesuffix("/?$").replace("\\", ""))
    return found


def test_every_protocol_endpoint_with_an_exact_path_has_the_short_way(handler: Handler) -> None:
    exact = exact_endpoints(get_resolver())
    assert {"/oauth/token", "/bc-authorize", "/.well-known/jwks.json"} <= exact
    by_the_long_way = exact - set(ENDPOINTS)
    # The authorization endpoint and logout are pages of a browser. Leases are served by views of the REST framework.
    assert by_the_long_way <= {"/v1/leases", "/v1/leases/unwrap"}, by_the_long_way


REQUESTS = [
    ("GET", "/.well-known/openid-configuration", "", {}),
    ("HEAD", "/.well-known/jwks.json/", "", {}),
    ("GET", "/oauth/token", "", {}),
    ("POST", "/oauth/token", "grant_type=client_credentials", {}),
    ("POST", "/oauth/token/", "grant_type=x&grant_type=y", {}),
    ("POST", "/oauth/token", "grant_type=client_credentials", {"HTTP_AUTHORIZATION": "Basic eDp5"}),
    ("OPTIONS", "/oauth/token", "", {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}),
    ("POST", "/bc-authorize", "", {}),
    ("POST", "/oauth/introspect", "token=x", {}),
    ("GET", "/userinfo", "", {"HTTP_AUTHORIZATION": "Bearer x"}),
    ("GET", "/livez", "", {}),
    ("GET", "/livez?x=%00", "", {}),
    ("POST", "/oauth/token", "x" * (1024 * 1024 + 1), {}),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path", "body", "headers"), REQUESTS)
def test_both_ways_give_the_same_answer(
    handler: Handler, method: str, path: str, body: str, headers: dict[str, str]
) -> None:
    def request() -> Any:
        return RequestFactory().generic(method, path, body, content_type=FORM, **headers)

    short, long = handler.get_response(request()), BaseHandler.get_response(handler, request())
    assert short.status_code == long.status_code
    assert short.content == long.content  # type: ignore[attr-defined]
    differing = {name for name, _ in {*short.items()} ^ {*long.items()}}
    assert differing <= VARYING, differing


@pytest.mark.django_db
def test_a_failing_endpoint_is_answered_with_a_reference_and_the_security_headers(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_request: Any) -> Any:
        raise RuntimeError("unexpected")

    monkeypatch.setitem(ENDPOINTS, "/livez", fail)
    answer = handler.get_response(RequestFactory().get("/livez"))
    assert answer.status_code == 500
    assert b"reference" in answer.content  # type: ignore[attr-defined]
    assert answer["X-Frame-Options"] == "DENY" and answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_database_ended_while_it_was_idle_is_opened_again() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    close_dead_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() != (pid,)


@pytest.mark.django_db(transaction=True)
def test_an_open_connection_is_kept() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        first = cursor.fetchone()
    close_dead_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == first
