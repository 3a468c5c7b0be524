"""/v1/schema describes every endpoint under /v1, and each works as described."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from accounts.models import User
from ciba.models import Prompt
from credentials.models import Role
from tests.support.described_responses import description
from tests.support.leases import Holder
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer

MADE_UP_ID = "00000000-0000-4000-8000-000000000000"
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = {
    "leases", "lease_request", "lease", "lease_renew", "lease_revoke", "lease_unwrap", "operation_types", "prompts",
    "prompt", "prompt_approve", "prompt_deny", "prompt_events", "use_spend",
}  # fmt: skip


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The name and pattern of every route."""
    for pattern in patterns:
        text = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, text)
        elif isinstance(pattern, URLPattern):
            yield str(pattern.name), text


def described_paths() -> dict[str, dict[str, Any]]:
    """The operations by method, of every described address with a made-up id."""
    paths = description().document["paths"]
    return {re.sub(r"\{\w+\}", MADE_UP_ID, template): item for template, item in paths.items()}


def test_no_endpoint_under_v1_is_missing() -> None:
    under_v1 = {name for name, pattern in routes(get_resolver().url_patterns) if pattern.startswith("v1/")}
    described = {resolve(path).url_name for path in described_paths()}
    assert described == under_v1 - {"schema"}
    assert description().operations.keys() == OPERATIONS


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_every_operation_says_what_it_does_for_whom_and_its_errors(operation_id: str) -> None:
    operation = description().operations[operation_id]
    assert re.search(r"^For ", operation["description"], re.MULTILINE), "say who may call it"
    assert {"400", "413", "500", "503"} <= operation["responses"].keys()
    assert ("401" in operation["responses"]) == ("security" in operation), "who must authenticate can fail to"


@pytest.mark.django_db
def test_methods_that_are_not_described_are_refused(browser_of_user: Client, signing: None) -> None:
    for path, item in described_paths().items():
        for method in set(METHODS) - item.keys():
            response = getattr(browser_of_user, method)(path)
            assert response.status_code == 405, (method, path)


@pytest.mark.django_db
def test_operations_with_a_credential_refuse_a_call_without_it(signing: None) -> None:
    for path, item in described_paths().items():
        for method, operation in item.items():
            response = getattr(Client(), method)(
                path, **({} if method == "get" else {"content_type": "application/json"})
            )
            assert (response.status_code == 401) == ("security" in operation) or response.status_code == 400, path


class Calls:
    """Calls for real. Django's client checks each answer (tests/support/described_responses.py)."""

    def __init__(self) -> None:
        self.operations: set[str] = set()

    def succeeded(self, operation_id: str, response: Any, status: int = 200) -> Any:
        """The body of a success of this operation."""
        assert response.status_code == status, (operation_id, response.content)
        item = description().find_path(response.request["PATH_INFO"])
        assert item is not None
        assert item[response.request["REQUEST_METHOD"].lower()]["operationId"] == operation_id
        self.operations.add(operation_id)
        return response.json() if response.content else None

    def call_prompts(self, agent: Caller, user: User, browser: Client) -> str:
        """Answers prompts. Returns the access token of an approved payment."""
        sent = [agent.ask(user, authorization_details=[one]).json() for one in (PAYMENT, CALENDAR)]
        agent.ask(user)
        first, second, without_resource = Prompt.objects.order_by("request__created_at")
        assert len(self.succeeded("prompts", browser.get("/v1/prompts"))["prompts"]) == 3
        assert self.succeeded("prompt_events", browser.get("/v1/prompts/events"), 204) is None
        prompt = self.succeeded("prompt", browser.get(f"/v1/prompts/{without_resource.pk}"))
        assert prompt["content"]["resource"] is None
        approved = self.succeeded("prompt_approve", browser.post(f"/v1/prompts/{first.pk}/approve"))
        denied = self.succeeded("prompt_deny", browser.post(f"/v1/prompts/{second.pk}/deny"))
        assert (approved["state"], denied["state"]) == ("approved", "denied")
        return str(agent.poll(sent[0]["auth_req_id"]).json()["access_token"])

    def call_leases(self, holder: Holder, role: Role, routine_role: Role) -> None:
        token, routine = holder.approved_token(role), holder.routine_token()
        assert holder.request_lease(routine).status_code == 403
        issued = self.succeeded("lease_request", holder.request_lease(token, key="key"), 201)
        path = f"/v1/leases/{issued['lease']['lease_id']}"
        assert self.succeeded("lease_request", holder.request_lease(token, key="key"), 200)["credential"]
        listed = self.succeeded("leases", holder.call("GET", "/v1/leases?ended=true", routine))
        assert listed["leases"] == [self.succeeded("lease", holder.call("GET", path, routine))] == [issued["lease"]]
        self.succeeded("lease_renew", holder.call("POST", f"{path}/renew", routine, {"lifetime": 900}))
        ended = self.succeeded("lease_revoke", holder.call("POST", f"{path}/revoke", routine))
        assert ended["state"] == "revoked"
        details = [{"type": routine_role.operation_type.name, "purpose": "nightly report"}]
        token = holder.routine_token(authorization_details=details)
        answer = holder.request_lease(token, "orders-routine", delivery="wrapped")
        handle = {"handle": self.succeeded("lease_request", answer, 201)["wrapped"]["handle"]}
        unwrapped = holder.call("POST", "/v1/leases/unwrap", None, handle)
        assert self.succeeded("lease_unwrap", unwrapped, 201)["credential"]


@pytest.mark.django_db(transaction=True)
def test_every_operation_works_as_described(
    agent: Caller, user: User, bank: ResourceServer, browser_of_user: Client, holder: Holder, role: Role,
    routine_role: Role,
) -> None:  # fmt: skip
    calls = Calls()
    listed = calls.succeeded("operation_types", Client().get("/v1/operation-types"))
    assert {one["type"] for one in listed} >= {"payment", "calendar"}
    token = calls.call_prompts(agent, user, browser_of_user)
    digest = bank.digest(PAYMENT, agent.agent.client_id, str(user.id))
    first = calls.succeeded("use_spend", bank.use(token, digest, "key"), 201)
    assert calls.succeeded("use_spend", bank.use(token, digest, "key"), 200) == first
    calls.call_leases(holder, role, routine_role)
    assert calls.operations == OPERATIONS


def test_an_answer_that_is_not_described_is_found() -> None:
    described = description()
    lost = HttpResponse(json.dumps({"error": "lost"}), status=404, content_type="application/json")
    with pytest.raises(AssertionError, match="an error that is not described"):
        described.check("GET", f"/v1/leases/{MADE_UP_ID}", lost)
    teapot = HttpResponse("{}", status=418, content_type="application/json")
    with pytest.raises(AssertionError, match="a status that is not described"):
        described.check("GET", "/v1/leases", teapot)
    for body in ({"leases": [], "more": 1}, {"leases": [{}]}, {}):
        other = HttpResponse(json.dumps(body), content_type="application/json")
        with pytest.raises(AssertionError, match="in GET /v1/leases answered 200"):
            described.check("GET", "/v1/leases", other)
    with pytest.raises(AssertionError, match="an address that is not described"):
        described.check("GET", "/v1/more", other)
