"""Codes and refresh tokens under real threads: one winner each, and what a second use does. 100 rounds each."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.lifecycle import stop_agent
from clients import lifecycle as agents
from foundation.handles import digest
from oauth.errors import InvalidGrant
from oauth.grants import lifecycle
from oauth.grants.endpoints import revoke_access_token, revoke_refresh_token
from oauth.grants.lifecycle import Proposal
from oauth.models import AuthorizationRequest, Grant, RefreshToken
from oauth.token_endpoint.authorization_code import HANDLER as CODE
from oauth.token_endpoint.authorization_code import Exchange
from oauth.token_endpoint.endpoints import TokenAttempt, TokenRequest, decide_and_mint
from oauth.token_endpoint.refresh_token import HANDLER as REFRESH
from oauth.token_endpoint.refresh_token import Refresh
from operations.models import Resource
from tests.support.consent import CALLBACK, WebAgent, challenge_of, make_web_agent, pass_time
from tests.support.duel import ROUNDS, Duel, at_once
from tests.support.world import ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


@pytest.fixture
def web(bank: ResourceServer, signing: None) -> WebAgent:
    return make_web_agent()


def propose(web: WebAgent, user: User) -> AuthorizationRequest:
    """A request whose page the user has open."""
    now = timezone.now()
    proposal = Proposal(
        agent=web.agent, user=user, resource=Resource.objects.get(), scopes=["openid", "calendar.read"],
        later_scopes=[], may_use_offline_access=True, redirect_uri=CALLBACK, client_state="", nonce="",
        code_challenge=challenge_of(web.verifier), signed_in_at=now, acr="session",
    )  # fmt: skip
    lifecycle.propose(proposal, b"x" * 32, now)
    return AuthorizationRequest.objects.select_related("agent", "user", "resource").latest("pk")


def consent(proposed: AuthorizationRequest) -> str | None:
    return lifecycle.consent(proposed, {"openid", "calendar.read"}, timezone.now(), offline=True, detail={})


def exchange(web: WebAgent, code: str) -> dict[str, Any] | Exception:
    sent = TokenRequest(web.agent, {"grant_type": "authorization_code"})
    return decide_and_mint(TokenAttempt(CODE, sent, Exchange(code, CALLBACK, web.verifier, None)))


def refresh(web: WebAgent, token: str) -> dict[str, Any] | Exception:
    sent = TokenRequest(web.agent, {"grant_type": "refresh_token"})
    return decide_and_mint(TokenAttempt(REFRESH, sent, Refresh(token, None, None)))


def grant_of(token: str) -> Grant:
    return RefreshToken.objects.select_related("grant").get(token_digest=digest(token)).grant


def revoked_events(grant: Grant) -> int:
    return Event.objects.filter(kind="grant.revoked", grant_id=grant.id).count()


def first_tokens(web: WebAgent, user: User) -> dict[str, Any]:
    code = consent(propose(web, user))
    assert code is not None
    issued = exchange(web, code)
    assert isinstance(issued, dict)
    return issued


def test_two_exchanges_of_one_code(web: WebAgent, user: User, bank: ResourceServer) -> None:
    for number in range(ROUNDS):
        code = consent(propose(web, user))
        assert code is not None
        answers = at_once(*[lambda code=code: exchange(web, code)] * 2)
        (issued,) = [answer for answer in answers if isinstance(answer, dict)]
        (refused,) = [answer for answer in answers if not isinstance(answer, dict)]
        assert isinstance(refused, InvalidGrant)
        grant = grant_of(issued["refresh_token"])
        assert grant.revoked_at is not None and revoked_events(grant) == 1
        assert grant.refresh_tokens.count() == 1, "no orphan of the one that lost"
        assert Event.objects.filter(kind="token.issued", grant_id=grant.id).count() == 1
        if number % 20 == 0:
            assert bank.introspect(issued["access_token"]).json() == {"active": False}


def test_two_refreshes_with_one_token(web: WebAgent, user: User, bank: ResourceServer) -> None:
    for number in range(ROUNDS):
        token = first_tokens(web, user)["refresh_token"]
        answers = at_once(*[lambda token=token: refresh(web, token)] * 2)
        first, second = answers
        assert first["refresh_token"] == second["refresh_token"]
        assert first["access_token"] != second["access_token"]
        grant = grant_of(token)
        assert grant.revoked_at is None and revoked_events(grant) == 0
        assert grant.refresh_tokens.count() == 2, "one successor"
        repeated = Event.objects.filter(kind="refresh_token.repeated", grant_id=grant.id)
        assert repeated.count() == 1, "one rotated it, the other repeated that"
        if number % 20 == 0:
            assert all(bank.introspect(one["access_token"]).json()["active"] for one in answers)
        pass_time(30)
        assert isinstance(refresh(web, token), InvalidGrant), "and a late one still ends the grant"
        assert isinstance(refresh(web, first["refresh_token"]), InvalidGrant)
        assert revoked_events(grant) == 1


def test_refresh_against_revoke(web: WebAgent, user: User, bank: ResourceServer) -> None:
    duel = Duel()
    for number in range(ROUNDS):
        token = first_tokens(web, user)["refresh_token"]
        answer, revoked = duel.fight(
            lambda token=token: refresh(web, token),
            lambda token=token: revoke_refresh_token(web.agent, token, timezone.now()),
        )
        assert revoked is True
        grant = grant_of(token)
        assert grant.revoked_at is not None and revoked_events(grant) == 1
        assert not Grant.objects.alive(timezone.now()).filter(pk=grant.pk).exists()
        duel.note(first_won=isinstance(answer, dict))
        if isinstance(answer, dict):
            assert isinstance(refresh(web, answer["refresh_token"]), InvalidGrant), "nothing of it goes on"
            if number % 20 == 0:
                assert bank.introspect(answer["access_token"]).json() == {"active": False}
    duel.assert_both_won()


def test_one_consent_page_answered_twice_is_one_grant(web: WebAgent, user: User) -> None:
    for _ in range(ROUNDS):
        proposed = propose(web, user)
        before = Grant.objects.count()
        answers = at_once(*[lambda proposed=proposed: consent(proposed)] * 2)
        assert sum(answer is not None for answer in answers) == 1
        assert Grant.objects.count() == before + 1


def test_consenting_against_stopping_leaves_nothing_alive(web: WebAgent, user: User) -> None:
    duel = Duel()
    for _ in range(ROUNDS):
        proposed = propose(web, user)
        answers = duel.fight(
            lambda proposed=proposed: consent(proposed), lambda: stop_agent(web.agent, user, timezone.now())
        )
        duel.note(first_won=answers[0] is not None)
        assert not Grant.objects.alive(timezone.now()).exists()
        agents.allow_again(web.agent, user, timezone.now())
    duel.assert_both_won()


def test_going_on_against_stopping_leaves_nothing_alive(web: WebAgent, user: User) -> None:
    for _ in range(ROUNDS):
        consent(propose(web, user))
        now = timezone.now()
        proposal = Proposal(
            agent=web.agent, user=user, resource=Resource.objects.get(), scopes=["openid"], later_scopes=[],
            may_use_offline_access=True, redirect_uri=CALLBACK, client_state="", nonce="",
            code_challenge=challenge_of(web.verifier), signed_in_at=now, acr="",
        )  # fmt: skip
        at_once(
            lambda proposal=proposal: lifecycle.reuse_consent(proposal, timezone.now()),
            lambda: stop_agent(web.agent, user, timezone.now()),
        )
        assert not Grant.objects.alive(timezone.now() + timedelta(seconds=1)).exists()
        agents.allow_again(web.agent, user, timezone.now())


def test_one_access_token_revoked_twice_is_one_event(web: WebAgent, user: User) -> None:
    for _ in range(ROUNDS // 5):
        token = first_tokens(web, user)["access_token"]
        before = Event.objects.filter(kind="token.revoked").count()
        answers = at_once(*[lambda token=token: revoke_access_token(web.agent, token, timezone.now())] * 2)
        assert answers == [True, True]
        assert Event.objects.filter(kind="token.revoked").count() == before + 1
