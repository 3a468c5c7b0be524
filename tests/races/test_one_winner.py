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

from accounts import lifecycle as people
from accounts.models import Invitation, User
from audit.models import Event
from ciba import lifecycle
from ciba.grant import HANDLER, Poll
from ciba.models import Approval, BackchannelRequest, Prompt
from ciba.parameters import Asked
from ciba.policy import AnswerVerdict
from foundation.pacing import Pace
from oauth.lifecycle import Called, use
from oauth.minting import Issue
from oauth.models import Grant, Use
from oauth.requesting import find_requested
from oauth.token_endpoint import Attempt, TokenRequest, decide_and_mint
from operations.risk import Assurance
from tests.races.racing import ROUNDS, Duel, at_once
from tests.world import PAYMENT, Caller, ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


def answerer(person: User) -> lifecycle.Answerer:
    return lifecycle.Answerer(person, Assurance.SESSION, timezone.now(), "127.0.0.1", "race")


@dataclass
class Asking:
    """One open request, and both ways to answer and redeem it."""

    caller: Caller
    person: User
    auth_req_id: str
    request: BackchannelRequest
    prompt: Prompt

    def approve(self) -> AnswerVerdict:
        return lifecycle.approve(self.prompt.id, answerer(self.person), timezone.now())

    def deny(self) -> AnswerVerdict:
        return lifecycle.deny(self.prompt.id, answerer(self.person), timezone.now())

    def redeem(self) -> Any:
        poll = Poll(self.auth_req_id, Pace(early=0, interval=5))
        return decide_and_mint(Attempt(HANDLER, TokenRequest(self.caller.agent, {"grant_type": "ciba"}), poll))

    def events(self) -> Counter[str]:
        return Counter(Event.objects.filter(request_id=self.request.id).values_list("kind", flat=True))


def open_request(caller: Caller, person: User, now: datetime | None = None) -> Asking:
    requested = find_requested(caller.agent, {"scope": "openid", "authorization_details": json.dumps([PAYMENT])})
    opened = lifecycle.open(caller.agent, person, Asked(person.email, None, "", None), requested, now or timezone.now())
    assert isinstance(opened, lifecycle.Opened)
    return Asking(caller, person, opened.auth_req_id, opened.request, Prompt.objects.get(request=opened.request))


def test_two_approvals_at_once_are_one(agent: Caller, person: User) -> None:
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        answers = at_once(asking.approve, asking.approve)
        assert sorted(a.name for a in answers) == ["ANSWERED", "COUNT"]
        assert asking.events() == {"request.opened": 1, "request.approved": 1}
        assert Grant.objects.filter(request_id=asking.request.id).count() == 1
        assert Approval.objects.filter(prompt=asking.prompt).count() == 1
        asking.redeem()


def test_approve_against_deny_has_one_winner(agent: Caller, person: User) -> None:
    duel = Duel()
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        answers = duel.fight(asking.approve, asking.deny)
        assert sorted(a.name for a in answers) == ["ANSWERED", "COUNT"]
        asking.request.refresh_from_db()
        asking.prompt.refresh_from_db()
        winner = "approved" if answers[0] is AnswerVerdict.COUNT else "denied"
        assert asking.request.state == asking.prompt.answer == winner
        assert asking.events() == {"request.opened": 1, f"request.{winner}": 1}
        assert Grant.objects.filter(request_id=asking.request.id).exists() == (winner == "approved")
        duel.note(first_won=winner == "approved")
        if winner == "approved":
            asking.redeem()
    duel.assert_both_won()


@pytest.mark.parametrize("hides", [False, True], ids=["told", "hidden"])
def test_many_that_ask_at_once_do_not_pass_the_limit(
    agent: Caller, person: User, settings: Any, *, hides: bool
) -> None:
    settings.MAX_PENDING_PER_PERSON, settings.HIDE_UNKNOWN_USERS = 2, hides
    requested = find_requested(agent.agent, {"scope": "openid"})
    asked = Asked(person.email, None, "", None)
    for _ in range(ROUNDS):
        ask = [lambda: lifecycle.open(agent.agent, person, asked, requested, timezone.now())] * 4
        opened = [answer for answer in at_once(*ask) if isinstance(answer, lifecycle.Opened)]
        asked_them = [one for one in opened if one.request.user == person]
        assert len(asked_them) == 2 and len(opened) == (4 if hides else 2)
        for one in asked_them:
            lifecycle.deny(Prompt.objects.get(request=one.request).id, answerer(person), timezone.now())


def test_two_redemptions_at_once_issue_one_token(agent: Caller, person: User) -> None:
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        asking.approve()
        answers = at_once(asking.redeem, asking.redeem)
        issued = [answer for answer in answers if isinstance(answer, dict)]
        refused = [answer.code for answer in answers if not isinstance(answer, dict)]
        assert len(issued) == 1 and refused == ["invalid_grant"]
        events = asking.events()
        assert events["request.redeemed"] == events["token.issued"] == 1


def test_redemption_against_expiry_has_one_winner(agent: Caller, person: User) -> None:
    """The sweeper looks at its clock just after the end, the poll just before it."""
    duel = Duel()
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        asking.approve()
        asking.request.refresh_from_db()  # the approval has moved its end
        end = asking.request.expires_at

        def redeem_just_in_time(asking: Asking = asking, end: datetime = end) -> bool:
            with transaction.atomic(durable=True):
                poll = Poll(asking.auth_req_id, Pace(early=0, interval=5))
                return isinstance(
                    HANDLER.decide(TokenRequest(agent.agent, {}), poll, end - timedelta(microseconds=1)), Issue
                )

        redeemed, expired = duel.fight(redeem_just_in_time, lambda end=end: lifecycle.expire_due(end, 10))
        asking.request.refresh_from_db()
        assert (asking.request.state == "redeemed") == redeemed
        assert redeemed + expired <= 1
        if not redeemed and not expired:  # the sweeper skipped the row that the poll had locked, or the reverse
            lifecycle.expire_due(end, 10)
            asking.request.refresh_from_db()
        events = asking.events()
        assert events["request.redeemed"] + events["request.expired"] == 1
        duel.note(first_won=redeemed)
    duel.assert_both_won()


def test_two_uses_of_one_are_one(agent: Caller, person: User, bank: ResourceServer) -> None:
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        asking.approve()
        grant = Grant.objects.get(request_id=asking.request.id)
        called = Called(grant.id, grant.operation_digest, None)
        answers = at_once(*[lambda: use(called, bank.resource, timezone.now())] * 2)  # noqa: B023 - used in this round
        assert sorted(type(answer).__name__ for answer in answers) == ["Use", "UsedUp"]
        grant.refresh_from_db()
        assert grant.uses_left == 0 and grant.uses.count() == 1
        assert asking.events()["use.spent"] == 1
        asking.redeem()


def test_one_idempotency_key_at_once_is_one_use(agent: Caller, person: User, bank: ResourceServer) -> None:
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        asking.approve()
        grant = Grant.objects.get(request_id=asking.request.id)
        called = Called(grant.id, grant.operation_digest, "same key")
        first, second = at_once(*[lambda: use(called, bank.resource, timezone.now())] * 2)  # noqa: B023
        assert isinstance(first, Use) and isinstance(second, Use) and first.id == second.id
        assert asking.events()["use.spent"] == 1
        asking.redeem()


def test_one_assertion_at_once_authenticates_once(agent: Caller) -> None:
    for _ in range(ROUNDS):
        assertion = agent.assertion()

        def call(assertion: str = assertion) -> int:
            caller = Caller(agent.agent, agent.key, http=Client())
            return int(caller.client_credentials(client_assertion=assertion, scope="calendar.read").status_code)

        assert sorted(at_once(call, call)) == [200, 401]


def test_one_invitation_at_once_is_accepted_once(administrator: User) -> None:
    for number in range(3):  # each acceptance is an Argon2 hash
        _, handle = people.invite(f"new{number}@example.com", "", administrator, timezone.now())
        invitation = people.find_invitation(handle, timezone.now())
        assert isinstance(invitation, Invitation)
        accept = [lambda: people.accept_invitation(invitation.id, "a long new password", timezone.now())] * 2  # noqa: B023
        assert sorted(at_once(*accept)) == [False, True]


def test_stopping_an_agent_against_an_approval_leaves_nothing_alive(agent: Caller, person: User) -> None:
    for _ in range(ROUNDS):
        asking = open_request(agent, person)
        at_once(asking.approve, lambda: lifecycle.stop_agent(agent.agent, person, timezone.now()))
        asking.request.refresh_from_db()
        assert asking.request.state in {"cancelled", "revoked"}
        assert not Grant.objects.alive(timezone.now()).filter(request_id=asking.request.id).exists()
        lifecycle.agents.allow_again(agent.agent, person, timezone.now())
