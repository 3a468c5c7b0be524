"""Routine work, unasked: the client_credentials grant and the token endpoint's own errors."""

import json
from typing import Any

import pytest
from django.test import Client
from joserfc import jwt
from joserfc.jwk import KeySet

from audit.models import Event
from clients.models import CIBA
from oauth.models import Grant
from operations.models import OperationType, Resource, Scope
from tests.support.world import CALENDAR, FORM, PAYMENT, Caller, ResourceServer, make_caller, make_type

pytestmark = pytest.mark.django_db


def jwks() -> KeySet:
    return KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())


def test_the_access_token_is_an_rfc_9068_token(agent: Caller, bank: ResourceServer) -> None:
    response = agent.client_credentials(scope="calendar.read")
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "calendar.read")
    token = jwt.decode(body["access_token"], jwks(), algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    claims = token.claims
    assert claims.keys() == {"iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope"}
    assert claims["iss"] == "http://localhost:8000"
    assert claims["aud"] == bank.resource.identifier
    assert claims["sub"] == claims["client_id"] == agent.agent.client_id
    assert claims["exp"] - claims["iat"] == 300
    assert not Grant.objects.exists(), "scopes alone make no grant"


def test_details_make_a_grant_without_a_user(agent: Caller, bank: ResourceServer) -> None:
    body = agent.client_credentials(authorization_details=[CALENDAR]).json()
    assert body["authorization_details"] == [CALENDAR]
    grant = Grant.objects.get()
    assert (grant.user, grant.uses_left, grant.authorization_details) == (None, None, [CALENDAR])
    claims = jwt.decode(body["access_token"], jwks(), algorithms=["ES256"]).claims
    digest = bank.digest(CALENDAR, agent.agent.client_id, agent.agent.client_id)
    assert claims["operation_digest"] == grant.operation_digest == digest
    assert claims["grant_id"] == str(grant.id)
    assert "act" not in claims


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a user's scope without a user", {"scope": "openid"}, "invalid_scope"),
    ("the same with another", {"scope": "openid calendar.read"}, "invalid_scope"),
    ("an unknown scope", {"scope": "nobody.knows"}, "invalid_scope"),
    ("one of two unknown", {"scope": "calendar.read nobody.knows"}, "invalid_scope"),
    ("a scope that is not routine", {"scope": "accounts.close"}, "invalid_scope"),
    ("a tab for a space", {"scope": "calendar.read\tcalendar.read"}, "invalid_scope"),
    ("forty scopes", {"scope": " ".join(f"s{n}" for n in range(40))}, "invalid_scope"),
    ("no such resource", {"scope": "calendar.read", "resource": "https://x.example/"}, "invalid_target"),
]
REFUSED_DETAILS: list[tuple[str, Any]] = [
    ("a critical operation", [PAYMENT]),
    ("a critical one smuggled in", [CALENDAR, PAYMENT]),
    ("an empty list", []),
    ("an object and no list", CALENDAR),
    ("eleven of them", [CALENDAR] * 11),
    ("a text in the list", ["calendar"]),
    ("no type", [{"day": "2026-11-24"}]),
    ("a numeric type", [{"type": 7}]),
    ("an unknown type", [{"type": "x"}]),
    ("a field too many", [{**CALENDAR, "more": 1}]),
    ("a field missing", [{"type": "calendar"}]),
    ("a bidi override", [{**CALENDAR, "day": "\u202e"}]),
    ("no JSON", "{"),
    ("a repeated name", '[{"type":"calendar","type":"payment"}]'),
    ("deep JSON", "[" * 3000),
    ("a number beyond all", '[{"type":"calendar","day":1e999}]'),
    ("not a number", '[{"type":"calendar","day":NaN}]'),
    ("an unsafe integer", '[{"type":"calendar","day":9007199254740993}]'),
    ("half a surrogate", '[{"type":"calendar","day":"\\ud800"}]'),
    ("a NUL", '[{"type":"calendar","day":"\\u0000"}]'),
]
REFUSED += [(i, {"authorization_details": d}, "invalid_authorization_details") for i, d in REFUSED_DETAILS]


@pytest.mark.parametrize(("parameters", "error"), [pytest.param(p, e, id=i) for i, p, e in REFUSED])
def test_what_is_refused(agent: Caller, parameters: dict[str, Any], error: str) -> None:
    response = agent.client_credentials(**parameters)
    assert response.status_code == 400
    assert response.json()["error"] == error
    assert response["Cache-Control"] == "no-store"
    assert not Grant.objects.exists()
    assert Event.objects.filter(kind="token.refused").count() == 1
    assert not Event.objects.filter(kind="token.issued").exists()


def test_an_empty_list_allows_nothing(signing: None, bank: ResourceServer, calendar_type: OperationType) -> None:
    no_one = make_caller("Nobody")
    assert no_one.client_credentials(scope="calendar.read").json()["error"] == "invalid_scope"
    sent = no_one.client_credentials(authorization_details=[CALENDAR]).json()
    assert sent["error"] == "invalid_authorization_details"


def test_what_was_deactivated_is_unknown(agent: Caller, bank: ResourceServer, calendar_type: OperationType) -> None:
    Scope.objects.filter(name="calendar.read").update(is_active=False)
    assert agent.client_credentials(scope="calendar.read").json()["error"] == "invalid_scope"
    OperationType.objects.filter(pk=calendar_type.pk).update(is_active=False)
    sent = agent.client_credentials(authorization_details=[CALENDAR]).json()
    assert sent["error"] == "invalid_authorization_details"


def test_a_deactivated_resource_ends_its_tokens(agent: Caller, bank: ResourceServer) -> None:
    token = agent.client_credentials(authorization_details=[CALENDAR]).json()["access_token"]
    assert bank.introspect(token).json()["active"]
    Resource.objects.filter(pk=bank.resource.pk).update(is_active=False)
    assert bank.introspect(token).status_code == 401
    assert agent.client_credentials(scope="calendar.read").json()["error"] == "invalid_scope"


def test_one_token_is_for_one_resource(agent: Caller, bank: ResourceServer) -> None:
    mail = Resource.objects.create(identifier="https://mail.example.com/", name="Mail")
    agent.agent.scopes.add(Scope.objects.create(resource=mail, name="mail.read", description="Read your mail"))
    agent.agent.operation_types.add(make_type(mail, "mail", {"type": "object", "additionalProperties": False}))
    for mixed in ({"scope": "calendar.read mail.read"}, {"scope": "mail.read", "authorization_details": [CALENDAR]}):
        assert agent.client_credentials(**mixed).json()["error"] == "invalid_scope"
        named = agent.client_credentials(**mixed, resource=mail.identifier)
        assert named.json()["error"] == "invalid_target"
    assert agent.client_credentials(scope="mail.read", resource=mail.identifier).status_code == 200
    assert agent.client_credentials(scope="mail.read", resource=bank.resource.identifier).status_code == 400


class TestTheTokenEndpoint:
    def test_methods(self) -> None:
        for method in ("get", "put", "delete", "head", "options", "patch"):
            response = getattr(Client(), method)("/oauth/token")
            assert response.status_code == 405
            assert response["Allow"] == "POST"

    @pytest.mark.parametrize("path", ["/oauth/token", "/oauth/token/"])
    def test_with_and_without_a_slash(self, agent: Caller, path: str) -> None:
        assert agent.post(path, grant_type="client_credentials", scope="calendar.read").status_code == 200

    @pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
    def test_another_content_type(self, content_type: str) -> None:
        response = Client().post("/oauth/token", b"grant_type=x", content_type=content_type)
        assert response.status_code == 400
        assert response.json()["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"grant_type=a&grant_type=b", id="repeated"),
            pytest.param(b"grant_type=%ff%fe", id="no UTF-8"),
            pytest.param("grant_type=é".encode(), id="not encoded"),
            pytest.param(b"grant_type=a%00b", id="a NUL"),
            pytest.param(b"grant_type", id="no value at all"),
            pytest.param(b"&".join(b"p%d=x" % n for n in range(200)), id="two hundred parameters"),
        ],
    )
    def test_bodies_that_are_no_form(self, body: bytes) -> None:
        response = Client().post("/oauth/token", body, content_type=FORM)
        assert response.status_code == 400
        assert response.json()["error"] == "invalid_request"

    def test_an_oversized_body(self) -> None:
        response = Client().post("/oauth/token", b"a=" + b"x" * 1024 * 1024, content_type=FORM)
        assert response.status_code == 413
        assert response.json()["error"] == "invalid_request"

    def test_grant_types(self, agent: Caller) -> None:
        assert agent.post("/oauth/token").json()["error"] == "invalid_request"
        for unknown in ("password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "x" * 5000):
            assert agent.post("/oauth/token", grant_type=unknown).json()["error"] == "unsupported_grant_type"
        agent.agent.grant_types = ["client_credentials"]
        agent.agent.save()
        assert agent.post("/oauth/token", grant_type=CIBA, auth_req_id="x").json()["error"] == "unauthorized_client"

    def test_an_empty_parameter_counts_as_absent(self, agent: Caller) -> None:
        assert agent.client_credentials(scope="calendar.read", resource="").status_code == 200


def test_error_descriptions_hold_only_what_rfc_6749_allows(agent: Caller) -> None:
    response = agent.client_credentials(authorization_details=[{"type": "calendar", 'däy"\\': 1}])
    text = json.loads(response.content)["error_description"]
    assert all(" " <= character <= "~" and character not in '"\\' for character in text)
