"""/v1 by its own description: schemathesis makes requests of /v1/schema, right ones and wrong ones.

The server is called as granian calls it, through authserver.wsgi, in this process.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import given
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.models import User
from authserver.wsgi import application
from ciba.models import Prompt
from credentials.models import Backend, Lease
from tests.properties.administration import make_rows
from tests.properties.conftest import undone
from tests.support.budget import examples
from tests.support.leases import allow_leases
from tests.support.world import Caller, ResourceServer

pytestmark = [pytest.mark.django_db, pytest.mark.soak]

OPERATIONS = 13  # more than there were would be tried too; fewer would go unnoticed
CSRF = "x" * 32


@contextmanager
def one_connection() -> Iterator[None]:
    """As in Django's own test client: the connection of the test's transaction stays open from request to request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


@pytest.fixture
def callers(agent: Caller, user: User, administrator: User, bank: ResourceServer) -> list[dict[str, Any]]:
    """A stranger, a signed-in user, an agent with a token for leases, one whose user said yes to a role, and a
    resource server.
    """
    make_rows(agent, user, administrator)
    Backend.objects.update(status=Backend.Status.ENABLED)
    holder = allow_leases(agent, user)
    role = Lease.objects.get().role
    browser = Client()
    browser.force_login(user)
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()} | {"csrftoken": CSRF}
    tokens = [holder.routine_token(), holder.approved_token(role)]
    return [
        {},
        {"cookies": cookies, "headers": {"X-CSRFToken": CSRF}},
        *({"headers": {"Authorization": f"Bearer {token}"}} for token in tokens),
        {"headers": {"Authorization": bank.authorization}},
    ]


@pytest.fixture
def described(callers: list[dict[str, Any]]) -> Iterator[list[Any]]:
    with one_connection():
        schema = schemathesis.openapi.from_wsgi("/v1/schema?format=json", application)
        yield [found.ok() for found in schema.get_all_operations()]


def send_all(operation: Any, mode: GenerationMode, callers: list[dict[str, Any]], answers: Counter[int]) -> None:
    rows = {"lease_id": str(Lease.objects.get().pk), "prompt_id": str(Prompt.objects.first().pk)}  # type: ignore[union-attr]

    @examples(15, 1_500)
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        for place, caller in enumerate(callers):
            if place and case.path_parameters and mode is GenerationMode.POSITIVE:
                case.path_parameters = {name: rows[name] for name in case.path_parameters}
            with undone():
                response = case.call(**caller)
                # The lease's system is not there: 502 and 503 say so, and nothing else may.
                assert response.status_code < 500 or response.json()["error"] != "server_error", case.as_curl_command()
                case.validate_response(
                    response, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
                )
                answers[response.status_code] += 1

    send()


def test_every_described_operation_keeps_to_its_description(
    callers: list[dict[str, Any]], described: list[Any]
) -> None:
    answers = Counter[int]()
    assert len(described) >= OPERATIONS
    for operation in described:
        send_all(operation, GenerationMode.POSITIVE, callers, answers)
        try:
            send_all(operation, GenerationMode.NEGATIVE, callers, answers)
        except Unsatisfiable:
            assert not operation.body and not operation.path_parameters, (
                "only what takes nothing cannot be called wrongly"
            )
    assert {200, 400, 401, 403, 404} <= set(answers), answers
