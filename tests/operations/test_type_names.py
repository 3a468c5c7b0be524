"""Names of operation types: every character of a URI, from the administration to the request and back."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from ciba.models import BackchannelRequest
from operations.models import OperationType, OperationTypeVersion, Resource
from tests.support.world import CALENDAR_SCHEMA, Caller, ResourceServer, allow_everything, make_caller, make_type

pytestmark = pytest.mark.django_db

NAMES = [
    "https://bank.example.com/types/payment?version=2#initiation",
    "urn:bank:pay:(a;b)=c,d!$&'*+~@[x]",
    "https://bank.example.com/%7Epay",
    "https://" + "a" * 243 + ".com",
]


def form_of(resource: Resource, **fields: Any) -> dict[str, Any]:
    return {
        "resource": str(resource.pk), "name": "payment", "is_active": "on", "schema": json.dumps(CALENDAR_SCHEMA),
        "title": "Payment", "summary": "On {day|date}", "risk": "routine", "assurance": "session", "uses": 1,
        "lifetime": 600,
    } | fields  # fmt: skip


@pytest.fixture
def admin(administrator: User) -> Client:
    browser = Client()
    browser.force_login(administrator)
    return browser


@pytest.mark.parametrize("name", NAMES)
def test_a_type_may_be_named_by_any_uri(
    admin: Client, bank: ResourceServer, user: User, signing: None, name: str
) -> None:
    assert admin.post("/admin/operations/operationtype/add/", form_of(bank.resource, name=name)).status_code == 302
    agent = allow_everything(make_caller(), user)
    assert [one["type"] for one in Client().get("/v1/operation-types").json()] == [name]
    assert name in Client().get("/.well-known/openid-configuration").json()["authorization_details_types_supported"]
    assert agent.ask(user, authorization_details=[{"type": name, "day": "2026-11-24"}]).status_code == 200
    assert BackchannelRequest.objects.get().authorization_details[0]["type"] == name
    refused = agent.ask(user, authorization_details=[{"type": name, "day": 7}])
    assert refused.status_code == 400 and name in refused.json()["error_description"]
    pk = OperationType.objects.get().pk
    assert admin.get(f"/admin/operations/operationtype/{pk}/change/").status_code == 200
    assert admin.get("/admin/operations/operationtype/", {"q": name}).status_code == 200


@pytest.mark.parametrize(
    "name", ["a b", 'a"b', "a\\b", "é", "a<b>", "a{b}", "a|b", "a^b", "a`b", "a\nb", "", "a" * 256]
)
def test_a_type_may_not_be_named_by_anything_else(admin: Client, bank: ResourceServer, name: str) -> None:
    response = admin.post("/admin/operations/operationtype/add/", form_of(bank.resource, name=name))
    assert response.status_code == 200 and response.context["adminform"].form.errors["name"]


def test_a_stored_pattern_that_no_longer_compiles(admin: Client, agent: Caller, user: User) -> None:
    """The agent is refused, and not by an error of the server; the administrator sees which type it is."""
    stored = {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string", "pattern": "x"}}}
    kind = make_type(Resource.objects.get(), "old", stored)
    stored["properties"]["a"]["pattern"] = r"(?i)(x)\1"  # type: ignore[index]
    OperationTypeVersion.objects.filter(pk=kind.current_id).update(schema=stored)
    allow_everything(agent)
    refused = agent.ask(user, authorization_details=[{"type": "old", "a": "xx"}])
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_authorization_details"
    assert "no longer supports" in refused.json()["error_description"]
    assert "must start a group" in admin.get("/admin/operations/operationtype/").content.decode()


@pytest.mark.parametrize(
    ("pattern", "said"), [(r"(a)\1", "back-references"), ("(?=a)", "look-around"), ("(", "does not compile")]
)
def test_the_administrator_reads_why_a_pattern_is_refused(
    admin: Client, bank: ResourceServer, pattern: str, said: str
) -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"type": "string", "pattern": pattern}},
    }
    form = form_of(bank.resource, schema=json.dumps(schema), summary="x")
    response = admin.post("/admin/operations/operationtype/add/", form)
    assert said in str(response.context["adminform"].form.errors["schema"])
