"""How many statements each protocol call sends to PostgreSQL: pinned, so that none slips in unseen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from ciba.models import Prompt
from clients.models import CIBA, CLIENT_CREDENTIALS, Agent, AgentSecret
from foundation.pending_answers import FRONT, RESUMED, Resumed, Wait, parked, read_revisions
from operations.models import OperationType
from tests.clients.test_registration import body, register, with_key
from tests.support.consent import WebAgent, allow, make_web_agent, query_of
from tests.support.world import CALENDAR, FORM, JWT_BEARER, PAYMENT, Caller, ResourceServer, sign_in

# Committing for real: no savepoints of the test's own are counted.
pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def statements(count: int, *, transactions: int = 1) -> Iterator[list[str]]:
    """Exactly so many inside, BEGIN and COMMIT aside, in at most so many transactions; gives them to look at."""
    sent: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield sent
    every = [query["sql"] for query in captured.captured_queries]
    sent += [sql for sql in every if sql not in ("BEGIN", "COMMIT")]
    assert len(sent) == count, "\n".join(sent)
    assert every.count("BEGIN") <= transactions, "\n".join(every)


@pytest.fixture
def warm(agent: Caller, user: User) -> Caller:
    """Signing keys and the Redis script are loaded."""
    agent.poll(agent.ask(user).json()["auth_req_id"])
    agent.client_credentials(scope="calendar.read")
    return agent


def test_client_credentials(warm: Caller) -> None:
    with statements(4, transactions=0):  # agent, jti, scopes, event
        warm.client_credentials(scope="calendar.read")


def test_client_credentials_by_a_secret(warm: Caller) -> None:
    secret = AgentSecret.issue(warm.agent, timezone.now())
    Agent.objects.filter(pk=warm.agent.pk).update(token_endpoint_auth_method=Agent.AuthMethod.CLIENT_SECRET_POST)
    form = {"grant_type": CLIENT_CREDENTIALS, "client_id": warm.agent.client_id, "scope": "calendar.read"}

    def ask(secret: str) -> int:
        body = urlencode(form | {"client_secret": secret})
        return Client().post("/oauth/token", body, content_type=FORM).status_code

    with statements(3, transactions=0):  # agent with its secret, scopes, event
        assert ask(secret) == 200
    with statements(1, transactions=0):
        assert ask(f"{secret}x") == 401


def test_client_credentials_with_details(warm: Caller) -> None:
    with statements(5):  # agent, jti, types, grant, event
        warm.client_credentials(authorization_details=[CALENDAR])


def test_a_pending_poll_writes_the_replay_row_alone(warm: Caller, user: User) -> None:
    auth_req_id = warm.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    with statements(3, transactions=0) as sent:  # agent, jti, request
        assert warm.poll(auth_req_id).json()["error"] == "authorization_pending"
    (write,) = [sql for sql in sent if not sql.startswith("SELECT")]
    assert write.startswith("INSERT INTO clients_spentassertion")


def test_a_poll_that_waits_is_authenticated_once_and_looks_again_with_one(warm: Caller, user: User) -> None:
    """As the front does it: asked, parked, asked again when something may have changed, and once more at the end."""
    auth_req_id = warm.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    form = {"grant_type": CIBA, "auth_req_id": auth_req_id, "client_assertion_type": JWT_BEARER}
    body = urlencode(form | {"client_assertion": warm.assertion()})
    client = Client()

    def post(body: str, **environ: object) -> Any:
        return client.post("/oauth/token", body, content_type=FORM, headers={"Prefer": "wait=30"}, **environ)

    with statements(3, transactions=0) as sent:  # agent, jti, request
        wait = parked(post(body, **{FRONT: True}))
    (write,) = [sql for sql in sent if not sql.startswith("SELECT")]
    assert write.startswith("INSERT INTO clients_spent")
    assert isinstance(wait, Wait) and 29 < wait.seconds <= 30
    with statements(1):  # request
        assert parked(post("", **{FRONT: True, RESUMED: Resumed(wait.state, is_last=False)})) is not None
    with statements(1):  # what everybody waits for, in one
        assert read_revisions([wait.watch.topic]) == {wait.watch.topic: wait.watch.revision}
    with statements(1):
        last = post("", **{FRONT: True, RESUMED: Resumed(wait.state, is_last=True)})
    assert parked(last) is None and last.json()["error"] == "authorization_pending"
    assert last["Preference-Applied"] == "wait=30"
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.order_by('request__created_at').last().id}/approve")
    with statements(4):  # request, state, event, event
        assert post("", **{FRONT: True, RESUMED: Resumed(wait.state, is_last=False)}).status_code == 200


def test_a_redemption(warm: Caller, user: User) -> None:
    auth_req_id = warm.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.order_by('request__created_at').last().id}/approve")
    with statements(6):  # agent, jti, request, state, event, event
        assert warm.poll(auth_req_id).status_code == 200


def test_an_answer(warm: Caller, user: User) -> None:
    warm.ask(user, authorization_details=[PAYMENT])
    prompt, browser = Prompt.objects.latest("request__created_at"), sign_in(user)
    # session, user, prompt, state, answer, work twice, approval, grant, event, prompt
    with statements(11):
        assert browser.post(f"/v1/prompts/{prompt.id}/approve").status_code == 200


def test_asking(warm: Caller, user: User) -> None:
    with statements(11):  # agent, jti, type, user, its lock, pending, request, its version, prompt, devices, event
        assert warm.ask(user, authorization_details=[PAYMENT]).status_code == 200


def test_introspection_and_a_use(warm: Caller, user: User, bank: ResourceServer) -> None:
    auth_req_id = warm.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.order_by('request__created_at').last().id}/approve")
    token = warm.poll(auth_req_id).json()["access_token"]
    with statements(1):  # the credential, whether the grant is alive and the token not revoked, uses left
        assert bank.introspect(token).json()["active"]
    digest = bank.digest(PAYMENT, warm.agent.client_id, str(user.id))
    with statements(6):  # the credential, grant locked, alive, uses left, use, event
        assert bank.use(token, digest).status_code == 201


class TestTheCodeFlow:
    """At most 7 for a code and 5 for a refresh token, the agent's proof included."""

    @pytest.fixture
    def web(self, warm: Caller) -> WebAgent:
        return make_web_agent()

    @pytest.fixture
    def public(self, warm: Caller) -> WebAgent:
        return make_web_agent("Public", method="none")

    def code(self, web: WebAgent, browser: Client) -> str:
        return query_of(allow(browser, web.url()))["code"]

    def test_a_code(self, web: WebAgent, public: WebAgent, browser_of_user: Client) -> None:
        code = self.code(web, browser_of_user)
        with statements(6):  # agent, jti, code with its grant, used up, refresh token, event
            assert web.exchange(code).status_code == 200
        code = self.code(public, browser_of_user)
        with statements(5):  # the same without jti
            assert public.exchange(code).status_code == 200

    def test_a_refresh_token(self, web: WebAgent, public: WebAgent, browser_of_user: Client) -> None:
        token = web.tokens(browser_of_user)["refresh_token"]
        with statements(5):  # agent, jti, token with its grant, used up and succeeded, event
            assert web.refresh(token).status_code == 200
        token = public.tokens(browser_of_user)["refresh_token"]
        with statements(4):
            assert public.refresh(token).status_code == 200
        with statements(4):  # agent, token with its grant and successor, two events
            assert public.refresh(token).status_code == 200

    def test_introspection_by_its_agent(self, web: WebAgent, browser_of_user: Client) -> None:
        tokens = web.tokens(browser_of_user)
        for token in (tokens["access_token"], tokens["refresh_token"]):
            with statements(3):  # agent, jti, and one for the token
                assert web.post("/oauth/introspect", {"token": token}).json()["active"]

    def test_userinfo(self, web: WebAgent, browser_of_user: Client) -> None:
        token = web.tokens(browser_of_user, scope="openid")["access_token"]
        with statements(1):
            assert Client().get("/userinfo", headers={"Authorization": f"Bearer {token}"}).status_code == 200

    def test_client_credentials_write_the_event_and_the_proof_alone(self, warm: Caller) -> None:
        with statements(4) as sent:
            warm.client_credentials(scope="calendar.read")
        writes = [sql.split('"')[0].split(" (")[0] for sql in sent if not sql.startswith("SELECT")]
        assert writes == ["INSERT INTO clients_spentassertion", "INSERT INTO "]
        assert "audit_event" in sent[-1]


@pytest.mark.parametrize(
    ("method", "count"),
    # the attempt, how many there were, agent, what it may ask for, registration, (secret,) event
    [("none", 6), ("private_key_jwt", 6), ("client_secret_basic", 7)],
)
def test_a_registration(
    bank: ResourceServer, payment_type: OperationType, user: User, settings: Any, method: str, count: int
) -> None:
    settings.REGISTRATION, settings.REGISTRATION_SECRETS = "open", True
    settings.REGISTRATION_SCOPES, settings.REGISTRATION_OPERATION_TYPES = ["email", "calendar.read"], ["payment"]
    settings.REGISTRATION_USERS = [user.email]
    sent = (
        with_key(token_endpoint_auth_method=method)
        if method == "private_key_jwt"
        else body(token_endpoint_auth_method=method)
    )
    with statements(count):
        assert register(sent).status_code == 201
    made = Agent.objects.get(registration_source="dcr")
    assert made.links.get(is_linked=True).user == user
    assert [one.name for one in made.operation_types.all()] == ["payment"]


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/jwks.json", "/livez"])
def test_none_at_all(warm: Caller, path: str) -> None:
    Client().get(path)
    with statements(0):
        assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/bc-authorize", "/oauth/introspect", "/oauth/revoke", "/v1/uses"])
def test_nobody_costs_nothing(warm: Caller, path: str) -> None:
    """An unauthenticated call is refused before any statement."""
    with statements(0):
        assert Client().post(path, "a=b", content_type="application/x-www-form-urlencoded").status_code in {400, 401}
