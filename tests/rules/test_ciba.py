"""The pure rules: the transition table, what a poll answers, what may be asked, which answer counts."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from ciba.callbacks.messages import error_to_push
from ciba.errors import InvalidBindingMessage
from ciba.parameters import MAX_BINDING_MESSAGE, parse_parameters
from ciba.policy import (
    Acceptance,
    AnswerFacts,
    AnswerVerdict,
    RequestFacts,
    RequestRefusal,
    RequestVerdict,
    judge_answer,
    judge_request,
    lifetime_of_request,
)
from ciba.poll_policy import PollFacts, PollVerdict, judge_poll
from ciba.states import REQUEST_STATES, State
from foundation.errors import InvalidRequest, InvalidScope, ProtocolError
from operations import risk
from operations.risk import Assurance, Risk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


class TestTransitions:
    def test_the_table(self) -> None:
        table = REQUEST_STATES.transitions
        ways = {(source.value, target.value) for source, targets in table.items() for target in targets}
        assert ways == {
            ("pending", "approved"), ("pending", "denied"), ("pending", "expired"), ("pending", "cancelled"),
            ("approved", "redeemed"), ("approved", "expired"), ("approved", "revoked"), ("approved", "delivering"),
            ("delivering", "redeemed"), ("delivering", "failed"),
        }  # fmt: skip

    def test_nothing_leaves_a_terminal_state(self) -> None:
        assert {state.value for state in REQUEST_STATES.final_states} == {
            "redeemed", "denied", "expired", "cancelled", "revoked", "failed",
        }  # fmt: skip
        for target in State:
            assert not REQUEST_STATES.final_states & set(REQUEST_STATES.sources(target))


# Own, alive, in time, well paced.
ANSWERS = {
    None: PollVerdict.UNKNOWN,
    State.PENDING: PollVerdict.PENDING,
    State.APPROVED: PollVerdict.ISSUE,
    State.REDEEMED: PollVerdict.POLLED_AGAIN,
    State.DENIED: PollVerdict.DENIED,
    State.EXPIRED: PollVerdict.EXPIRED,
    State.CANCELLED: PollVerdict.UNKNOWN,
    State.REVOKED: PollVerdict.UNKNOWN,
    State.DELIVERING: PollVerdict.UNKNOWN,
    State.FAILED: PollVerdict.UNKNOWN,
}


class TestPoll:
    def test_every_state_has_its_answer(self) -> None:
        assert ANSWERS.keys() == {None, *State}

    @pytest.mark.parametrize(("state", "answer"), list(ANSWERS.items()))
    def test_the_ordinary_answer(self, state: State | None, answer: PollVerdict) -> None:
        facts = PollFacts(state, is_own=True, is_alive=True, expires_at=LATER, too_early=False)
        assert judge_poll(facts, NOW) is answer

    @pytest.mark.parametrize(
        ("state", "is_alive", "too_early"), list(product([None, *State], [True, False], [True, False]))
    )
    @pytest.mark.parametrize("expires_at", [None, EARLIER, LATER])
    def test_a_stranger_learns_nothing(
        self, state: State | None, is_alive: bool, too_early: bool, expires_at: datetime | None
    ) -> None:
        facts = PollFacts(state, is_own=False, is_alive=is_alive, expires_at=expires_at, too_early=too_early)
        assert judge_poll(facts, NOW) is PollVerdict.UNKNOWN

    @pytest.mark.parametrize("state", [State.PENDING, State.APPROVED])
    def test_a_dead_agent_user_or_grant_ends_it(self, state: State) -> None:
        for expires_at, too_early in product([EARLIER, NOW, LATER], [True, False]):
            facts = PollFacts(state, is_own=True, is_alive=False, expires_at=expires_at, too_early=too_early)
            assert judge_poll(facts, NOW) is PollVerdict.UNKNOWN

    @pytest.mark.parametrize("state", [State.PENDING, State.APPROVED])
    @pytest.mark.parametrize("expires_at", [EARLIER, NOW])
    def test_too_late_is_expired_even_before_a_sweep(self, state: State, expires_at: datetime) -> None:
        facts = PollFacts(state, is_own=True, is_alive=True, expires_at=expires_at, too_early=False)
        assert judge_poll(facts, NOW) is PollVerdict.EXPIRED

    def test_only_a_pending_poll_is_slowed_down(self) -> None:
        for state, answer in ANSWERS.items():
            facts = PollFacts(state, is_own=True, is_alive=True, expires_at=LATER, too_early=True)
            assert judge_poll(facts, NOW) is (PollVerdict.SLOW_DOWN if state is State.PENDING else answer)

    def test_a_final_answer_stays_after_the_agent_or_user_is_gone(self) -> None:
        for state in (State.DENIED, State.EXPIRED, State.REDEEMED):
            facts = PollFacts(state, is_own=True, is_alive=False, expires_at=EARLIER, too_early=True)
            assert judge_poll(facts, NOW) is ANSWERS[state]


def ask_facts(**changed: object) -> RequestFacts:
    usual = {
        "may_ask_user": True, "hides_users": False, "risks": [], "assurances": [], "acr_values": [], "pending": 0,
        "max_pending": 3,
    }  # fmt: skip
    return RequestFacts(**{**usual, **changed})  # type: ignore[arg-type]


SESSION = [Assurance.SESSION]
NO_SUCH_USER = "no user whom this agent may ask, or not with this user_code"
TOO_MANY = "too many requests of this agent wait for the user's answer"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Acceptance(Assurance.SESSION)),
        ({"risks": [Risk.CRITICAL], "assurances": SESSION}, Acceptance(Assurance.SESSION)),
        ({"risks": [Risk.ROUTINE, Risk.ROUTINE], "assurances": SESSION * 2}, Acceptance(Assurance.SESSION)),
        ({"risks": [Risk.ROUTINE, Risk.SENSITIVE], "assurances": SESSION * 2}, RequestRefusal.MIXED_OPERATIONS),
        ({"risks": [Risk.CRITICAL, Risk.CRITICAL], "assurances": SESSION * 2}, RequestRefusal.MIXED_OPERATIONS),
        ({"risks": [Risk.CRITICAL], "assurances": [Assurance.NUMBER]}, RequestRefusal.ASSURANCE_MISSING),
        ({"risks": [Risk.ROUTINE], "assurances": [Assurance.PASSKEY]}, RequestRefusal.ASSURANCE_MISSING),
        ({"acr_values": ["session"]}, Acceptance(Assurance.SESSION)),
        ({"acr_values": ["passkey", "session"]}, Acceptance(Assurance.SESSION)),
        ({"acr_values": ["passkey"]}, RequestRefusal.ASSURANCE_MISSING),
        ({"acr_values": ["urn:mace:incommon:iap:silver"]}, Acceptance(Assurance.SESSION)),
        ({"acr_values": ["urn:mace:incommon:iap:silver", "passkey"]}, RequestRefusal.ASSURANCE_MISSING),
        (
            {"acr_values": ["urn:mace:incommon:iap:silver"], "assurances": [Assurance.PASSKEY]},
            RequestRefusal.ASSURANCE_MISSING,
        ),
        ({"acr_values": ["session"], "assurances": [Assurance.PASSKEY]}, RequestRefusal.ASSURANCE_MISSING),
        ({"pending": 2}, Acceptance(Assurance.SESSION)),
        ({"pending": 3}, RequestRefusal.TOO_MANY_PENDING),
        ({"may_ask_user": False}, RequestRefusal.UNKNOWN_USER),
        # Whose is it comes first: nothing else is learnt about a user whom one may not ask.
        (
            {"may_ask_user": False, "pending": 9, "risks": [Risk.CRITICAL] * 2, "assurances": [Assurance.PASSKEY]},
            RequestRefusal.UNKNOWN_USER,
        ),
        # Where people are hidden, a refusal never depends on the user.
        ({"hides_users": True}, Acceptance(Assurance.SESSION)),
        ({"hides_users": True, "may_ask_user": False}, Acceptance(Assurance.SESSION, NO_SUCH_USER)),
        ({"hides_users": True, "pending": 3}, Acceptance(Assurance.SESSION, TOO_MANY)),
        ({"hides_users": True, "may_ask_user": False, "acr_values": ["passkey"]}, RequestRefusal.ASSURANCE_MISSING),
        (
            {"hides_users": True, "may_ask_user": False, "risks": [Risk.CRITICAL] * 2, "assurances": SESSION * 2},
            RequestRefusal.MIXED_OPERATIONS,
        ),
    ],
)
def test_what_may_be_asked(changed: dict[str, object], verdict: RequestVerdict) -> None:
    assert judge_request(ask_facts(**changed)) == verdict


@pytest.mark.parametrize(
    ("demanded", "acr_values", "assurance"),
    [
        pytest.param([], [], Assurance.SESSION, id="nothing is demanded"),
        pytest.param(SESSION, [], Assurance.SESSION, id="the operation demands a session"),
        pytest.param([Assurance.SESSION, Assurance.NUMBER], [], Assurance.NUMBER, id="the highest demand counts"),
        pytest.param(SESSION, ["passkey"], Assurance.PASSKEY, id="the agent wants more"),
        pytest.param(SESSION, ["number", "passkey"], Assurance.NUMBER, id="the most wanted comes first"),
        pytest.param([Assurance.NUMBER], ["session"], Assurance.NUMBER, id="the agent wants less than is demanded"),
        pytest.param([Assurance.NUMBER], ["session", "passkey"], Assurance.PASSKEY, id="what is less is ignored"),
    ],
)
def test_the_verdict_names_the_assurance(
    demanded: list[Assurance], acr_values: list[str], assurance: Assurance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(risk, "AVAILABLE", frozenset(Assurance))
    verdict = judge_request(ask_facts(risks=[Risk.ROUTINE] * len(demanded), assurances=demanded, acr_values=acr_values))
    assert verdict == Acceptance(assurance)


def answer_facts(**changed: object) -> AnswerFacts:
    usual = {
        "is_own": True, "is_pending": True, "is_alive": True, "is_approval": True, "has_assurance": True,
        "expires_at": LATER,
    }  # fmt: skip
    return AnswerFacts(**{**usual, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, AnswerVerdict.COUNT),
        ({"is_approval": False}, AnswerVerdict.COUNT),
        ({"has_assurance": False}, AnswerVerdict.SIGN_IN_AGAIN),
        ({"has_assurance": False, "is_approval": False}, AnswerVerdict.COUNT),
        ({"expires_at": NOW}, AnswerVerdict.TOO_LATE),
        ({"is_alive": False}, AnswerVerdict.TOO_LATE),
        ({"is_pending": False}, AnswerVerdict.ANSWERED),
        ({"is_own": False}, AnswerVerdict.UNKNOWN),
        ({"is_own": False, "is_pending": False, "expires_at": EARLIER}, AnswerVerdict.UNKNOWN),
    ],
)
def test_which_answer_counts(changed: dict[str, object], verdict: AnswerVerdict) -> None:
    assert judge_answer(answer_facts(**changed), NOW) is verdict


@pytest.mark.parametrize(("sent", "seconds"), [(None, 300), (60, 60), (301, 301), (10**9, 3600)])
def test_the_lifetime_of_a_request_is_bounded(sent: int | None, seconds: int) -> None:
    assert lifetime_of_request(sent, 300, 3600) == timedelta(seconds=seconds)


HINT = {"scope": "openid", "login_hint": "person@example.com"}


class TestParameters:
    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            pytest.param({"scope": None}, InvalidRequest, id="no scope"),
            pytest.param({"scope": "calendar.read"}, InvalidScope, id="no openid"),
            pytest.param({"scope": "openidx"}, InvalidScope, id="almost openid"),
            pytest.param({"login_hint": None}, InvalidRequest, id="no hint"),
            pytest.param({"id_token_hint": "x"}, InvalidRequest, id="two hints"),
            pytest.param({"login_hint_token": "x"}, InvalidRequest, id="two other hints"),
            pytest.param({"login_hint": "x" * 4097}, InvalidRequest, id="a long hint"),
            pytest.param({"requested_expiry": "0"}, InvalidRequest, id="an expiry of nothing"),
            pytest.param({"requested_expiry": "-5"}, InvalidRequest, id="an expiry in the past"),
            pytest.param({"requested_expiry": "1.5"}, InvalidRequest, id="an expiry that is not whole"),
            pytest.param({"requested_expiry": "1e3"}, InvalidRequest, id="an expiry with an exponent"),
            pytest.param({"requested_expiry": "٣٠٠"}, InvalidRequest, id="an expiry in other digits"),
            pytest.param({"requested_expiry": "9" * 5000}, InvalidRequest, id="an expiry beyond all numbers"),
            pytest.param({"binding_message": "x" * (MAX_BINDING_MESSAGE + 1)}, InvalidBindingMessage, id="too long"),
            pytest.param({"binding_message": "pay \u202eeuro"}, InvalidBindingMessage, id="a bidi override"),
            pytest.param({"binding_message": "a\u200bb"}, InvalidBindingMessage, id="a zero-width space"),
            pytest.param({"binding_message": "a\nb"}, InvalidBindingMessage, id="two lines"),
            pytest.param({"binding_message": "see https://x.example"}, InvalidBindingMessage, id="a link"),
            pytest.param({"binding_message": "see WWW.x.example"}, InvalidBindingMessage, id="a link without scheme"),
        ],
    )
    def test_what_is_refused(self, changed: dict[str, str | None], error: type[ProtocolError]) -> None:
        given = {name: value for name, value in {**HINT, **changed}.items() if value is not None}
        with pytest.raises(ProtocolError) as raised:
            parse_parameters(given, is_called_back=False)
        assert type(raised.value) is error

    def test_what_is_taken(self) -> None:
        sent = parse_parameters(
            {**HINT, "binding_message": "Invoice 7, Müller", "requested_expiry": "120"}, is_called_back=False
        )
        assert (sent.hint_name, sent.unverified_hint) == ("login_hint", "person@example.com")
        assert (sent.binding_message, sent.requested_expiry) == ("Invoice 7, Müller", 120)


TOKEN = "x" * 22


class TestNotificationToken:
    @pytest.mark.parametrize("token", [TOKEN, "A-z0.9_~+/" * 3 + "==", "x" * 1024])
    def test_a_bearer_token(self, token: str) -> None:
        sent = parse_parameters({**HINT, "client_notification_token": token}, is_called_back=True)
        assert sent.client_notification_token == token

    @pytest.mark.parametrize(
        "token",
        [None, "x" * 21, "x" * 1025, "x" * 30 + " y", "x" * 30 + "\r\nX: y", "=" * 30, "x" * 30 + "=x", "é" * 30,
         "x" * 30 + "\n", '"' * 30, "x" * 30 + ","],
    )  # fmt: skip
    def test_anything_else(self, token: str | None) -> None:
        """No header can be made to say more than one token."""
        given = HINT if token is None else {**HINT, "client_notification_token": token}
        with pytest.raises(InvalidRequest, match="invalid_request"):
            parse_parameters(given, is_called_back=True)

    def test_nobody_else_needs_one(self) -> None:
        sent = parse_parameters({**HINT, "client_notification_token": " "}, is_called_back=False)
        assert sent.client_notification_token == ""


@pytest.mark.parametrize("state", list(State))
def test_what_a_push_agent_is_told_of_every_state(state: State) -> None:
    error = error_to_push(state)
    expected = {"denied": "access_denied", "expired": "expired_token"} | dict.fromkeys(
        ("cancelled", "revoked", "failed"), "transaction_failed"
    )
    assert (error.code if error else None) == expected.get(state)
