"""PKCE is required; an administrator may exempt one confidential OpenID client that sends a nonce (OAuth 2.1 7.5.1)."""

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from clients.lifecycle import issue_secret
from clients.models import Agent
from clients.profiles import Profile
from oauth.models import AuthorizationCode, AuthorizationRequest, Grant
from tests.support.consent import CALLBACK, WebAgent, allow, claims_of, make_web_agent, new_verifier, query_of
from tests.support.world import ResourceServer, make_caller, sign_in

pytestmark = pytest.mark.django_db
BARE = {"code_challenge": None, "code_challenge_method": None}


@pytest.fixture
def exempt(bank: ResourceServer, signing: None) -> WebAgent:
    """A confidential client that an administrator exempted."""
    return make_web_agent("Older client", pkce_exempt=True)


def error_of(response: Any) -> str:
    return query_of(response["Location"]).get("error", "")


def bare_code(web: WebAgent, browser: Client) -> str:
    return query_of(allow(browser, web.url(**BARE)))["code"]


class TestTheExemptClient:
    def test_the_whole_flow(self, exempt: WebAgent, browser_of_user: Client) -> None:
        code = bare_code(exempt, browser_of_user)
        tokens = exempt.exchange(code, code_verifier=None).json()
        assert claims_of(tokens["id_token"])["nonce"] == "the nonce"
        assert exempt.refresh(tokens["refresh_token"]).status_code == 200
        silent = query_of(browser_of_user.get(exempt.url(**BARE, prompt="none"))["Location"])
        assert exempt.exchange(silent["code"], code_verifier=None).status_code == 200

    def test_with_a_static_secret(
        self, bank: ResourceServer, signing: None, browser_of_user: Client, administrator: User
    ) -> None:
        web = make_web_agent("With a secret", method="client_secret_basic", pkce_exempt=True)
        web.secret = issue_secret(web.agent, administrator, timezone.now())
        code = bare_code(web, browser_of_user)
        assert web.exchange(code, code_verifier=None).status_code == 200

    def test_it_may_still_use_pkce(self, exempt: WebAgent, browser_of_user: Client) -> None:
        assert exempt.tokens(browser_of_user)["access_token"]

    @pytest.mark.parametrize(
        "changed",
        [{"nonce": None}, {"nonce": ""}, {"scope": "calendar.read"}, {"scope": None}, {"scope": "profile email"},
         {"scope": "openidx calendar.read"}, {"code_challenge_method": "S256"}, {"code_challenge_method": "plain"},
         {"code_challenge": "", "code_challenge_method": "S256"}],
        ids=["no nonce", "an empty nonce", "no openid", "no scope", "other identity scopes", "a name like openid",
             "a method without a challenge", "another method without one", "an empty challenge"],
    )  # fmt: skip
    def test_never_without_openid_and_nonce(
        self, changed: dict[str, str | None], exempt: WebAgent, browser_of_user: Client
    ) -> None:
        response = browser_of_user.get(exempt.url(**{**BARE, **changed}))
        assert error_of(response) == "invalid_request"
        assert not AuthorizationRequest.objects.exists()

    def test_a_code_of_a_challenge_needs_its_verifier(self, exempt: WebAgent, browser_of_user: Client) -> None:
        code = query_of(allow(browser_of_user, exempt.url()))["code"]
        for verifier in (None, new_verifier(), "x" * 43):
            assert exempt.exchange(code, code_verifier=verifier).json()["error"] == "invalid_grant"
        assert exempt.exchange(code).status_code == 200, "whoever guesses spoils nothing"

    def test_a_code_of_no_challenge_takes_no_verifier(self, exempt: WebAgent, browser_of_user: Client) -> None:
        """RFC 9700 4.8.2: somebody removed the challenge from the request of a client that uses PKCE."""
        code = bare_code(exempt, browser_of_user)
        for verifier in (exempt.verifier, new_verifier()):
            assert exempt.exchange(code, code_verifier=verifier).json()["error"] == "invalid_grant"
        assert exempt.exchange(code, code_verifier="short").json()["error"] == "invalid_request"
        assert exempt.exchange(code, code_verifier=None).status_code == 200

    def test_a_second_use_still_ends_the_grant(self, exempt: WebAgent, browser_of_user: Client) -> None:
        code = bare_code(exempt, browser_of_user)
        assert exempt.exchange(code, code_verifier=None).status_code == 200
        assert exempt.exchange(code, code_verifier=None).json()["error"] == "invalid_grant"
        assert Grant.objects.get().revoked_at is not None

    def test_another_clients_code_is_unknown(self, exempt: WebAgent, browser_of_user: Client) -> None:
        other = make_web_agent("Another older client", pkce_exempt=True)
        code = bare_code(exempt, browser_of_user)
        assert other.exchange(code, code_verifier=None).json()["error"] == "invalid_grant"
        assert exempt.exchange(code, code_verifier=None).status_code == 200


class TestNobodyElse:
    @pytest.mark.parametrize("name", ["web", "public"])
    def test_not_exempt(self, name: str, request: Any, exempt: WebAgent, browser_of_user: Client) -> None:
        web: WebAgent = request.getfixturevalue(name)
        assert error_of(browser_of_user.get(web.url(**BARE))) == "invalid_request"

    @pytest.mark.parametrize(
        ("changed", "still_says"),
        [
            pytest.param({"pkce_exempt": False}, "code_verifier is missing", id="the administrator took it back"),
            pytest.param({"profile": "fapi2-ciba"}, "code_verifier is missing", id="a FAPI profile"),
            pytest.param({"token_endpoint_auth_method": "none"}, "code_verifier is missing", id="a public client"),
        ],
    )
    def test_what_was_changed_past_the_form(
        self, changed: dict[str, Any], still_says: str, exempt: WebAgent, browser_of_user: Client
    ) -> None:
        """The switch alone is not enough: a code from before and a new request are refused alike."""
        code = bare_code(exempt, browser_of_user)
        Agent.objects.filter(pk=exempt.agent.pk).update(**changed)
        exempt.agent.refresh_from_db()
        if exempt.agent.is_public:
            exempt.caller = None
        fresh = browser_of_user.get(exempt.url(**BARE, prompt="consent"))
        assert error_of(fresh) == "invalid_request"
        if "profile" not in changed:  # whose tokens must be bound, and are refused before that
            answer = exempt.exchange(code, code_verifier=None).json()
            assert answer["error"] == "invalid_request" and answer["error_description"] == still_says
            assert exempt.exchange(code).json()["error"] == "invalid_grant", "nor does it take a verifier"
        assert not AuthorizationCode.objects.exclude(used_at=None).exists()

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            pytest.param({"token_endpoint_auth_method": "none"}, "A public client always", id="a public client"),
            pytest.param({"identity_scopes": ["email"]}, "without the identity scope openid", id="without openid"),
            pytest.param({"profile": Profile.FAPI2_CIBA, "dpop_bound_access_tokens": True,
                          "assertion_audience": "issuer"}, "The profile fapi2-ciba", id="a profile of FAPI 2.0"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_exempt(self, fields: dict[str, Any], problem: str, db: None) -> None:
        more = {"grant_types": ["authorization_code"], "redirect_uris": CALLBACK, **fields}
        make_caller("Fine", **more)
        with pytest.raises(ValidationError, match=problem):
            make_caller("Not fine", pkce_exempt=True, **more)

    def test_nor_the_profile_of_fapi_1(self, db: None, settings: Any) -> None:
        settings.MTLS_URL = "https://mtls.example.com"
        more: dict[str, Any] = {
            "grant_types": ["authorization_code"], "redirect_uris": CALLBACK, "profile": Profile.FAPI_CIBA_ID1,
            "tls_client_certificate_bound_access_tokens": True,
        }  # fmt: skip
        make_caller("Fine", **more)
        with pytest.raises(ValidationError, match="The profile fapi-ciba-id1"):
            make_caller("Not fine", pkce_exempt=True, **more)


class TestWhoSwitchesIt:
    def test_an_administrator_on_that_client(self, web: WebAgent, administrator: User) -> None:
        browser, path = sign_in(administrator), f"/admin/clients/agent/{web.agent.pk}/change/"
        page = browser.get(path)
        form = {name: value for name, value in page.context["adminform"].form.initial.items() if value is not None}
        form |= {"client_jwks": json.dumps(web.agent.client_jwks), "scopes": [one.pk for one in form["scopes"]]}
        form |= {"operation_types": [], "groups": [], "linked_users": [], "pkce_exempt": "on"}
        response = browser.post(path, form)
        assert response.status_code == 302, response.context["adminform"].form.errors
        web.agent.refresh_from_db()
        assert web.agent.may_omit_pkce
        assert "pkce_exempt" in Event.objects.filter(kind="agent.changed").latest("id").body

    def test_no_client_for_itself(self, signing: None, settings: Any) -> None:
        from tests.clients.test_registration import body, register

        settings.REGISTRATION = "open"
        wishes = {"pkce_exempt": True, "requires_pkce": False, "require_pkce": False, "may_omit_pkce": True}
        reply = register(body(**wishes)).json()
        assert not Agent.objects.get(client_id=reply["client_id"]).pkce_exempt
        assert not wishes.keys() & reply.keys()
