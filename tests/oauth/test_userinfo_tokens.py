"""Which tokens work at /userinfo (OpenID Connect Core 5.3): those of a sign-in or an approval with `openid`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from oauth.models import Grant
from oauth.tokens.issuance import Issue, access_token_claims, sign
from oauth.tokens.key_binding import UNBOUND
from oauth.tokens.signing_keys import signing_key
from operations.models import Resource, Scope
from tests.support.consent import WebAgent, claims_of
from tests.support.keys import Prover, new_key
from tests.support.world import CALENDAR, PAYMENT, Caller, ResourceServer, proved, sign_in

pytestmark = pytest.mark.django_db


def call(token: str, **headers: str) -> Any:
    return Client().get("/userinfo", headers={"Authorization": f"Bearer {token}", **headers})


def approved(caller: Caller, user: User, **sent: Any) -> str:
    """The access token of a request by CIBA."""
    auth_req_id = caller.ask(user, **sent).json()["auth_req_id"]
    browser = sign_in(user)
    (prompt,) = browser.get("/v1/prompts").json()["prompts"]
    browser.post(f"/v1/prompts/{prompt['id']}/approve")
    return str(caller.poll(auth_req_id).json()["access_token"])


class TestWhateverItsAudience:
    def test_from_a_code_and_from_a_refresh_token(
        self, web: WebAgent, browser_of_user: Client, user: User, bank: ResourceServer
    ) -> None:
        tokens = web.tokens(browser_of_user, scope="openid email calendar.read")
        again = web.refresh(tokens["refresh_token"]).json()
        for token in (tokens["access_token"], again["access_token"]):
            assert claims_of(token)["aud"] == bank.resource.identifier
            assert call(token).json() == {"sub": str(user.id), "email": user.email}

    @pytest.mark.parametrize(
        "sent",
        [{"scope": "openid calendar.read"}, {"scope": "openid", "authorization_details": [PAYMENT]}],
        ids=["routine access", "a critical operation"],
    )
    def test_from_an_approval(self, sent: dict[str, Any], agent: Caller, user: User, bank: ResourceServer) -> None:
        token = approved(agent, user, **sent)
        assert claims_of(token)["aud"] == bank.resource.identifier
        assert call(token).json() == {"sub": str(user.id)}

    def test_for_our_own_leases(self, web: WebAgent, browser_of_user: Client, user: User, settings: Any) -> None:
        own = Resource.objects.create(identifier=f"{settings.ISSUER_URL}/v1", name="Leases")
        web.agent.scopes.add(Scope.objects.create(resource=own, name="leases", description="Use leases"))
        token = web.tokens(browser_of_user, scope="openid leases")["access_token"]
        assert call(token).json()["sub"] == str(user.id)

    def test_a_narrower_refresh_tells_less(self, web: WebAgent, browser_of_user: Client, user: User) -> None:
        tokens = web.tokens(browser_of_user, scope="openid email profile calendar.read")
        narrow = web.refresh(tokens["refresh_token"], scope="openid calendar.read").json()
        assert call(narrow["access_token"]).json() == {"sub": str(user.id)}
        without = web.refresh(narrow["refresh_token"], scope="email calendar.read").json()
        assert call(without["access_token"]).status_code == 403

    def test_the_token_still_works_at_no_other_api(
        self, web: WebAgent, browser_of_user: Client, signing: None, agent: Caller, user: User
    ) -> None:
        for token in (
            web.tokens(browser_of_user, scope="openid calendar.read")["access_token"],
            approved(agent, user, scope="openid calendar.read"),
        ):
            assert call(token).status_code == 200
            answer = Client().get("/v1/leases", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401

    def test_only_its_holder(self, public: WebAgent, browser_of_user: Client, user: User) -> None:
        """A stolen DPoP-bound token: not as a bearer token, not with another key, not without a proof."""
        public.prover = Prover(new_key("ES256"))
        token = public.tokens(browser_of_user, scope="openid calendar.read")["access_token"]

        def get(prover: Prover | None, scheme: str = "DPoP") -> Any:
            def send(**headers: str) -> Any:
                made = {"DPoP": prover.proof("/userinfo", method="GET", token=token)} if prover else {}
                return Client().get("/userinfo", headers={"Authorization": f"{scheme} {token}", **headers, **made})

            return proved(prover, send)

        assert get(public.prover).json()["sub"] == str(user.id)
        assert get(None, "Bearer").status_code == get(None).status_code == 401
        assert get(Prover(new_key("ES256"))).status_code == 401


class TestNoOtherToken:
    def test_client_credentials(self, agent: Caller) -> None:
        for sent in ({"scope": "calendar.read"}, {"authorization_details": [CALENDAR]}):
            response = call(agent.client_credentials(**sent).json()["access_token"])
            assert response.status_code == 401
            assert 'error="invalid_token"' in response["WWW-Authenticate"]

    @pytest.mark.parametrize("scope", ["calendar.read", "profile email calendar.read"])
    def test_without_openid(self, scope: str, web: WebAgent, browser_of_user: Client) -> None:
        response = call(web.tokens(browser_of_user, scope=scope)["access_token"])
        assert response.status_code == 403 and response.json()["error"] == "insufficient_scope"

    CHANGED: tuple[Any, ...] = (
        pytest.param(lambda claims, other: claims.update(client_id=other), id="exchanged for another agent"),
        pytest.param(
            lambda claims, other: claims.update(client_id=other, act={"sub": other}), id="the same, which then acts"
        ),
        pytest.param(
            lambda claims, other: claims.update(act={"sub": claims["client_id"], "act": {"sub": other}}),
            id="with a longer chain of actors",
        ),
        pytest.param(lambda claims, other: claims.pop("act"), id="without an actor"),
        pytest.param(lambda claims, other: claims.update(sub=other), id="about somebody else"),
        pytest.param(lambda claims, other: claims.pop("grant_id"), id="without a grant"),
    )

    @pytest.mark.parametrize("change", CHANGED)
    def test_made_from_another_token(
        self, change: Callable[[dict[str, Any], str], Any], web: WebAgent, browser_of_user: Client, agent: Caller
    ) -> None:
        """Signed by us, alive, with `openid` and that grant: what a token exchange might issue one day."""
        claims = claims_of(web.tokens(browser_of_user, scope="openid calendar.read")["access_token"])
        now = timezone.now()
        assert call(sign(claims, signing_key("ES256", now), "at+jwt")).status_code == 200, "unchanged, it works"
        change(claims, agent.agent.client_id)
        assert call(sign(claims, signing_key("ES256", now), "at+jwt")).status_code == 401

    def test_openid_that_the_grant_has_not(self, web: WebAgent, browser_of_user: Client) -> None:
        web.tokens(browser_of_user, scope="calendar.read")
        grant, now = Grant.objects.select_related("agent", "user").get(), timezone.now()
        wider = Issue(
            agent=grant.agent, user=grant.user, grant=grant, scopes=["openid", "email"], resource=None,
            expires_at=now + timedelta(minutes=5),
        )  # fmt: skip
        token = sign(access_token_claims(wider, UNBOUND, now), signing_key("ES256", now), "at+jwt")
        assert call(token).status_code == 403

    def test_signed_as_another_type(self, web: WebAgent, browser_of_user: Client) -> None:
        claims = claims_of(web.tokens(browser_of_user, scope="openid")["access_token"])
        now = timezone.now()
        for typ in ("JWT", "token-introspection+jwt", "logout+jwt"):
            assert call(sign(claims, signing_key("ES256", now), typ)).status_code == 401
