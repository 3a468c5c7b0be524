"""Real threads on PostgreSQL: of two at the same moment one wins, and the trail tells of one.

Each race runs 100 rounds. Both sides start from a barrier, each on a connection of its own.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import Invitation, User
from audit.models import Event
from ciba import lifecycle
from ciba.attempt import BackchannelAttempt
from ciba.models import Approval, BackchannelRequest, Prompt
from ciba.policy import AnswerVerdict
from ciba.token_grant import HANDLER, Poll
from clients import lifecycle as agents
from foundation.poll_throttle import PollPace
from oauth.grants.lifecycle import UseCall, use
from oauth.models import Grant, Use
from oauth.requests.requested_access import find_requested_access
from oauth.token_endpoint.endpoints import TokenAttempt, TokenRequest, decide_and_mint
from oauth.tokens.issuance import Issue
from operations.risk import Assurance
from tests.support.duel import ROUNDS, Duel, at_once
from tests.support.world import PAYMENT, Caller, ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


def answerer(user: User) -> lifecycle.Approver:
    return lifecycle.Approver(user, Assurance.SESSION, timezone.now(), "127.0.0.1", "race")


@dataclass
class RequestTraits:
    """One open request, and both ways to answer and redeem it."""

    caller: Caller
    user: User
    auth_req_id: str
    request: BackchannelRequest
    prompt: Prompt

    def approve(self) -> AnswerVerdict:
        return lifecycle.approve(self.prompt.id, answerer(self.user), timezone.now())

    def deny(self) -> AnswerVerdict:
        return lifecycle.deny(self.prompt.id, answerer(self.user), timezone.now())

    def redeem(self) -> Any:
        poll = Poll(self.auth_req_id, PollPace(early=0, interval=5))
        return decide_and_mint(TokenAttempt(HANDLER, TokenRequest(self.caller.agent, {"grant_type": "ciba"}), poll))

    def events(self) -> Counter[str]:
        return Counter(Event.objects.filter(request_id=self.request.id).values_list("kind", flat=True))


def open_request(caller: Caller, user: User, now: datetime | None = None) -> RequestTraits:
    requested = find_requested_access(caller.agent, {"scope": "openid", "authorization_details": json.dumps([PAYMENT])})
    opened = lifecycle.open(BackchannelAttempt(caller.agent, now or timezone.now(), {}, requested=requested, user=user))
    assert isinstance(opened, lifecycle.OpenedRequest)
    return RequestTraits(caller, user, opened.auth_req_id, opened.request, Prompt.objects.get(request=opened.request))


def test_two_approvals_at_once_are_one(agent: Caller, user: User) -> None:
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        answers = at_once(requesting.approve, requesting.approve)
        assert sorted(a.name for a in answers) == ["ANSWERED", "COUNT"]
        assert requesting.events() == {"request.opened": 1, "request.approved": 1}
        assert Grant.objects.filter(request_id=requesting.request.id).count() == 1
        assert Approval.objects.filter(prompt=requesting.prompt).count() == 1
        requesting.redeem()


def test_approve_against_deny_has_one_winner(agent: Caller, user: User) -> None:
    duel = Duel()
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        answers = duel.fight(requesting.approve, requesting.deny)
        assert sorted(a.name for a in answers) == ["ANSWERED", "COUNT"]
        requesting.request.refresh_from_db()
        requesting.prompt.refresh_from_db()
        winner = "approved" if answers[0] is AnswerVerdict.COUNT else "denied"
        assert requesting.request.state == requesting.prompt.answer == winner
        assert requesting.events() == {"request.opened": 1, f"request.{winner}": 1}
        assert Grant.objects.filter(request_id=requesting.request.id).exists() == (winner == "approved")
        duel.note(first_won=winner == "approved")
        if winner == "approved":
            requesting.redeem()
    duel.assert_both_won()


@pytest.mark.parametrize("hides", [False, True], ids=["told", "hidden"])
def test_many_that_ask_at_once_do_not_pass_the_limit(agent: Caller, user: User, settings: Any, *, hides: bool) -> None:
    settings.MAX_PENDING_PER_USER, settings.HIDE_UNKNOWN_USERS = 2, hides
    requested = find_requested_access(agent.agent, {"scope": "openid"})
    for _ in range(ROUNDS):
        attempt = BackchannelAttempt(agent.agent, timezone.now(), {}, requested=requested, user=user)
        ask = [lambda attempt=attempt: lifecycle.open(attempt)] * 4
        opened = [answer for answer in at_once(*ask) if isinstance(answer, lifecycle.OpenedRequest)]
        requested_them = [one for one in opened if one.request.user == user]
        assert len(requested_them) == 2 and len(opened) == (4 if hides else 2)
        for one in requested_them:
            lifecycle.deny(Prompt.objects.get(request=one.request).id, answerer(user), timezone.now())


def test_two_redemptions_at_once_issue_one_token(agent: Caller, user: User) -> None:
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        requesting.approve()
        answers = at_once(requesting.redeem, requesting.redeem)
        issued = [answer for answer in answers if isinstance(answer, dict)]
        refused = [answer.code for answer in answers if not isinstance(answer, dict)]
        assert len(issued) == 1 and refused == ["invalid_grant"]
        events = requesting.events()
        assert events["request.redeemed"] == events["token.issued"] == 1


def test_redemption_against_expiry_has_one_winner(agent: Caller, user: User) -> None:
    """The sweeper looks at its clock just after the end, the poll just before it."""
    duel = Duel()
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        requesting.approve()
        requesting.request.refresh_from_db()  # the approval has moved its end
        end = requesting.request.expires_at

        def redeem_just_in_time(requesting: RequestTraits = requesting, end: datetime = end) -> bool:
            with transaction.atomic(durable=True):
                poll = Poll(requesting.auth_req_id, PollPace(early=0, interval=5))
                return isinstance(
                    HANDLER.decide(TokenRequest(agent.agent, {}), poll, end - timedelta(microseconds=1)), Issue
                )

        redeemed, expired = duel.fight(redeem_just_in_time, lambda end=end: lifecycle.expire_due(end, 10))
        requesting.request.refresh_from_db()
        assert (requesting.request.state == "redeemed") == redeemed
        assert redeemed + expired <= 1
        if not redeemed and not expired:  # the sweeper skipped the row that the poll had locked, or the reverse
            lifecycle.expire_due(end, 10)
            requesting.request.refresh_from_db()
        events = requesting.events()
        assert events["request.redeemed"] + events["request.expired"] == 1
        duel.note(first_won=redeemed)
    duel.assert_both_won()


def test_two_uses_of_one_are_one(agent: Caller, user: User, bank: ResourceServer) -> None:
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        requesting.approve()
        grant = Grant.objects.get(request_id=requesting.request.id)
        called = UseCall(grant.id, grant.operation_digest, None)
        answers = at_once(*[lambda: use(called, bank.resource, timezone.now())] * 2)  # noqa: B023 - used in this round
        assert sorted(type(answer).__name__ for answer in answers) == ["Use", "UsedUp"]
        grant.refresh_from_db()
        assert grant.uses_left == 0 and grant.uses.count() == 1
        assert requesting.events()["use.spent"] == 1
        requesting.redeem()


def test_one_idempotency_key_at_once_is_one_use(agent: Caller, user: User, bank: ResourceServer) -> None:
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        requesting.approve()
        grant = Grant.objects.get(request_id=requesting.request.id)
        called = UseCall(grant.id, grant.operation_digest, "same key")
        first, second = at_once(*[lambda: use(called, bank.resource, timezone.now())] * 2)  # noqa: B023
        assert isinstance(first, Use) and isinstance(second, Use) and first.id == second.id
        assert requesting.events()["use.spent"] == 1
        requesting.redeem()


def test_one_assertion_at_once_authenticates_once(agent: Caller) -> None:
    for _ in range(ROUNDS):
        assertion = agent.assertion()

        def call(assertion: str = assertion) -> int:
            caller = Caller(agent.agent, agent.key, http=Client())
            return int(caller.client_credentials(client_assertion=assertion, scope="calendar.read").status_code)

        assert sorted(at_once(call, call)) == [200, 401]


def test_one_invitation_at_once_is_accepted_once(administrator: User) -> None:
    for number in range(3):  # each acceptance is an Argon2 hash
        _, handle = users.invite(f"new{number}@example.com", "", administrator, timezone.now())
        invitation = users.find_invitation(handle, timezone.now())
        assert isinstance(invitation, Invitation)
        accept = [lambda: users.accept_invitation(invitation.id, "a long new password", timezone.now())] * 2  # noqa: B023
        assert sorted(at_once(*accept)) == [False, True]


def test_stopping_an_agent_against_an_approval_leaves_nothing_alive(agent: Caller, user: User) -> None:
    for _ in range(ROUNDS):
        requesting = open_request(agent, user)
        at_once(requesting.approve, lambda: lifecycle.stop_agent(agent.agent, user, timezone.now()))
        requesting.request.refresh_from_db()
        assert requesting.request.state in {"cancelled", "revoked"}
        assert not Grant.objects.alive(timezone.now()).filter(request_id=requesting.request.id).exists()
        agents.allow_again(agent.agent, user, timezone.now())
