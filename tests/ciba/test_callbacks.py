"""Ping and push (CIBA Core 10.2, 10.3, 12) to a real HTTPS endpoint of an agent."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import KeySet

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba import lifecycle
from ciba.callbacks import sender
from ciba.callbacks import state as delivery
from ciba.models import BackchannelRequest, Prompt
from clients import lifecycle as agents
from clients.models import Agent
from foundation import outbox
from foundation.models import Work
from foundation.sealed_columns import reseal
from oauth.models import Grant
from oauth.tokens.issuance import RT_HASH_CLAIM, Issue, UserAuthentication, half_hash, mint
from oauth.tokens.key_binding import UNBOUND
from tests.ciba.conftest import TOKEN, do_due_work
from tests.patience import PATIENCE, until
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.world import PAYMENT, Caller, ResourceServer, make_caller, post_form

pytestmark = pytest.mark.django_db(transaction=True)  # nobody calls out inside a transaction
SEALED = ("sealed_auth_req_id", "sealed_notification_token", "sealed_token_response")


def ask(caller: Caller, user: User, **more: Any) -> str:
    more.setdefault("authorization_details", [PAYMENT])
    response = caller.ask(user, client_notification_token=TOKEN, **more)
    assert response.status_code == 200, response.content
    return str(response.json()["auth_req_id"])


def decide(browser: Client, answer: str) -> None:
    prompt = Prompt.objects.order_by("-request__created_at")[0]
    assert browser.post(f"/v1/prompts/{prompt.id}/{answer}").status_code == 200


def row() -> BackchannelRequest:
    return BackchannelRequest.objects.get()


def do_and_close(work_id: Any) -> bool:
    try:
        return outbox.do(work_id)
    finally:
        connection.close()


def nothing_is_stored() -> bool:
    return all(getattr(row(), name) is None for name in SEALED) and row().callback_deadline_at is None


def kinds() -> list[str]:
    return list(Event.objects.order_by("id").values_list("kind", flat=True))


def keys() -> KeySet:
    return KeySet.import_key_set(Client().get("/.well-known/jwks.json").json())


class TestAsking:
    def test_interval_is_for_those_who_may_poll(self, pinged: Caller, pushed: Caller, user: User) -> None:
        """CIBA Core 7.3."""
        for caller, reply in ((pinged, True), (pushed, False)):
            response = caller.ask(user, client_notification_token=TOKEN)
            assert ("interval" in response.json()) == reply

    @pytest.mark.parametrize("token", [None, "", "short", "x" * 1025, "not a bearer token at all"])
    def test_a_token_is_required(self, pinged: Caller, pushed: Caller, user: User, token: str | None) -> None:
        for caller in (pinged, pushed):
            response = caller.ask(user, **({} if token is None else {"client_notification_token": token}))
            assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
        assert not BackchannelRequest.objects.exists()

    def test_nothing_of_it_lies_open(self, pushed: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = ask(pushed, user)
        decide(browser_of_user, "approve")
        stored = [str(value) for table in (BackchannelRequest, Work) for one in table.objects.values() for value in one]
        texts = [*stored, *Event.objects.values_list("body", flat=True), *map(str, Work.objects.values_list("payload"))]
        assert not any(secret in text for secret in (auth_req_id, TOKEN) for text in texts)
        for name in SEALED[:2]:
            sealed = bytes(getattr(row(), name))
            assert auth_req_id.encode() not in sealed and TOKEN.encode() not in sealed

    def test_a_polling_agent_leaves_nothing_to_seal(self, agent: Caller, user: User) -> None:
        agent.ask(user)
        assert nothing_is_stored()

    def test_the_callback_continues_the_trace_of_the_answer(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ask(pushed, user)
        prompt = Prompt.objects.get()
        browser_of_user.post(f"/v1/prompts/{prompt.id}/approve", headers={"traceparent": trace})
        assert do_due_work() == ["done"]
        of_answer = Event.objects.filter(traceparent=trace).order_by("id").values_list("kind", flat=True)
        assert list(of_answer) == ["request.approved", "request.delivering", "token.issued", "request.redeemed"]

    def test_another_key_encryption_key(self, pushed: Caller, user: User, settings: Any) -> None:
        ask(pushed, user)
        settings.KEY_ENCRYPTION_KEYS = {"new": b"k" * 32, **settings.KEY_ENCRYPTION_KEYS}
        assert reseal(BackchannelRequest) == 1
        settings.KEY_ENCRYPTION_KEYS = {"new": b"k" * 32}
        stored = delivery.open_callback_data(row())
        assert stored is not None and stored.notification_token == TOKEN


class TestPing:
    @pytest.mark.parametrize("answer", ["approve", "deny"])
    def test_only_the_id_and_the_token(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, answer: str
    ) -> None:
        auth_req_id = ask(pinged, user)
        assert do_due_work() == []
        decide(browser_of_user, answer)
        assert do_due_work() == ["done"]
        (received,) = endpoint.received
        assert received.json() == {"auth_req_id": auth_req_id}
        assert (received.path, received.authorization) == ("/ciba", f"Bearer {TOKEN}")
        assert received.content_type == "application/json"
        assert nothing_is_stored()

    def test_the_agent_then_fetches_at_once(self, pinged: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = ask(pinged, user)
        assert pinged.poll(auth_req_id).json()["error"] == "authorization_pending", "it may poll too"
        decide(browser_of_user, "approve")
        do_due_work()
        assert pinged.poll(auth_req_id).status_code == 200, "the interval does not hold it up"

    def test_expiry_is_reported(self, pinged: Caller, user: User, endpoint: AgentEndpoint) -> None:
        auth_req_id = ask(pinged, user)
        assert lifecycle.expire_due(row().expires_at, 10) == 1
        assert do_due_work() == ["done"]
        assert endpoint.received[0].json() == {"auth_req_id": auth_req_id}
        assert pinged.poll(auth_req_id).json()["error"] == "expired_token"

    def test_what_was_reported_once_is_not_reported_again_at_expiry(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        ask(pinged, user)
        decide(browser_of_user, "approve")
        do_due_work()
        lifecycle.expire_due(row().expires_at, 10)
        assert do_due_work() == [] and len(endpoint.received) == 1

    def test_who_fetched_before_the_ping_gets_none(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        auth_req_id = ask(pinged, user)
        decide(browser_of_user, "approve")
        assert pinged.poll(auth_req_id).status_code == 200
        assert do_due_work() == [] and endpoint.received == [] and nothing_is_stored()


class TestTheAgentsAnswer:
    """Ping and push alike: CIBA Core 10.2 and 10.3.1."""

    @pytest.mark.parametrize(
        "answer",
        [(204, {}, b""), (200, {}, b'{"error": "ignored"}'), (202, {}, b""), (200, {}, b"x" * 2_000_000)],
        ids=["204", "200 with a body", "202", "an endless body"],
    )
    def test_it_arrived(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, answer: Any
    ) -> None:
        ask(pinged, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [answer]
        assert do_due_work() == ["done"] and len(endpoint.received) == 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, status: int
    ) -> None:
        ask(pinged, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [(status, {"Location": endpoint.url + "/else"}, b"")]
        assert do_due_work() == ["abandoned"]
        assert [one.path for one in endpoint.received] == ["/ciba"]
        assert nothing_is_stored()

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
    def test_a_refusal_is_final(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, status: int
    ) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [(status, {}, b"")]
        assert do_due_work() == ["abandoned"]
        assert len(endpoint.received) == 1 and row().state == "failed" and nothing_is_stored()
        assert not Grant.objects.alive(timezone.now()).exists(), "what never arrived is worth nothing"
        assert "request.failed" in kinds() and "grant.revoked" in kinds()

    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_trouble_is_tried_again_with_the_same_body(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, status: int
    ) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [(status, {}, b"")] * 2
        assert [do_due_work(), do_due_work(), do_due_work()] == [["pending"], ["pending"], ["done"]]
        assert len(endpoint.received) == 3 and len({one.body for one in endpoint.received}) == 1
        assert kinds().count("token.issued") == 1 and row().state == "redeemed"

    def test_retry_after_is_heeded(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        ask(pinged, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [(503, {"Retry-After": "60"}, b"")]
        do_due_work()
        assert Work.objects.get(kind="callback").due_at > timezone.now() + timedelta(seconds=50)

    def test_a_slow_one_does_not_keep_others_back(
        self, pinged: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        for _ in range(3):
            ask(pinged, user)
            decide(browser_of_user, "approve")
        first, second, third = Work.objects.filter(kind="callback").values_list("id", flat=True)
        endpoint.is_open.clear()
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(do_and_close, work_id) for work_id in (first, second)]
            until(lambda: len(endpoint.received) >= sender.LANE.per_host)
            assert outbox.do(third) and Work.objects.get(pk=third).state == "pending", "not even tried"
            endpoint.is_open.set()
            assert all(one.result(timeout=PATIENCE) for one in waiting)
        assert len(endpoint.received) == sender.LANE.per_host
        assert do_due_work() == ["done"]

    def test_an_endpoint_that_is_down_for_a_while(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, certificates: Any
    ) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        endpoint.stop()
        assert do_due_work() == ["pending"] and row().state == "delivering"
        back = AgentEndpoint(certificates, endpoint.port)
        try:
            assert do_due_work() == ["done"]
            assert back.received[0].json()["access_token"] and row().state == "redeemed"
        finally:
            back.stop()
            endpoint.__init__(certificates)  # type: ignore[misc]  # for the fixture to stop


class TestPush:
    @pytest.fixture
    def reply(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> tuple[str, dict[str, Any]]:
        auth_req_id = ask(pushed, user)
        decide(browser_of_user, "approve")
        assert do_due_work() == ["done"]
        return auth_req_id, endpoint.received[0].json()

    def test_the_payload(self, reply: tuple[str, dict[str, Any]], endpoint: AgentEndpoint) -> None:
        auth_req_id, body = reply
        assert body.keys() == {
            "auth_req_id", "access_token", "token_type", "expires_in", "id_token", "scope", "authorization_details",
        }  # fmt: skip
        assert body["auth_req_id"] == auth_req_id
        assert endpoint.received[0].authorization == f"Bearer {TOKEN}"

    def test_the_id_token_binds_the_rest(self, reply: tuple[str, dict[str, Any]], pushed: Caller, user: User) -> None:
        """CIBA Core 10.3.1: at_hash and the auth_req_id claim."""
        auth_req_id, body = reply
        claims = jwt.decode(body["id_token"], keys(), algorithms=["ES256"]).claims
        assert claims["at_hash"] == half_hash(body["access_token"])
        assert claims["urn:openid:params:jwt:claim:auth_req_id"] == auth_req_id
        assert (claims["sub"], claims["aud"]) == (str(user.id), pushed.agent.client_id)
        assert RT_HASH_CLAIM not in claims, "there is no refresh token here"

    def test_the_tokens_work_and_nothing_is_kept(
        self, reply: tuple[str, dict[str, Any]], bank: ResourceServer, pushed: Caller, user: User
    ) -> None:
        assert bank.introspect(reply[1]["access_token"]).json()["active"]
        digest = bank.digest(PAYMENT, pushed.agent.client_id, str(user.id))
        assert bank.use(reply[1]["access_token"], digest).status_code == 201
        assert nothing_is_stored() and row().state == "redeemed"
        assert [kind for kind in kinds() if kind in ("request.delivering", "token.issued", "request.redeemed")] == [
            "request.delivering", "token.issued", "request.redeemed",
        ]  # fmt: skip

    def test_rt_hash_where_there_is_a_refresh_token(self, agent: Caller, user: User) -> None:
        now = timezone.now()
        how = UserAuthentication(now, ["pwd"], "session", binds_refresh_token=True)
        issued = Issue(agent.agent, ["openid"], None, now + timedelta(minutes=5), user, None, how, "refresh-token")
        response, _ = mint(issued, UNBOUND, now)
        claims = jwt.decode(response["id_token"], keys(), algorithms=["ES256"]).claims
        assert claims["urn:openid:params:jwt:claim:rt_hash"] == half_hash("refresh-token")

    def test_a_push_agent_does_not_poll(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        """CIBA Core 11, before and after the decision; and the push still comes."""
        auth_req_id = ask(pushed, user)
        for answer in (None, "approve"):
            if answer:
                decide(browser_of_user, answer)
            response = pushed.poll(auth_req_id)
            assert (response.status_code, response.json()["error"]) == (400, "unauthorized_client")
        assert do_due_work() == ["done"]

    def test_denied(self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint) -> None:
        auth_req_id = ask(pushed, user)
        decide(browser_of_user, "deny")
        assert do_due_work() == ["done"]
        body = endpoint.received[0].json()
        assert body == {
            "auth_req_id": auth_req_id,
            "error": "access_denied",
            "error_description": "the user denied the request",
        }
        assert nothing_is_stored()

    def test_expired(self, pushed: Caller, user: User, endpoint: AgentEndpoint) -> None:
        auth_req_id = ask(pushed, user)
        lifecycle.expire_due(row().expires_at, 10)
        do_due_work()
        body = endpoint.received[0].json()
        assert (body["auth_req_id"], body["error"]) == (auth_req_id, "expired_token")

    @pytest.mark.parametrize("when", ["pending", "approved", "delivering"])
    def test_stopped_by_the_user(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, when: str
    ) -> None:
        ask(pushed, user)
        if when != "pending":
            decide(browser_of_user, "approve")
        if when == "delivering":
            endpoint.answers = [(503, {}, b"")]
            do_due_work()
        lifecycle.stop_agent(pushed.agent, user, timezone.now())
        assert do_due_work() == ["done"]
        assert endpoint.received[-1].json()["error"] == "transaction_failed"
        assert row().state == {"pending": "cancelled", "approved": "revoked", "delivering": "failed"}[when]
        assert not Grant.objects.alive(timezone.now()).exists() and nothing_is_stored()

    @pytest.mark.parametrize("when", ["approved", "delivering"])
    def test_no_tokens_for_the_dead(
        self, pushed: Caller, user: User, administrator: User, browser_of_user: Client, endpoint: AgentEndpoint,
        when: str,
    ) -> None:  # fmt: skip
        ask(pushed, user)
        decide(browser_of_user, "approve")
        if when == "delivering":
            endpoint.answers = [(503, {}, b"")]
            do_due_work()
        endpoint.received.clear()
        users.disable(user, administrator, timezone.now())
        do_due_work()
        assert [one.json()["error"] for one in endpoint.received] == ["transaction_failed"]
        assert row().state == ("revoked" if when == "approved" else "failed")

    @pytest.mark.parametrize("when", ["approved", "delivering"])
    def test_no_tokens_for_an_agent_whose_registration_has_a_problem(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, when: str
    ) -> None:
        """The token endpoint refuses the tokens of an approved request too."""
        ask(pushed, user)
        decide(browser_of_user, "approve")
        if when == "delivering":
            endpoint.answers = [(503, {}, b"")]
            do_due_work()
        endpoint.received.clear()
        Agent.objects.update(registration_problem="it has no key for what its profile demands now")
        do_due_work()
        assert [one.json()["error"] for one in endpoint.received] == ["transaction_failed"]
        assert row().state == ("revoked" if when == "approved" else "failed") and nothing_is_stored()
        assert not Grant.objects.alive(timezone.now()).exists()

    def test_a_suspended_agent_is_told_nothing(
        self, pushed: Caller, user: User, administrator: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        agents.suspend(pushed.agent, administrator, timezone.now())
        do_due_work()
        assert endpoint.received == [] and nothing_is_stored()

    def test_what_the_user_reads(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        """On its way it is approved; what did not arrive is not called out of time."""
        ask(pushed, user)
        decide(browser_of_user, "approve")
        page = f"/prompts/{Prompt.objects.get().id}"
        for status, words in ((503, b"You approved this"), (404, b"Countersign could not reach the agent")):
            endpoint.answers = [(status, {}, b"")]
            do_due_work()
            assert words in browser_of_user.get(page).content
        assert b"Not delivered" in browser_of_user.get("/").content

    def test_it_stops_at_expiry(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint
    ) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        endpoint.answers = [(503, {}, b"")]
        do_due_work()
        end = row().expires_at
        assert Work.objects.get(kind="callback").deadline_at == end
        assert lifecycle.expire_due(end, 10) == 1
        assert row().state == "failed" and nothing_is_stored()
        assert do_due_work() == [] and not Grant.objects.alive(timezone.now()).exists()

    def test_a_notice_that_nobody_takes_is_erased(self, pushed: Caller, user: User, endpoint: AgentEndpoint) -> None:
        ask(pushed, user)
        end = row().expires_at
        lifecycle.expire_due(end, 10)
        endpoint.answers = [(503, {}, b"")]
        do_due_work()
        assert not nothing_is_stored()
        assert delivery.erase_late(end + delivery.NOTICE_LIFETIME - timedelta(seconds=1), 10) == 0
        assert delivery.erase_late(end + delivery.NOTICE_LIFETIME, 10) == 1
        assert nothing_is_stored()

    def test_never_again_after_it_arrived(self, reply: tuple[str, dict[str, Any]], endpoint: AgentEndpoint) -> None:
        work = Work.objects.get(kind="callback")
        assert outbox.do(work.id) is False
        Work.objects.filter(pk=work.pk).update(
            state="pending", claimed_until=None, finished_at=None
        )  # its record was lost
        assert do_due_work() == ["done"] and len(endpoint.received) == 1


class TestCancelling:
    """POST /oauth/revoke (RFC 7009) with an auth_req_id."""

    def revoke(self, caller: Caller, token: str) -> int:
        return int(caller.post("/oauth/revoke", token=token, token_type_hint="auth_req_id").status_code)

    def test_a_pending_request(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        assert self.revoke(agent, auth_req_id) == 200
        assert row().state == "cancelled" and "request.cancelled" in kinds()
        assert browser_of_user.get("/v1/prompts").json()["prompts"] == []
        assert browser_of_user.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 409
        assert agent.poll(auth_req_id).json()["error"] == "invalid_grant"
        assert self.revoke(agent, auth_req_id) == 200, "once more changes nothing"
        assert kinds().count("request.cancelled") == 1

    def test_an_approval_that_was_not_fetched(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        decide(browser_of_user, "approve")
        assert self.revoke(agent, auth_req_id) == 200
        assert row().state == "revoked" and not Grant.objects.alive(timezone.now()).exists()
        assert agent.poll(auth_req_id).json()["error"] == "invalid_grant"

    @pytest.mark.parametrize("answer", [None, "approve"])
    def test_what_ran_out_of_time_has_ended_before_a_sweep_says_so(
        self, agent: Caller, user: User, browser_of_user: Client, answer: str | None
    ) -> None:
        auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        if answer:
            decide(browser_of_user, answer)
        BackchannelRequest.objects.update(expires_at=timezone.now())
        assert self.revoke(agent, auth_req_id) == 200
        assert agent.poll(auth_req_id).json()["error"] == "expired_token"
        lifecycle.expire_due(timezone.now(), 10)
        assert row().state == "expired" and not Grant.objects.alive(timezone.now()).exists()

    def test_what_was_redeemed_stays(self, agent: Caller, user: User, browser_of_user: Client) -> None:
        auth_req_id = agent.ask(user, authorization_details=[PAYMENT]).json()["auth_req_id"]
        decide(browser_of_user, "approve")
        agent.poll(auth_req_id)
        assert self.revoke(agent, auth_req_id) == 200 and row().state == "redeemed"

    def test_another_agents_is_as_unknown_as_none(self, agent: Caller, other_agent: Caller, user: User) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        assert self.revoke(other_agent, auth_req_id) == self.revoke(other_agent, "nobody knows") == 200
        assert row().state == "pending" and agent.poll(auth_req_id).json()["error"] == "authorization_pending"

    def test_nobody(self, agent: Caller, user: User) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        assert post_form(Client(), "/oauth/revoke", {"token": auth_req_id}).status_code == 401
        assert row().state == "pending"

    @pytest.mark.parametrize("when", ["pending", "approved", "delivering"])
    def test_no_call_comes_after_it(
        self, pushed: Caller, user: User, browser_of_user: Client, endpoint: AgentEndpoint, when: str
    ) -> None:
        auth_req_id = ask(pushed, user)
        if when != "pending":
            decide(browser_of_user, "approve")
        if when == "delivering":
            endpoint.answers = [(503, {}, b"")]
            do_due_work()
        endpoint.received.clear()
        assert self.revoke(pushed, auth_req_id) == 200
        assert do_due_work() == [] and endpoint.received == [] and nothing_is_stored()
        assert row().state == {"pending": "cancelled", "approved": "revoked", "delivering": "failed"}[when]


class TestRegistering:
    @pytest.mark.parametrize("mode", ["ping", "push"])
    @pytest.mark.parametrize(
        "address",
        ["", "http://agent.example.com/ciba", "https://user@agent.example.com/", "https://agent.example.com:22/", "x",
         "https://agent.example.com/#x", "HTTPS://agent.example.com\\@127.0.0.1/"],
    )  # fmt: skip
    def test_an_address_that_is_not_called(self, db: None, mode: str, address: str) -> None:
        with pytest.raises(ValidationError) as raised:
            make_caller(backchannel_token_delivery_mode=mode, backchannel_client_notification_endpoint=address)
        assert "backchannel_client_notification_endpoint" in raised.value.message_dict

    def test_a_private_address_is_registered_and_never_called(
        self, agent: Caller, user: User, pinged: Caller, browser_of_user: Client, endpoint: AgentEndpoint,
        settings: Any,
    ) -> None:  # fmt: skip
        """What a name leads to is known only when it is called."""
        settings.OUTBOUND_EXCEPTIONS = []
        Agent.objects.filter(pk=pinged.agent.pk).update(
            backchannel_client_notification_endpoint="https://127.0.0.1:8443/"
        )
        ask(pinged, user)
        decide(browser_of_user, "approve")
        assert do_due_work() == ["abandoned"] and endpoint.received == []

    def test_it_needs_nothing_to_poll(self, db: None) -> None:
        assert make_caller().agent.backchannel_token_delivery_mode == "poll"

    def test_the_event_names_no_secret(self, pushed: Caller, user: User, browser_of_user: Client) -> None:
        ask(pushed, user)
        decide(browser_of_user, "approve")
        do_due_work()
        for event in Event.objects.all():
            assert TOKEN not in event.body and "eyJ" not in json.loads(event.body)["facts"].__str__()
