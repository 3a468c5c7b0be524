"""Idempotency-Key at /bc-authorize: a repeat asks nobody again and gets the first answer; nothing else does."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from joserfc import jws
from joserfc.jwk import ECKey

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba import lifecycle, repeats
from ciba.models import BackchannelRequest, HintIssuer, IdempotencyKey, Prompt
from clients import lifecycle as agents
from clients.models import Agent, AgentLink
from devices import user_codes
from foundation.models import Attempt, Work
from foundation.sealed_columns import reseal
from operations.models import Scope
from tests.ciba.conftest import TOKEN
from tests.ciba.test_hidden_users import NOBODIES, no_one
from tests.support.push_service import PushService
from tests.support.world import CALENDAR, PAYMENT, Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "3f1c8a52-invoice-4711"
CODE = "lemon-42"
OTHER = "this Idempotency-Key was used for another request"


def ask(caller: Caller, user: User | None = None, *, key: str = KEY, **parameters: Any) -> Any:
    caller.headers = {"Idempotency-Key": key}
    try:
        return caller.ask(user, **parameters)
    finally:
        caller.headers = {}


def ask_signed(caller: Caller, user: User | None = None, **claims: Any) -> Any:
    caller.headers = {"Idempotency-Key": KEY}
    try:
        return caller.post("/bc-authorize", request=caller.request_object(user, **claims))
    finally:
        caller.headers = {}


def pass_time(seconds: float) -> None:
    passed = timedelta(seconds=seconds)
    names = ("created_at", "expires_at", "auth_req_id_expires_at")
    BackchannelRequest.objects.update(**{name: F(name) - passed for name in names})
    IdempotencyKey.objects.update(expires_at=F("expires_at") - passed)


def id_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    return str(response.json()["auth_req_id"])


def refused(response: Any) -> None:
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert response.json()["error_description"] == OTHER


def count(kind: str) -> int:
    return Event.objects.filter(kind=kind).count()


class TestARepeat:
    def test_it_asks_nobody_again(
        self, agent: Caller, user: User, device: Any, push_service: PushService, settings: Any
    ) -> None:
        """As a graph's node that runs again sent thirteen."""
        settings.MAX_PENDING_PER_USER = 2
        answers = [ask(agent, user, authorization_details=[PAYMENT]).json() for _ in range(13)]
        assert len({one["auth_req_id"] for one in answers}) == 1
        assert BackchannelRequest.objects.count() == Prompt.objects.count() == count("request.opened") == 1
        assert Work.objects.filter(kind="push").count() == 1
        assert Event.objects.get(kind="request.repeated").request_id == BackchannelRequest.objects.get().id
        assert agent.poll(answers[-1]["auth_req_id"]).json()["error"] == "authorization_pending"

    def test_it_says_how_long_the_request_still_lives(self, agent: Caller, user: User) -> None:
        first = ask(agent, user).json()
        pass_time(100)
        again = ask(agent, user).json()
        assert first["expires_in"] == 300 and 190 < again.pop("expires_in") <= 200
        first.pop("expires_in")
        assert again == first

    @pytest.mark.parametrize("mode", ["pinged", "pushed"])
    def test_an_agent_that_is_called_back_sends_a_fresh_token(self, request: Any, user: User, mode: str) -> None:
        caller: Caller = request.getfixturevalue(mode)
        first, again = (ask(caller, user, client_notification_token=f"{TOKEN}-{n}").json() for n in range(2))
        assert first["auth_req_id"] == again["auth_req_id"]
        assert ("interval" in again) == ("interval" in first) == (mode == "pinged")

    def test_it_is_signed_anew(self, agent: Caller, user: User) -> None:
        """`jti`, `iat`, `nbf`, `exp` and the signature differ; what is asked is the same."""
        assert id_of(ask_signed(agent, user)) == id_of(ask_signed(agent, user))
        assert id_of(ask_signed(agent, user, exp=int(time.time()) + 90)) == id_of(ask(agent, user))

    def test_a_request_object_works_once_all_the_same(self, agent: Caller, user: User) -> None:
        agent.headers = {"Idempotency-Key": KEY}
        signed = agent.request_object(user)
        first, again = (agent.post("/bc-authorize", request=signed) for _ in range(2))
        assert first.status_code == 200
        assert again.json()["error_description"] == "the request object was used before"

    def test_an_assertion_works_once_all_the_same(self, agent: Caller, user: User) -> None:
        assertion = agent.assertion()
        assert ask(agent, user, client_assertion=assertion).status_code == 200
        assert ask(agent, user, client_assertion=assertion).status_code == 401

    @pytest.mark.parametrize(
        ("first", "again"),
        [
            pytest.param({"scope": "openid calendar.read"}, {"scope": "calendar.read openid openid"}, id="scopes"),
            pytest.param(
                {"authorization_details": json.dumps([PAYMENT])},
                {"authorization_details": json.dumps([dict(reversed(PAYMENT.items()))], indent=2)},
                id="members of the details in another order",
            ),
            pytest.param(
                {"scope": "openid calendar.read"},
                {"scope": "openid calendar.read", "resource": "https://bank.example.com/"},
                id="the resource that it is anyway",
            ),
            pytest.param({"login_hint": "person@example.com"}, {"login_hint": " Person@Example.COM "}, id="an address"),
            pytest.param(
                {"login_hint": "person@example.com"},
                {"login_hint": '{"email": "person@example.com", "format": "email"}'},
                id="a subject identifier",
            ),
            pytest.param({"requested_expiry": "120"}, {"requested_expiry": "0120"}, id="a number with a zero"),
            pytest.param({}, {"unknown": "parameter"}, id="what is ignored"),
        ],
    )
    def test_what_is_the_same_is_compared_as_parsed(
        self, agent: Caller, user: User, first: dict[str, str], again: dict[str, str]
    ) -> None:
        for parameters in (first, again):
            parameters.setdefault("login_hint", user.email)
        assert id_of(ask(agent, **first)) == id_of(ask(agent, **again))

    def test_a_login_hint_token_may_be_a_new_one(self, agent: Caller, user: User, stranger: User) -> None:
        key = ECKey.generate_key("P-256", auto_kid=True)
        HintIssuer.objects.create(
            issuer="https://hr.example.com", jwks={"keys": [{**key.as_dict(private=False), "kid": key.kid}]}
        )

        def token(whom: User, **more: Any) -> str:
            at = int(time.time())
            claims = {"iss": "https://hr.example.com", "aud": "http://localhost:8000", "iat": at, "exp": at + 60,
                      "sub_id": {"format": "email", "email": whom.email}, **more}  # fmt: skip
            header = {"alg": "ES256", "kid": key.kid}
            return jws.serialize_compact(header, json.dumps(claims), key, algorithms=["ES256"])

        AgentLink.objects.create(agent=agent.agent, user=stranger, is_linked=True)
        first = id_of(ask(agent, login_hint_token=token(user, jti="1")))
        assert id_of(ask(agent, login_hint_token=token(user, jti="2", exp=int(time.time()) + 90))) == first
        refused(ask(agent, login_hint_token=token(stranger, jti="3")))

    @pytest.mark.parametrize(
        ("end", "then"),
        [("approve", None), ("deny", "access_denied"), ("cancel", "invalid_grant"), ("redeem", "invalid_grant"),
         ("close", "expired_token"), ("disable", "invalid_grant")],
    )  # fmt: skip
    def test_whatever_became_of_it_nobody_is_asked_again(
        self, agent: Caller, user: User, administrator: User, end: str, then: str | None
    ) -> None:
        auth_req_id = id_of(ask(agent, user))
        self.end(end, agent, user, administrator, auth_req_id)
        assert id_of(ask(agent, user)) == auth_req_id
        assert BackchannelRequest.objects.count() == Prompt.objects.count() == 1
        assert agent.poll(auth_req_id).json().get("error") == then

    def end(self, how: str, agent: Caller, user: User, administrator: User, auth_req_id: str) -> None:
        match how:
            case "cancel":
                agent.post("/oauth/revoke", token=auth_req_id)
            case "close":
                pass_time(245)
                lifecycle.expire_due(timezone.now(), 10)
            case "disable":
                users.disable(user, administrator, timezone.now())
            case _:
                answer = "deny" if how == "deny" else "approve"
                sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/{answer}")
        if how == "redeem":
            assert agent.poll(auth_req_id).status_code == 200

    def test_it_is_no_attempt_at_a_user_code(self, agent: Caller, user: User) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_user_code_parameter=True)
        user_codes.set_code(user, CODE, timezone.now())
        first = id_of(ask(agent, user, user_code=CODE))
        for _ in range(user_codes.MAX_WRONG_PER_AGENT + 2):
            refused(ask(agent, user, user_code="guess-1"))
            refused(ask(agent, user))
        assert not Attempt.objects.exists()
        assert id_of(ask(agent, user, user_code=CODE)) == first


class TestAnotherRequestUnderTheSameKey:
    FIRST: dict[str, Any] = {
        "scope": "openid", "authorization_details": [PAYMENT], "binding_message": "Invoice 7",
        "requested_expiry": "120", "acr_values": "session", "user_code": CODE,
    }  # fmt: skip

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({"login_hint": "stranger@example.com"}, id="another user"),
            pytest.param({"login_hint": "nobody@example.com"}, id="nobody"),
            pytest.param({"authorization_details": [{**PAYMENT, "amount": "121.00"}]}, id="another amount"),
            pytest.param({"authorization_details": [CALENDAR]}, id="another operation"),
            pytest.param({"authorization_details": None}, id="no operation"),
            pytest.param({"scope": "openid calendar.read"}, id="one scope more"),
            pytest.param({"binding_message": "Invoice 8"}, id="another binding message"),
            pytest.param({"binding_message": None}, id="no binding message"),
            pytest.param({"requested_expiry": "121"}, id="another expiry"),
            pytest.param({"requested_expiry": None}, id="the usual expiry"),
            pytest.param({"acr_values": "number session"}, id="other acr_values"),
            pytest.param({"user_code": "lemon-43"}, id="another user code"),
            pytest.param({"user_code": None}, id="no user code"),
        ],
    )
    @pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
    @pytest.mark.parametrize("hides", [False, True], ids=["told", "hidden"])
    def test_it_is_an_error_and_opens_nothing(
        self, agent: Caller, user: User, stranger: User, settings: Any, changed: Any, *, signed: bool, hides: bool
    ) -> None:
        settings.HIDE_UNKNOWN_USERS = hides
        agent.agent.identity_scopes = ["openid", "profile", "email"]
        agent.agent.save()
        send = ask_signed if signed else ask
        first = {"login_hint": user.email, **self.FIRST}
        other = {name: value for name, value in {**first, **changed}.items() if value is not None}
        auth_req_id = id_of(send(agent, **first))
        refused(send(agent, **other))
        assert BackchannelRequest.objects.count() == count("request.refused") == 1
        assert id_of(send(agent, **first)) == auth_req_id, "and the first one goes on"

    @pytest.mark.parametrize("order", [[CALENDAR, {**CALENDAR, "day": "2026-11-25"}]])
    def test_the_order_of_operations_counts(self, agent: Caller, user: User, order: list[Any]) -> None:
        assert ask(agent, user, authorization_details=order).status_code == 200
        refused(ask(agent, user, authorization_details=order[::-1]))


class TestWhoseKey:
    def test_another_agents_same_key_is_its_own(self, agent: Caller, other_agent: Caller, user: User) -> None:
        first, other = id_of(ask(agent, user)), id_of(ask(other_agent, user))
        assert first != other and BackchannelRequest.objects.count() == 2
        assert (id_of(ask(agent, user)), id_of(ask(other_agent, user))) == (first, other)

    def test_another_agents_key_tells_nothing(self, agent: Caller, other_agent: Caller, user: User) -> None:
        """Neither an error nor an id, whatever it asks under it."""
        id_of(ask(agent, user, binding_message="Invoice 7"))
        assert other_agent.poll(id_of(ask(other_agent, user, binding_message="Invoice 8"))).status_code == 400

    def test_a_suspended_agent_gets_no_answer(self, agent: Caller, user: User, administrator: User) -> None:
        id_of(ask(agent, user))
        agents.suspend(agent.agent, administrator, timezone.now())
        suspended, unknown = ask(agent, user), ask(agent, user, key="unknown")
        assert suspended.status_code == 401 and suspended.content == unknown.content

    def test_what_the_agent_may_no_longer_ask_for_is_refused(self, agent: Caller, user: User) -> None:
        id_of(ask(agent, user, authorization_details=[PAYMENT]))
        agent.agent.operation_types.clear()
        answer = ask(agent, user, authorization_details=[PAYMENT])
        assert answer.json()["error"] == "invalid_authorization_details"

    def test_without_a_key_every_request_is_a_new_one(self, agent: Caller, user: User) -> None:
        assert len({id_of(agent.ask(user)) for _ in range(3)}) == 3
        assert not IdempotencyKey.objects.exists()


class TestAFreeKey:
    """What opened no request keeps no key."""

    def test_after_an_unknown_user(self, agent: Caller, user: User) -> None:
        assert ask(agent, login_hint="nobody@example.com").json()["error"] == "unknown_user_id"
        assert ask(agent, user).status_code == 200

    def test_after_too_many_that_wait(self, agent: Caller, user: User, settings: Any) -> None:
        settings.MAX_PENDING_PER_USER = 1
        blocking = id_of(agent.ask(user))
        assert ask(agent, user).json()["error"] == "access_denied"
        assert not IdempotencyKey.objects.exists()
        agent.post("/oauth/revoke", token=blocking)
        assert ask(agent, user).status_code == 200

    def test_after_a_wrong_user_code(self, agent: Caller, user: User) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_user_code_parameter=True)
        user_codes.set_code(user, CODE, timezone.now())
        assert ask(agent, user, user_code="wrong-1").json()["error"] == "invalid_user_code"
        assert ask(agent, user, user_code=CODE).status_code == 200

    def test_after_an_assurance_that_cannot_be_given(self, agent: Caller, user: User) -> None:
        assert ask(agent, user, acr_values="passkey").status_code == 403
        assert ask(agent, user).status_code == 200

    @pytest.mark.parametrize("swept", [False, True], ids=["not swept yet", "swept"])
    def test_after_the_requests_life(self, agent: Caller, user: User, *, swept: bool) -> None:
        first = id_of(ask(agent, user, binding_message="Invoice 7"))
        pass_time(299)
        assert id_of(ask(agent, user, binding_message="Invoice 7")) == first
        pass_time(1)
        if swept:
            assert repeats.sweep(timezone.now(), 10) == 1
        other = id_of(ask(agent, user, binding_message="Invoice 8"))
        assert other != first
        assert id_of(ask(agent, user, binding_message="Invoice 8")) == other
        assert repeats.sweep(timezone.now(), 10) == 0
        assert IdempotencyKey.objects.get().request.binding_message == "Invoice 8"


class TestTheKeyItself:
    @pytest.mark.parametrize(
        "key",
        [
            pytest.param("", id="empty"), pytest.param("a b", id="a space"), pytest.param("x" * 256, id="too long"),
            pytest.param("schlüssel", id="not ASCII"), pytest.param("a\tb", id="a control character"),
            pytest.param("a, b", id="two of them"),
        ],
    )  # fmt: skip
    def test_what_is_none_is_refused(self, agent: Caller, user: User, key: str) -> None:
        answer = ask(agent, user, key=key)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert "1 to 255" in answer.json()["error_description"]
        assert not BackchannelRequest.objects.exists()

    @pytest.mark.parametrize("key", ["x", "x" * 255, '"3f1c"', "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
    def test_what_is_one(self, agent: Caller, user: User, key: str) -> None:
        assert id_of(ask(agent, user, key=key)) == id_of(ask(agent, user, key=key))
        assert id_of(ask(agent, user, key=key.replace("x", "X") + "y"[: 255 - len(key)])) is not None

    def test_keys_are_not_alike(self, agent: Caller, user: User) -> None:
        assert len({id_of(ask(agent, user, key=key)) for key in ("k", "K", '"k"', "k.")}) == 4


class TestWhatIsKept:
    def test_nothing_of_it_lies_open(self, agent: Caller, user: User) -> None:
        auth_req_id = id_of(ask(agent, user, user_code=CODE))
        (row,) = IdempotencyKey.objects.values()
        stored = b" ".join(bytes(value) for value in row.values() if isinstance(value, memoryview | bytes))
        texts = str([*Event.objects.values_list("body"), *BackchannelRequest.objects.values(), stored])
        for secret in (auth_req_id, KEY, CODE):
            assert secret not in texts and secret.encode() not in stored

    def test_it_goes_with_the_request(self, agent: Caller, user: User) -> None:
        for number in range(3):
            id_of(ask(agent, user, key=f"key-{number}"))
        assert repeats.sweep(timezone.now(), 10) == 0
        pass_time(300)
        assert [repeats.sweep(timezone.now(), 2) for _ in range(3)] == [2, 1, 0]
        assert not IdempotencyKey.objects.exists() and BackchannelRequest.objects.count() == 3

    def test_another_key_encryption_key(self, agent: Caller, user: User, settings: Any) -> None:
        first = id_of(ask(agent, user))
        settings.KEY_ENCRYPTION_KEYS = {"new": b"k" * 32, **settings.KEY_ENCRYPTION_KEYS}
        assert reseal(IdempotencyKey) == 1
        row = IdempotencyKey.objects.get()
        assert b"new" in bytes(row.sealed_response)[:10]
        assert id_of(ask(agent, user)) == first

    def test_an_answer_of_another_request_does_not_open(self, agent: Caller, user: User) -> None:
        id_of(ask(agent, user, key="one"))
        id_of(ask(agent, user, key="two"))
        one, two = IdempotencyKey.objects.order_by("expires_at")
        IdempotencyKey.objects.filter(pk=one.pk).update(sealed_response=bytes(two.sealed_response))
        agent.http.raise_request_exception = False
        assert ask(agent, user, key="one").status_code == 500


class TestWhereUsersAreHidden:
    @pytest.fixture(autouse=True)
    def hidden(self, settings: Any) -> None:
        settings.HIDE_UNKNOWN_USERS = True

    @pytest.mark.parametrize("name", NOBODIES)
    def test_a_repeat_about_nobody_is_answered_like_one_about_somebody(
        self, agent: Caller, user: User, stranger: User, name: str
    ) -> None:
        def reply(hint: str, key: str) -> list[Any]:
            answers = [ask(agent, key=key, login_hint=hint) for _ in range(2)]
            assert len({id_of(one) for one in answers}) == 1
            pairs = [(sorted(one.headers.items()), {**one.json(), "auth_req_id": ""}) for one in answers]
            return [*pairs, ask(agent, key=key, login_hint="somebody.else@example.com").content]

        about_somebody = reply(user.email, "somebody")
        assert reply(no_one(name, agent, user, stranger), "nobody") == about_somebody

    def test_a_wrong_user_code_is_not_revealed_by_its_repeat(self, agent: Caller, user: User) -> None:
        Agent.objects.filter(pk=agent.agent.pk).update(backchannel_user_code_parameter=True)
        user_codes.set_code(user, CODE, timezone.now())
        for code in (CODE, "wrong-1"):
            first = id_of(ask(agent, user, key=code, user_code=code))
            assert id_of(ask(agent, user, key=code, user_code=code)) == first
            refused(ask(agent, user, key=code, user_code=f"{code}x"))

    def test_other_issuers_users_are_not_one(self, agent: Caller) -> None:
        hint = '{"format":"iss_sub","iss":"https://other.example","sub":"%s"}'
        id_of(ask(agent, login_hint=hint % 1))
        refused(ask(agent, login_hint=hint % 2))


def test_scopes_that_are_gone_meanwhile_are_refused_or_another_request(agent: Caller, user: User) -> None:
    """The repeat is understood as of now: it never brings back what was withdrawn."""
    id_of(ask(agent, user, scope="openid calendar.read"))
    Scope.objects.filter(name="calendar.read").update(is_active=False)
    assert ask(agent, user, scope="openid calendar.read").status_code == 400
