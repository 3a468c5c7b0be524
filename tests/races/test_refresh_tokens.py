"""Several processes of one agent refresh with the token that they share. Threads with connections of their own."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from foundation.errors import ProtocolError
from oauth.errors import InvalidGrant
from oauth.models import Grant, RefreshToken
from oauth.token_endpoint.endpoints import TokenRequest, issue
from oauth.token_endpoint.refresh_token import HANDLER, Refresh
from tests.races.test_codes import first_tokens
from tests.support.consent import WebAgent, make_web_agent
from tests.support.duel import ROUNDS, at_once
from tests.support.world import ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]

HOUR = 3600  # seconds
PROCESSES = 5
NETWORK = 8  # seconds that an answer may be on its way, and that clocks differ


@pytest.fixture(params=["private_key_jwt", "none"], ids=["authenticates", "public"])
def web(request: pytest.FixtureRequest, bank: ResourceServer, signing: None) -> WebAgent:
    return make_web_agent(method=request.param)


@transaction.atomic(durable=True)
def refresh_at(web: WebAgent, token: str, now: datetime) -> dict[str, Any] | ProtocolError:
    """As the token endpoint does, at a time that the test says."""
    sent = TokenRequest(web.agent, {"grant_type": "refresh_token"})
    verdict = HANDLER.decide(sent, Refresh(token, None, None), now)
    return verdict if isinstance(verdict, ProtocolError) else issue(verdict, sent.binding, "refresh_token", now)


@dataclass
class Store:
    """Where all processes read and write the refresh token: no lock, the last write stays."""

    token: str


@dataclass
class Process:
    """One of an agent's processes. Its access token is its own; now and then it restarts, or loses an answer."""

    web: WebAgent
    store: Store
    chance: random.Random
    next_at: datetime  # of what it does next
    held: str = ""  # what it tries with until an answer arrives
    arrived: dict[str, Any] | None = None
    tries: int = 0
    answers: list[Any] = field(default_factory=list)

    def act(self, now: datetime) -> None:
        """Asks, or stores what arrived: between the two other processes go on."""
        if self.arrived is not None:
            self.store.token, self.held = self.arrived["refresh_token"], ""
            restarts = self.chance.random() < 0.3
            self.next_at = now + timedelta(seconds=self.chance.uniform(0, 60 if restarts else 270))
            self.arrived = None
            return
        if not self.held:
            self.held, self.tries = self.store.token, 0
        answer = refresh_at(self.web, self.held, now)
        self.answers.append(answer)
        self.tries += 1
        if isinstance(answer, dict) and (self.tries == 3 or self.chance.random() > 0.2):
            self.arrived = answer
        self.next_at = now + timedelta(seconds=self.chance.uniform(0, NETWORK))  # the answer's way, or a new try


@pytest.mark.parametrize("seed", [1, 10, 21])  # the last two straddle the end of a settling time
def test_five_processes_share_a_token_for_an_hour_and_no_consent_is_lost(web: WebAgent, user: User, seed: int) -> None:
    began = timezone.now()
    store, chance = Store(first_tokens(web, user)["refresh_token"]), random.Random(seed)
    processes = [Process(web, store, random.Random(chance.random()), began) for _ in range(PROCESSES)]
    for second in range(HOUR):
        now = began + timedelta(seconds=second)
        if due := [process for process in processes if process.next_at <= now]:
            at_once(*[lambda process=process, now=now: process.act(now) for process in due])
    answers = [answer for process in processes for answer in process.answers]
    assert [answer for answer in answers if not isinstance(answer, dict)] == []
    assert len(answers) > PROCESSES * HOUR / 300, "each refreshed about every five minutes"
    grant = Grant.objects.get()
    assert grant.revoked_at is None
    assert not Event.objects.filter(kind="grant.revoked").exists()
    assert Event.objects.filter(kind="refresh_token.repeated", grant_id=grant.id).count() > 0, "this raced"
    unused = RefreshToken.objects.get(used_at=None)
    assert unused.predecessor_id is not None and RefreshToken.objects.count() > HOUR / 300


def test_many_refreshes_at_once_bring_one_successor(web: WebAgent, user: User) -> None:
    for _ in range(ROUNDS):
        token = first_tokens(web, user)["refresh_token"]
        now = timezone.now()
        answers = at_once(*[lambda token=token, now=now: refresh_at(web, token, now)] * PROCESSES)
        assert len({answer["refresh_token"] for answer in answers}) == 1
        assert len({answer["access_token"] for answer in answers}) == PROCESSES
        grant = Grant.objects.latest("created_at")
        assert grant.revoked_at is None and grant.refresh_tokens.count() == 2


def test_many_late_uses_at_once_end_the_grant_once(web: WebAgent, user: User) -> None:
    for _ in range(ROUNDS // 5):
        token = first_tokens(web, user)["refresh_token"]
        now = timezone.now()
        refresh_at(web, token, now)
        late = now + timedelta(seconds=30)
        answers = at_once(*[lambda token=token, late=late: refresh_at(web, token, late)] * PROCESSES)
        assert all(isinstance(answer, InvalidGrant) for answer in answers)
        grant = Grant.objects.latest("created_at")
        assert grant.revoked_at is not None
        assert Event.objects.filter(kind="grant.revoked", grant_id=grant.id).count() == 1


def test_a_repeat_against_the_successors_rotation_leaves_the_grant(web: WebAgent, user: User) -> None:
    """A repeat in its last moment, and on another server, whose clock is ahead, the next refresh."""
    for _ in range(ROUNDS // 5):
        token = first_tokens(web, user)["refresh_token"]
        now = timezone.now()
        first = refresh_at(web, token, now)
        assert isinstance(first, dict)
        last, ahead = now + timedelta(seconds=29.9), now + timedelta(seconds=31)
        repeat, after = at_once(
            lambda token=token, last=last: refresh_at(web, token, last),
            lambda token=first["refresh_token"], ahead=ahead: refresh_at(web, token, ahead),
        )
        assert repeat["refresh_token"] == first["refresh_token"] == after["refresh_token"]
        assert Grant.objects.latest("created_at").revoked_at is None
