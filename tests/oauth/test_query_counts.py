"""How many statements each protocol call sends to PostgreSQL: pinned, so that none slips in unseen."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from ciba.models import Prompt
from tests.world import CALENDAR, PAYMENT, Caller, ResourceServer, sign_in

# Committing for real: no savepoints of the test's own are counted.
pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def statements(count: int) -> Iterator[list[str]]:
    """Exactly so many inside, BEGIN and COMMIT aside; gives them to look at."""
    sent: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield sent
    sent += [query["sql"] for query in captured.captured_queries if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(sent) == count, "\n".join(sent)


@pytest.fixture
def warm(agent: Caller, person: User) -> Caller:
    """Signing keys and the Redis script are loaded."""
    agent.poll(agent.ask(person).json()["auth_req_id"])
    agent.client_credentials(scope="calendar.read")
    return agent


def test_client_credentials(warm: Caller) -> None:
    with statements(4):  # agent, jti, scopes, event
        warm.client_credentials(scope="calendar.read")


def test_client_credentials_with_details(warm: Caller) -> None:
    with statements(5):  # agent, jti, types, grant, event
        warm.client_credentials(authorization_details=[CALENDAR])


def test_a_pending_poll_writes_the_replay_row_alone(warm: Caller, person: User) -> None:
    auth_req_id = warm.ask(person, authorization_details=[PAYMENT]).json()["auth_req_id"]
    with statements(4) as sent:  # agent, jti, request, is it alive
        assert warm.poll(auth_req_id).json()["error"] == "authorization_pending"
    (write,) = [sql for sql in sent if not sql.startswith("SELECT")]
    assert write.startswith("INSERT INTO clients_spentassertion")


def test_a_redemption(warm: Caller, person: User) -> None:
    auth_req_id = warm.ask(person, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(person).post(f"/v1/prompts/{Prompt.objects.order_by('request__created_at').last().id}/approve")
    with statements(8):  # agent, jti, request, alive, state, event, approval, event
        assert warm.poll(auth_req_id).status_code == 200


def test_asking(warm: Caller, person: User) -> None:
    with statements(11):  # agent, jti, type, person, link, pending, request, its version, prompt, devices, event
        assert warm.ask(person, authorization_details=[PAYMENT]).status_code == 200


def test_introspection_and_a_use(warm: Caller, person: User, bank: ResourceServer) -> None:
    auth_req_id = warm.ask(person, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(person).post(f"/v1/prompts/{Prompt.objects.order_by('request__created_at').last().id}/approve")
    token = warm.poll(auth_req_id).json()["access_token"]
    with statements(1):  # the credential, whether the grant is alive and the token not revoked, uses left
        assert bank.introspect(token).json()["active"]
    digest = bank.digest(PAYMENT, warm.agent.client_id, str(person.id))
    with statements(6):  # the credential, grant locked, alive, uses left, use, event
        assert bank.use(token, digest).status_code == 201


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/livez"])
def test_none_at_all(warm: Caller, path: str) -> None:
    with statements(0):
        assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/bc-authorize", "/oauth/introspect", "/v1/uses"])
def test_nobody_costs_nothing(warm: Caller, path: str) -> None:
    """An unauthenticated call is refused before any statement."""
    with statements(0):
        assert Client().post(path, "a=b", content_type="application/x-www-form-urlencoded").status_code in {400, 401}
