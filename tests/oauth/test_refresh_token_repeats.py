"""The same refresh token within 30 seconds: its agent gets the same successor again, and nobody else does."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import Event
from clients.models import CIBA, REFRESH_TOKEN, Agent
from foundation.handles import b64url, digest
from oauth.grants import grant_tree
from oauth.models import Grant, RefreshToken
from tests.support.certificates import make_certificate
from tests.support.consent import WebAgent, make_web_agent, pass_time
from tests.support.keys import Prover, new_key
from tests.support.world import ResourceServer

pytestmark = pytest.mark.django_db


def authenticated(settings: Any) -> WebAgent:
    return make_web_agent()


def by_name(settings: Any) -> WebAgent:
    return make_web_agent("Public agent", method="none")


def by_dpop_key(settings: Any) -> WebAgent:
    agent = make_web_agent("Public agent", method="none")
    agent.prover = Prover(new_key("ES256"))
    return agent


def by_certificate(settings: Any) -> WebAgent:
    settings.MTLS_URL = "https://mtls.example.com"
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    agent = make_web_agent("Public agent", method="none", tls_client_certificate_bound_access_tokens=True)
    agent.headers = {"Client-Cert": make_certificate().header}
    return agent


def authenticated_with_a_dpop_key(settings: Any) -> WebAgent:
    agent = make_web_agent()
    assert agent.caller
    agent.caller.prover = Prover(new_key("ES256"))
    return agent


AGENTS = [authenticated, by_name, by_dpop_key, by_certificate, authenticated_with_a_dpop_key]


@pytest.fixture(params=AGENTS, ids=lambda make: make.__name__)
def anybody(request: pytest.FixtureRequest, bank: ResourceServer, signing: None, settings: Any) -> WebAgent:
    made: WebAgent = request.param(settings)
    return made


def refresh(agent: WebAgent, token: str, **more: str) -> dict[str, Any]:
    response = agent.refresh(token, **more)
    assert response.status_code == 200, response.content
    return dict(response.json())


def refused(response: Any, error: str = "invalid_grant") -> bool:
    assert response.status_code == 400, response.content
    assert response.json()["error"] == error, response.content
    return True


def has_ended() -> bool:
    return Grant.objects.get().revoked_at is not None


def test_the_same_successor_again_with_a_new_access_token(
    anybody: WebAgent, browser_of_user: Client, bank: ResourceServer
) -> None:
    token = anybody.tokens(browser_of_user)["refresh_token"]
    first, second = refresh(anybody, token), refresh(anybody, token)
    pass_time(15)
    third = refresh(anybody, token)
    assert first["refresh_token"] == second["refresh_token"] == third["refresh_token"] != token
    assert len({one["access_token"] for one in (first, second, third)}) == 3
    assert all(bank.introspect(one["access_token"]).json()["active"] for one in (first, second, third))
    assert RefreshToken.objects.count() == 2, "one successor"
    assert not has_ended()
    repeats = Event.objects.filter(kind="refresh_token.repeated")
    assert [one.grant_id for one in repeats] == [Grant.objects.get().id] * 2
    assert all(one.client_id == anybody.agent.client_id for one in repeats)
    pass_time(61)
    assert refresh(anybody, first["refresh_token"])["refresh_token"] != first["refresh_token"]


def test_after_30_seconds_it_ends_the_grant(anybody: WebAgent, browser_of_user: Client, bank: ResourceServer) -> None:
    token = anybody.tokens(browser_of_user)["refresh_token"]
    first = refresh(anybody, token)
    pass_time(30)
    assert refused(anybody.refresh(token)) and has_ended()
    assert refused(anybody.refresh(first["refresh_token"]))
    assert bank.introspect(first["access_token"]).json() == {"active": False}


def test_a_successor_is_not_rotated_while_others_may_still_get_it(anybody: WebAgent, browser_of_user: Client) -> None:
    """So it is unused whenever the old token is repeated in time, however often the others refresh."""
    token = anybody.tokens(browser_of_user)["refresh_token"]
    successor = refresh(anybody, token)["refresh_token"]
    assert refresh(anybody, successor)["refresh_token"] == successor
    pass_time(15)
    assert refresh(anybody, successor)["refresh_token"] == successor == refresh(anybody, token)["refresh_token"]
    pass_time(45)
    assert refresh(anybody, successor)["refresh_token"] != successor
    assert not has_ended()


def test_a_successor_that_is_always_in_use_is_rotated_after_ten_minutes(
    anybody: WebAgent, browser_of_user: Client
) -> None:
    successor = refresh(anybody, anybody.tokens(browser_of_user)["refresh_token"])["refresh_token"]
    now = timezone.now()
    just_given = {"given_at": now + timedelta(seconds=60)}  # by another server, whose clock is ahead
    RefreshToken.objects.filter(used_at=None).update(created_at=now - timedelta(seconds=400), **just_given)
    assert refresh(anybody, successor)["refresh_token"] == successor, "another process may store it only now"
    RefreshToken.objects.filter(used_at=None).update(created_at=now - timedelta(seconds=600), **just_given)
    assert refresh(anybody, successor)["refresh_token"] != successor


@pytest.mark.parametrize("make", [by_dpop_key, by_certificate], ids=["a DPoP key", "a certificate"])
@pytest.mark.parametrize("bring", ["another", "none"])
def test_who_holds_another_key_gets_no_successor(
    make: Any, bring: str, settings: Any, bank: ResourceServer, signing: None, browser_of_user: Client
) -> None:
    """It is as a second use always was: what the thief has is no token, and the grant ends."""
    agent = make(settings)
    token = agent.tokens(browser_of_user)["refresh_token"]
    refresh(agent, token)
    if agent.prover:
        agent.prover = Prover(new_key("ES256")) if bring == "another" else None
        assert refused(agent.refresh(token))
    else:
        agent.headers = {"Client-Cert": make_certificate().header} if bring == "another" else {}
        assert refused(agent.refresh(token), "invalid_grant" if bring == "another" else "invalid_request")
    assert not Event.objects.filter(kind="refresh_token.repeated").exists()


def test_a_successor_that_was_bound_meanwhile(public: WebAgent, browser_of_user: Client) -> None:
    """The old token was bound to nothing; whoever holds only that gets nothing of what the key's holder has."""
    token = public.tokens(browser_of_user)["refresh_token"]
    public.prover = Prover(new_key("ES256"))
    successor = refresh(public, token)["refresh_token"]
    assert refresh(public, token)["refresh_token"] == successor, "the same key"
    public.prover = None
    assert refused(public.refresh(token)) and has_ended()


def test_a_successor_that_was_used_is_not_given_again(public: WebAgent, browser_of_user: Client) -> None:
    """It is used inside the time only where it was bound to a key: then its holder had the first answer."""
    token = public.tokens(browser_of_user)["refresh_token"]
    successor = refresh(public, token)["refresh_token"]
    public.prover = Prover(new_key("ES256"))
    bound = refresh(public, successor)["refresh_token"]
    assert bound != successor
    assert refused(public.refresh(token)) and has_ended()
    assert refused(public.refresh(bound))


def test_an_agent_that_authenticates_may_have_a_key_in_each_process(
    bank: ResourceServer, signing: None, browser_of_user: Client
) -> None:
    """RFC 9449 5: its refresh tokens are bound to it by its authentication, not to a DPoP key."""
    agent = authenticated_with_a_dpop_key(None)
    token = agent.tokens(browser_of_user)["refresh_token"]
    first = refresh(agent, token)
    assert agent.caller
    agent.caller.prover = Prover(new_key("ES256"))
    assert refresh(agent, token)["refresh_token"] == first["refresh_token"]


def test_strangers_learn_and_change_nothing(anybody: WebAgent, browser_of_user: Client) -> None:
    token = anybody.tokens(browser_of_user)["refresh_token"]
    successor = refresh(anybody, token)["refresh_token"]
    for stranger in (make_web_agent("Other"), make_web_agent("Other public", method="none")):
        assert stranger.refresh(token).json() == stranger.refresh("x" * 43).json()
        assert refused(stranger.refresh(successor))
    assert not has_ended() and not Event.objects.filter(kind="refresh_token.repeated").exists()


def test_the_user_ended_the_successor(web: WebAgent, browser_of_user: Client) -> None:
    token = web.tokens(browser_of_user)["refresh_token"]
    refresh(web, token)
    grant = Grant.objects.get()
    row = RefreshToken.objects.get(used_at=None)
    assert grant_tree.end_branch(grant, "refresh-token", str(row.pk), "user:x", timezone.now())
    assert refused(web.refresh(token)), "it does not come back"


def test_the_agent_revoked_the_successor(anybody: WebAgent, browser_of_user: Client) -> None:
    token = anybody.tokens(browser_of_user)["refresh_token"]
    successor = refresh(anybody, token)["refresh_token"]
    assert anybody.post("/oauth/revoke", {"token": successor}).status_code == 200
    assert refused(anybody.refresh(token)) and has_ended()


def test_a_wrong_parameter_costs_nothing_and_scope_may_differ(web: WebAgent, browser_of_user: Client) -> None:
    token = web.tokens(browser_of_user, scope="openid email calendar.read")["refresh_token"]
    first = refresh(web, token)
    assert refused(web.refresh(token, resource="https://other.example.com/"), "invalid_target")
    assert refused(web.refresh(token, scope="profile"), "invalid_scope")
    narrow = refresh(web, token, scope="calendar.read")
    assert narrow["scope"] == "calendar.read" and narrow["refresh_token"] == first["refresh_token"]


class TestHowTheSuccessorIsMade:
    def test_not_stored_and_not_from_the_old_token_alone(
        self, web: WebAgent, browser_of_user: Client, settings: Any
    ) -> None:
        """The same old token and the same salt under another server key lead elsewhere."""
        token = web.tokens(browser_of_user)["refresh_token"]
        successor = refresh(web, token)["refresh_token"]
        stored = json.dumps(list(RefreshToken.objects.values()), default=repr)
        assert successor not in stored and token not in stored
        settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32}
        assert refused(web.refresh(token))
        assert not has_ended(), "the server lost its key: that is not the agent's fault"
        assert refresh(web, successor)["refresh_token"] == successor

    def test_the_server_key_is_rotated_in_between(
        self, anybody: WebAgent, browser_of_user: Client, settings: Any
    ) -> None:
        token = anybody.tokens(browser_of_user)["refresh_token"]
        successor = refresh(anybody, token)["refresh_token"]
        settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32, **settings.KEY_ENCRYPTION_KEYS}
        assert refresh(anybody, token)["refresh_token"] == successor
        pass_time(61)
        later = refresh(anybody, successor)["refresh_token"]
        assert refresh(anybody, successor)["refresh_token"] == later, "made with the new key"

    def test_it_differs_each_time(self, web: WebAgent, browser_of_user: Client) -> None:
        """A salt: who once learned the server's key and one token does not know every token that follows."""
        token = web.tokens(browser_of_user)["refresh_token"]
        first = refresh(web, token)["refresh_token"]
        RefreshToken.objects.filter(token_digest=digest(first)).delete()
        RefreshToken.objects.update(used_at=None)
        assert refresh(web, token)["refresh_token"] != first
        salts = {b64url(bytes(salt)) for salt in RefreshToken.objects.exclude(salt=b"").values_list("salt", flat=True)}
        assert all(len(salt) == 43 for salt in salts)


class TestFapi2:
    """FAPI 2.0 Security Profile 5.3.2.1: refresh tokens are not rotated."""

    @pytest.fixture
    def fapi2(self, bank: ResourceServer, signing: None) -> WebAgent:
        agent = authenticated_with_a_dpop_key(None)
        Agent.objects.filter(pk=agent.agent.pk).update(
            grant_types=["authorization_code", REFRESH_TOKEN, CIBA], dpop_bound_access_tokens=True
        )
        return agent

    @pytest.fixture
    def token(self, fapi2: WebAgent, browser_of_user: Client) -> str:
        token = str(fapi2.tokens(browser_of_user)["refresh_token"])
        Agent.objects.filter(pk=fapi2.agent.pk).update(profile="fapi2-ciba")
        return token

    def test_it_stays_and_may_be_used_for_ever(self, fapi2: WebAgent, token: str) -> None:
        for seconds in (0, 5, 31, 3600):
            pass_time(seconds)
            response = fapi2.refresh(token)
            assert response.status_code == 200, response.content
            assert response.json()["refresh_token"] == token
        assert RefreshToken.objects.count() == 1 and not has_ended()

    def test_its_idle_time_starts_again_and_it_never_outlives_its_grant(self, fapi2: WebAgent, token: str) -> None:
        soon = timezone.now() + timedelta(hours=1)
        RefreshToken.objects.update(expires_at=soon)
        assert fapi2.refresh(token).status_code == 200
        assert RefreshToken.objects.get().expires_at > soon + timedelta(days=13)
        end = timezone.now() + timedelta(hours=2)
        Grant.objects.update(expires_at=end)
        RefreshToken.objects.update(expires_at=soon)
        assert fapi2.refresh(token).status_code == 200
        assert RefreshToken.objects.get().expires_at == end

    def test_what_the_user_ended_does_not_come_back(self, fapi2: WebAgent, token: str) -> None:
        RefreshToken.objects.update(expires_at=timezone.now())
        assert refused(fapi2.refresh(token))
