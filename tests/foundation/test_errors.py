"""What an error says on the wire: RFC 6749 5.2 allows neither quotes nor backslashes nor anything beyond ASCII."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from clients.models import CIBA
from foundation.endpoint import error_response
from foundation.errors import InvalidRequest
from oauth.authorization.authorization_response import error_url
from tests.support.keys import new_key

ALLOWED = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]*")


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ('one of "ES256", "RS256"', "one of 'ES256', 'RS256'"),
        ("the person\u2019s \u201ccode\u201d", "the person's 'code'"),
        ("\u201eso\u201c, \u00abso\u00bb, \u2039so\u203a, `so`", "'so', 'so', 'so', 'so'"),
        ("3\u20135 keys \u2014 no more\u2026", "3-5 keys - no more..."),
        ("two\r\nlines\tand\u00a0more", "two  lines and more"),
        ("it's", "it's"),
        ("a\\b, caf\u00e9 \u2713", "a?b, caf? ?"),
    ],
)
def test_quotes_and_their_like_are_spelled_in_ascii(said: str, reply: str) -> None:
    error = InvalidRequest(said)
    assert error.body()["error_description"] == reply
    answer = error_response(error, request=None)  # type: ignore[arg-type]  # looked at for a refused client alone
    assert json.loads(answer.content)["error_description"] == reply
    query = parse_qs(urlsplit(error_url("https://app.example.com/", "", error)).query)
    assert query["error_description"] == [reply]


@given(st.text())
def test_whatever_is_said_can_be_reported(said: str) -> None:
    """Also inside the quotes of a WWW-Authenticate header."""
    assert ALLOWED.fullmatch(InvalidRequest(said).description)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        ({"backchannel_authentication_request_signing_alg": "none"}, "'ES256'"),
        ({"backchannel_authentication_request_signing_alg": ["RS512"]}, "'PS256'"),
        ({"backchannel_authentication_request_signing_alg": 7}, "'EdDSA'"),
    ],
    ids=["another value", "a list", "a number"],
)
def test_a_registration_reads_quotes(sent: dict[str, object], reply: str, settings: Any) -> None:
    settings.REGISTRATION = "open"
    jwks = {"keys": [new_key("ES256").as_dict(private=False)]}
    agent = {"grant_types": [CIBA], "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}
    answer = Client().post("/oidc/register", json.dumps(agent | sent), content_type="application/json")
    assert answer.status_code == 400
    assert reply in answer.json()["error_description"] and "?" not in answer.json()["error_description"]
