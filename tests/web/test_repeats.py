"""Public documents that the event loop sends again without the application."""

import json
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest

from foundation.pending_answers import Repeat
from tests.web.conftest import Served, serving
from web.exchange import WsgiAnswer
from web.repeats import MAX_ANSWERS, Repeats


@pytest.fixture
def odd() -> Iterator[Served]:
    with serving("tests.support.odd_application:application") as one:
        yield one


def scope(path: bytes = b"/document", *, method: str = "GET", query: bytes = b"", proto: bytes = b"") -> dict[str, Any]:
    headers = [(b"host", b"localhost"), *([(b"x-forwarded-proto", proto)] if proto else [])]
    return {"raw_path": path, "method": method, "query_string": query, "headers": headers}


ANSWER = WsgiAnswer(200, [(b"content-length", b"4")], b"body")


def stored(seconds: float = 60) -> tuple[Repeats, list[int]]:
    repeats, counted = Repeats(), []
    repeats.keep(scope(), ANSWER, Repeat(seconds, lambda: counted.append(1)))
    return repeats, counted


def without_date(response: HTTPResponse) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in response.headers.items() if name.lower() != "date")


def test_the_same_request_gets_the_answer_again_and_is_counted() -> None:
    repeats, counted = stored()
    start, body = repeats.find(scope()) or ({}, {})
    assert (start["status"], start["headers"], body["body"]) == (200, ANSWER.headers, b"body")
    assert counted == [1]


@pytest.mark.parametrize(
    "other",
    [scope(b"/other"), scope(b"/document/"), scope(method="HEAD"), scope(method="POST"), scope(query=b"x=1"),
     scope(proto=b"https")],
)  # fmt: skip
def test_another_request_does_not(other: dict[str, Any]) -> None:
    repeats, counted = stored()
    assert repeats.find(other) is None
    assert counted == []


def test_an_answer_is_not_sent_again_after_its_time() -> None:
    repeats, counted = stored(seconds=0)
    assert repeats.find(scope()) is None
    assert counted == []


def test_nothing_is_stored_of_a_request_with_a_query_or_another_method() -> None:
    repeats = Repeats()
    for one in (scope(query=b"x=1"), scope(method="HEAD")):
        repeats.keep(one, ANSWER, Repeat(60, lambda: None))
    assert repeats.find(scope()) is None


def test_a_client_that_varies_a_header_fills_no_memory() -> None:
    repeats, _ = stored()
    for number in range(10 * MAX_ANSWERS):
        repeats.keep(scope(proto=str(number).encode()), ANSWER, Repeat(60, lambda: None))
    assert len(repeats._answers) <= MAX_ANSWERS


def test_nor_does_one_that_varies_the_spelling_of_the_path() -> None:
    repeats, _ = stored()
    for number in range(10 * MAX_ANSWERS):
        repeats.keep(scope(b"/%64ocument" + b"/" * number), ANSWER, Repeat(60, lambda: None))
    assert len(repeats._answers) <= MAX_ANSWERS
    assert len(repeats._paths) <= MAX_ANSWERS


def test_over_the_wire_the_application_makes_a_document_once_per_scheme(odd: Served) -> None:
    bodies = [odd.request("GET", "/document").content for _ in range(3)]  # type: ignore[attr-defined]
    secure = odd.request("GET", "/document", headers={"X-Forwarded-Proto": "https"})
    assert bodies == [b"1", b"1", b"1"]
    assert (secure.content, secure.headers["X-Scheme"]) == (b"2", "https")  # type: ignore[attr-defined]
    assert odd.request("GET", "/document?x=1").content == b"3"  # type: ignore[attr-defined]
    assert odd.request("GET", "/repeated").content == b"2"  # type: ignore[attr-defined]


def test_key_set_and_metadata_are_the_same_when_they_are_repeated(served: Served) -> None:
    for path in ("/.well-known/jwks.json", "/.well-known/openid-configuration"):
        first, *others = [served.request("GET", path) for _ in range(4)]
        for other in others:
            assert (other.status, other.content) == (200, first.content)  # type: ignore[attr-defined]
            assert without_date(other) == without_date(first)
        assert json.loads(first.content)  # type: ignore[attr-defined]
        assert first.headers["Access-Control-Allow-Origin"] == "*"
