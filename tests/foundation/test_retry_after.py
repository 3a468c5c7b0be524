"""Whoever is told to come later is told when (RFC 6585 4, RFC 9110 15.6.4, CIBA Core 11)."""

import importlib
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from django.test import RequestFactory

from foundation.endpoint import error_response
from foundation.errors import ProtocolError

LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def errors(kind: type[ProtocolError] = ProtocolError) -> Iterator[type[ProtocolError]]:
    for one in kind.__subclasses__():
        yield one
        yield from errors(one)


def come_later() -> list[type[ProtocolError]]:
    for module in ("authserver.urls", "web.application"):  # they load whatever answers
        importlib.import_module(module)
    return [one for one in errors() if one.status in LATER or getattr(one, "code", "") == "slow_down"]


def test_there_are_such_errors() -> None:
    names = {one.__name__ for one in come_later()}
    assert {"SlowDown", "PollsTooMuch", "TooManyRegistrations", "TooManyStreams", "QuotaExceeded", "NoAnswer"} <= names


@pytest.mark.parametrize("kind", come_later(), ids=lambda kind: kind.__name__)
def test_every_429_503_and_slow_down_says_when(kind: type[ProtocolError]) -> None:
    response = error_response(kind(), RequestFactory().get("/"))
    assert int(response["Retry-After"]) > 0


def test_other_errors_say_nothing_of_time() -> None:
    assert not [one for one in errors() if one not in come_later() and one.default_retry_after is not None]
