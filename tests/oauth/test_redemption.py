"""Codes and refresh tokens at the token endpoint: every MUST NOT, and what a second use ends."""

import functools
import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as users
from accounts.models import User
from audit.models import Event
from ciba.lifecycle import stop_agent
from clients import lifecycle as agents
from clients.models import CIBA, CLIENT_CREDENTIALS, AgentSecret
from foundation.handles import b64url, from_b64url
from oauth.grants import lifecycle
from oauth.models import AuthorizationCode, Grant, RefreshToken
from oauth.tokens import signing_keys
from operations.models import Resource, Scope
from tests.support.consent import (
    CALLBACK,
    WebAgent,
    allow,
    challenge_of,
    claims_of,
    make_web_agent,
    new_verifier,
    pass_time,
    query_of,
)
from tests.support.keys import new_key
from tests.support.world import Caller, ResourceServer, post_form

pytestmark = pytest.mark.django_db


@pytest.fixture
def code(web: WebAgent, browser_of_user: Client) -> str:
    return query_of(allow(browser_of_user, web.url()))["code"]


@pytest.fixture
def tokens(web: WebAgent, browser_of_user: Client) -> dict[str, Any]:
    return web.tokens(browser_of_user)


def refused(response: Any, code: str = "invalid_grant") -> bool:
    assert response.status_code == (401 if code == "invalid_client" else 400), response.content
    assert response.json()["error"] == code, response.content
    assert response["Cache-Control"] == "no-store"
    return True


REFUSED: list[tuple[str, dict[str, str | None], str]] = [
    ("no code", {"code": None}, "invalid_request"),
    ("another code", {"code": "x" * 43}, "invalid_grant"),
    ("no redirect_uri", {"redirect_uri": None}, "invalid_request"),
    ("another redirect_uri", {"redirect_uri": "https://app.example.com/other"}, "invalid_grant"),
    ("no verifier: a downgrade of PKCE", {"code_verifier": None}, "invalid_request"),
    ("another verifier", {"code_verifier": new_verifier()}, "invalid_grant"),
    ("a short verifier", {"code_verifier": "x" * 42}, "invalid_request"),
    ("a long verifier", {"code_verifier": "x" * 129}, "invalid_request"),
    ("a verifier with other characters", {"code_verifier": "x" * 42 + "ä"}, "invalid_request"),
    ("another resource", {"resource": "https://other.example.com/"}, "invalid_target"),
]


class TestACode:
    @pytest.mark.parametrize(("changed", "error"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
    def test_refused_and_not_used_up(
        self, changed: dict[str, str | None], error: str, web: WebAgent, code: str
    ) -> None:
        assert refused(web.exchange(**{"code": code, **changed}), error)  # type: ignore[arg-type]
        assert web.exchange(code).status_code == 200, "whoever guesses spoils nothing"

    def test_the_challenge_is_no_verifier(self, web: WebAgent, code: str) -> None:
        """What an attacker sees in the request is not enough (RFC 7636 4.6)."""
        assert refused(web.exchange(code, code_verifier=challenge_of(web.verifier)))

    def test_the_granted_resource_may_be_named(self, web: WebAgent, code: str, bank: ResourceServer) -> None:
        assert web.exchange(code, resource=bank.resource.identifier).status_code == 200

    def test_a_second_use_ends_the_grant_and_all_that_it_issued(
        self, web: WebAgent, code: str, bank: ResourceServer, browser_of_user: Client
    ) -> None:
        tokens = web.exchange(code).json()
        assert refused(web.exchange(code))
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}
        assert refused(web.refresh(tokens["refresh_token"]))
        assert Grant.objects.get().revoked_at is not None
        (ended,) = Event.objects.filter(kind="grant.revoked")
        assert "a code was used twice" in ended.body and ended.actor == "system"
        assert "A grant of yours was revoked" in browser_of_user.get("/activity").content.decode()
        assert browser_of_user.get(web.url())["Location"].startswith("/consents/"), "and it is asked anew"

    def test_also_with_a_wrong_verifier_and_after_its_time(self, web: WebAgent, code: str) -> None:
        web.exchange(code)
        AuthorizationCode.objects.update(expires_at=timezone.now() - timedelta(hours=1))
        assert refused(web.exchange(code, code_verifier=new_verifier()))
        assert Grant.objects.get().revoked_at is not None

    def test_a_stranger_learns_and_changes_nothing(self, web: WebAgent, code: str, public: WebAgent) -> None:
        other = make_web_agent("Other")
        for thief in (other, public):
            thief.verifier = web.verifier
            assert refused(thief.exchange(code))
        assert AuthorizationCode.objects.get().used_at is None
        assert web.exchange(code).status_code == 200
        for thief in (other, public):
            reply = thief.exchange(code).json()
            assert reply == thief.exchange("x" * 43).json(), "a used code of another is like an unknown one"
        assert Grant.objects.get().revoked_at is None

    def test_in_time(self, web: WebAgent, code: str) -> None:
        AuthorizationCode.objects.update(expires_at=timezone.now())
        assert refused(web.exchange(code))
        assert not RefreshToken.objects.exists()

    def test_it_lives_a_minute(self, code: str) -> None:
        row = AuthorizationCode.objects.get()
        assert row.expires_at - row.created_at == timedelta(seconds=60)

    def test_a_code_of_another_flow_does_not_fit(self, web: WebAgent, browser_of_user: Client) -> None:
        """Injection: the attacker's code in the victim's flow meets the victim's verifier."""
        attacker = WebAgent(web.agent, web.caller)
        theirs = query_of(allow(browser_of_user, attacker.url()))["code"]
        assert refused(web.exchange(theirs))

    def test_the_nonce_is_that_of_the_request(self, web: WebAgent, browser_of_user: Client) -> None:
        for nonce in ("first", "second", "ünï ✓"):
            code = query_of(allow(browser_of_user, web.url(nonce=nonce, prompt="consent")))["code"]
            assert claims_of(web.exchange(code).json()["id_token"])["nonce"] == nonce

    def test_a_code_is_no_other_token(self, web: WebAgent, code: str, bank: ResourceServer) -> None:
        assert refused(web.refresh(code))
        assert refused(web.post("/oauth/token", {"grant_type": CIBA, "auth_req_id": code}), "unauthorized_client")
        assert bank.introspect(code).json() == {"active": False}
        assert Client().get("/userinfo", headers={"Authorization": f"Bearer {code}"}).status_code == 401


class TestARefreshToken:
    def test_a_replayed_one_ends_the_grant(self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer) -> None:
        second = web.refresh(tokens["refresh_token"]).json()
        pass_time(61)
        third = web.refresh(second["refresh_token"]).json()
        assert third["refresh_token"] != second["refresh_token"]
        assert refused(web.refresh(tokens["refresh_token"]))
        assert refused(web.refresh(third["refresh_token"]))
        for one in (tokens, second, third):
            assert bank.introspect(one["access_token"]).json() == {"active": False}
        (ended,) = Event.objects.filter(kind="grant.revoked")
        assert "a refresh token was used twice" in ended.body

    def test_a_stranger_learns_and_changes_nothing(
        self, web: WebAgent, tokens: dict[str, Any], public: WebAgent
    ) -> None:
        other = make_web_agent("Other")
        for thief in (other, public):
            assert refused(thief.refresh(tokens["refresh_token"]))
        successor = web.refresh(tokens["refresh_token"]).json()["refresh_token"]
        for thief in (other, public):
            assert thief.refresh(tokens["refresh_token"]).json() == thief.refresh("x" * 43).json()
        assert web.refresh(successor).status_code == 200

    def test_scope_can_shrink_and_never_grow(self, web: WebAgent, browser_of_user: Client) -> None:
        tokens = web.tokens(browser_of_user, scope="openid email calendar.read")
        narrow = web.refresh(tokens["refresh_token"], scope="calendar.read").json()
        assert narrow["scope"] == "calendar.read" and "id_token" not in narrow
        for wider in ("openid email calendar.read profile", "accounts.close", "calendar.read x"):
            assert refused(web.refresh(narrow["refresh_token"], scope=wider), "invalid_scope")
        # RFC 6749 6: the new refresh token has the scope of the old one.
        full = web.refresh(narrow["refresh_token"]).json()
        assert full["scope"] == "openid email calendar.read"
        identity = web.refresh(full["refresh_token"], scope="openid").json()
        assert claims_of(identity["access_token"])["aud"].endswith("/userinfo")

    def test_only_the_granted_resource(self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer) -> None:
        token = tokens["refresh_token"]
        assert refused(web.refresh(token, resource="https://other.example.com/"), "invalid_target")
        assert web.refresh(token, resource=bank.resource.identifier).status_code == 200

    def test_it_ends_when_it_lies_idle(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        row = RefreshToken.objects.get()
        assert row.expires_at - row.created_at == timedelta(days=14)
        RefreshToken.objects.update(expires_at=timezone.now())
        assert refused(web.refresh(tokens["refresh_token"]))

    def test_it_never_outlives_its_grant(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        end = timezone.now() + timedelta(seconds=100)
        Grant.objects.update(expires_at=end)
        fresh = web.refresh(tokens["refresh_token"]).json()
        assert RefreshToken.objects.get(used_at=None).expires_at == end
        assert fresh["expires_in"] <= 100
        Grant.objects.update(expires_at=timezone.now())
        assert refused(web.refresh(fresh["refresh_token"]))

    def test_what_an_administrator_revoked_is_not_issued_again(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        web.agent.scopes.clear()
        fresh = web.refresh(tokens["refresh_token"]).json()
        assert fresh["scope"] == "openid"
        web.agent.scopes.set(Scope.objects.all())
        Scope.objects.filter(name="calendar.read").update(risk="sensitive")
        fresh = web.refresh(fresh["refresh_token"]).json()
        assert fresh["scope"] == "openid"
        web.agent.identity_scopes = []
        web.agent.save()
        assert refused(web.refresh(fresh["refresh_token"]), "invalid_scope")

    def test_a_refresh_token_is_no_other_token(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer
    ) -> None:
        token = tokens["refresh_token"]
        assert refused(web.exchange(token))
        assert bank.introspect(token).json() == {"active": False}
        assert Client().get("/userinfo", headers={"Authorization": f"Bearer {token}"}).status_code == 401

    def test_an_access_token_and_an_id_token_are_no_refresh_token(self, web: WebAgent, tokens: dict[str, Any]) -> None:
        for name in ("access_token", "id_token"):
            assert refused(web.refresh(tokens[name]))


class TestLiveness:
    """The disabled user, the suspended agent, the ended grant, the stopped agent: refused everywhere."""

    def everything_is_refused(self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer, code: str) -> None:
        for response in (web.refresh(tokens["refresh_token"]), web.exchange(code)):
            assert response.status_code in {400, 401} and response.json()["error"] in {
                "invalid_grant", "invalid_client",
            }  # fmt: skip
        assert bank.introspect(tokens["access_token"]).json() == {"active": False}

    @pytest.fixture
    def open_code(self, web: WebAgent, tokens: dict[str, Any], browser_of_user: Client) -> str:
        return query_of(browser_of_user.get(web.url())["Location"])["code"]

    def test_the_user_was_disabled(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer, open_code: str, user: User,
        administrator: User,
    ) -> None:  # fmt: skip
        users.disable(user, administrator, timezone.now())
        self.everything_is_refused(web, tokens, bank, open_code)

    def test_the_agent_was_suspended(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer, open_code: str, administrator: User
    ) -> None:
        agents.suspend(web.agent, administrator, timezone.now())
        self.everything_is_refused(web, tokens, bank, open_code)

    def test_the_user_stopped_it(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer, open_code: str, user: User
    ) -> None:
        stop_agent(web.agent, user, timezone.now())
        self.everything_is_refused(web, tokens, bank, open_code)
        agents.allow_again(web.agent, user, timezone.now())
        self.everything_is_refused(web, tokens, bank, open_code)

    def test_the_resource_was_closed(
        self, web: WebAgent, tokens: dict[str, Any], bank: ResourceServer, open_code: str
    ) -> None:
        Resource.objects.update(is_active=False)
        for response in (web.refresh(tokens["refresh_token"]), web.exchange(open_code)):
            assert refused(response)


class TestWhoAuthenticates:
    def test_a_public_client_by_its_name(self, public: WebAgent, browser_of_user: Client) -> None:
        tokens = public.tokens(browser_of_user)
        assert refused(post_form(Client(), "/oauth/token", {
            "grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}), "invalid_client")  # fmt: skip
        assert public.refresh(tokens["refresh_token"]).status_code == 200

    def test_nobody_else_by_their_name(self, web: WebAgent, code: str) -> None:
        bare = WebAgent(web.agent, None, verifier=web.verifier)
        assert refused(bare.exchange(code), "invalid_client")
        web.agent.token_endpoint_auth_method = "client_secret_basic"
        web.agent.save()
        assert refused(bare.exchange(code), "invalid_client")

    def test_a_public_client_has_no_other_grant_and_no_other_endpoint(
        self, public: WebAgent, agent: Caller, user: User
    ) -> None:
        public.agent.grant_types = ["authorization_code", CIBA, CLIENT_CREDENTIALS]  # as nobody can register it
        public.agent.save()
        for form in ({"grant_type": CLIENT_CREDENTIALS, "scope": "calendar.read"},
                     {"grant_type": CIBA, "auth_req_id": "x"}):  # fmt: skip
            assert refused(public.post("/oauth/token", form), "unauthorized_client")
        for path in ("/bc-authorize", "/oauth/introspect"):
            form = {"scope": "openid", "login_hint": user.email, "token": "x"}
            assert refused(public.post(path, form), "invalid_client")

    def test_and_none_of_them_can_be_registered(self, bank: ResourceServer) -> None:
        with pytest.raises(Exception, match="grant_types"):
            make_web_agent("Public", method="none", grant_types=["authorization_code", CIBA])
        with pytest.raises(Exception, match="redirect_uris"):
            make_web_agent("Nowhere", redirect_uris=" ")

    def test_a_static_secret(self, bank: ResourceServer, signing: None, browser_of_user: Client) -> None:
        web = make_web_agent("Static", method="client_secret_basic")
        web.secret = AgentSecret.issue(web.agent, timezone.now())
        assert web.refresh(web.tokens(browser_of_user)["refresh_token"]).status_code == 200

    def test_two_ways_at_once(self, web: WebAgent, code: str) -> None:
        assert web.caller is not None
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
                "code_verifier": web.verifier, "client_secret": "x"}  # fmt: skip
        assert refused(web.caller.post("/oauth/token", **form), "invalid_request")

    def test_a_good_basic_name_with_another_body(self, web: WebAgent, code: str, public: WebAgent) -> None:
        """A wrong secret of one client never falls through to another client's word."""
        header = "Basic " + b64encode(f"{web.agent.client_id}:wrong".encode()).decode()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
                "code_verifier": web.verifier, "client_id": public.agent.client_id}  # fmt: skip
        assert refused(post_form(Client(), "/oauth/token", form, Authorization=header), "invalid_client")


def claims_without_signature(token: str) -> dict[str, Any]:
    return dict(json.loads(from_b64url(token.split(".")[1])))


def es256(key: Any, signed: bytes) -> bytes:
    r, s = decode_dss_signature(key.private_key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compact(header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A JWS made by hand: libraries refuse to make what an attacker sends."""
    signed = ".".join(b64url(json.dumps(part).encode()) for part in (header, payload))
    return f"{signed}.{b64url(sign(signed.encode()))}"


class TestForgedTokens:
    """Algorithm confusion, and headers that bring their own key (RFC 8725 2.1, 3.1, 3.10)."""

    @pytest.fixture
    def claims(self, tokens: dict[str, Any]) -> dict[str, Any]:
        return claims_of(tokens["access_token"])

    def test_made_by_hand_it_would_work(self, claims: dict[str, Any], bank: ResourceServer) -> None:
        """Else the tests below would prove nothing."""
        ours = signing_keys.signing_key("ES256", timezone.now())
        header = {"alg": "ES256", "typ": "at+jwt", "kid": ours.kid}
        token = compact(header, claims, functools.partial(es256, ours.key))
        assert bank.introspect(token).json()["active"]

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
    def test_none(self, algorithm: str | None, claims: dict[str, Any], bank: ResourceServer) -> None:
        kid = signing_keys.signing_key("ES256", timezone.now()).kid
        token = compact({"alg": algorithm, "typ": "at+jwt", "kid": kid}, claims, lambda signed: b"")
        assert bank.introspect(token).json() == {"active": False}

    def test_a_public_key_is_no_secret(self, claims: dict[str, Any], bank: ResourceServer) -> None:
        for loaded in signing_keys.key_list(timezone.now()).keys:
            pem: bytes = loaded.key.as_pem(private=False)  # type: ignore[attr-defined]
            for secret in (json.dumps(loaded.public_jwk).encode(), pem, pem.strip(), b""):
                header = {"alg": "HS256", "kid": loaded.kid, "typ": "at+jwt"}
                token = compact(header, claims, lambda signed: hmac.digest(secret, signed, "sha256"))  # noqa: B023
                assert bank.introspect(token).json() == {"active": False}

    def test_keys_that_the_header_brings(self, claims: dict[str, Any], bank: ResourceServer) -> None:
        mine = new_key("ES256")
        public = mine.as_dict(private=False)
        kid = signing_keys.signing_key("ES256", timezone.now()).kid
        rsa = signing_keys.signing_key("RS256", timezone.now()).kid
        for brought in (
            {"jwk": public, "kid": kid}, {"jwk": public}, {"jku": "https://evil.example.com/jwks", "kid": kid},
            {"jku": "https://evil.example.com/jwks"}, {"x5u": "https://evil.example.com/x5c", "kid": kid},
            {"kid": "../../../../dev/null"}, {"kid": "' OR 1=1 --"}, {"kid": mine.kid}, {"kid": ["a"]}, {"kid": {}},
            {"kid": None}, {}, {"kid": kid}, {"kid": rsa}, {"kid": kid, "crit": ["exp"]},
        ):  # fmt: skip
            header = {"alg": "ES256", "typ": "at+jwt", **brought}
            token = compact(header, claims, functools.partial(es256, mine))
            assert bank.introspect(token).json() == {"active": False}, brought

    def test_an_agents_assertion_with_such_a_header(self, web: WebAgent, code: str) -> None:
        assert web.caller is not None
        mine = new_key("ES256")
        body = claims_without_signature(web.caller.assertion())
        for brought in ({"jwk": mine.as_dict(private=False)}, {"jku": "https://evil.example.com/"}, {"kid": "x"}, {}):
            header = {"alg": "ES256", "kid": web.caller.key.kid, **brought}
            assertion = compact(header, body, functools.partial(es256, mine))
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
                    "code_verifier": web.verifier}  # fmt: skip
            assert refused(web.caller.post("/oauth/token", client_assertion=assertion, **form), "invalid_client")

    def test_another_type_of_ours(self, tokens: dict[str, Any], bank: ResourceServer, web: WebAgent) -> None:
        """Substitution: an ID token is no access token, and the reverse."""
        assert bank.introspect(tokens["id_token"]).json() == {"active": False}
        header = {"Authorization": f"Bearer {tokens['id_token']}"}
        assert Client().get("/userinfo", headers=header).status_code == 401
        response = Client().get(f"/oidc/logout?id_token_hint={tokens['access_token']}&post_logout_redirect_uri=x")
        assert response.status_code == 400

    def test_one_bit(self, tokens: dict[str, Any], bank: ResourceServer) -> None:
        head, payload, signature = tokens["access_token"].split(".")
        flipped = ("B" if signature[10] == "A" else "A").join([signature[:10], signature[11:]])
        assert bank.introspect(f"{head}.{payload}.{flipped}").json() == {"active": False}
        assert bank.introspect(tokens["access_token"]).json()["active"]


class TestMixUp:
    """RFC 9700 4.4: an agent of two servers sees by `iss` who answered, and a code works for whom it was made."""

    def test_every_answer_says_who_gave_it(self, web: WebAgent, browser_of_user: Client) -> None:
        reply = Client().get("/.well-known/openid-configuration").json()
        assert reply["authorization_response_iss_parameter_supported"] is True
        assert query_of(allow(browser_of_user, web.url()))["iss"] == reply["issuer"]

    def test_the_agents_own_query_cannot_stand_in_for_it(
        self, bank: ResourceServer, signing: None, browser_of_user: Client
    ) -> None:
        web = make_web_agent("Web", redirect_uris=f"{CALLBACK}?x=1")
        sent_to = allow(browser_of_user, web.url(iss="https://evil.example.com", code="x", error="y"))
        assert query_of(sent_to)["iss"] == "http://localhost:8000" and "evil" not in sent_to


def test_a_used_code_and_token_stay_until_their_time(web: WebAgent, browser_of_user: Client) -> None:
    web.tokens(browser_of_user)
    now = timezone.now()
    lifecycle.sweep(now + timedelta(hours=1), 10)
    assert AuthorizationCode.objects.count() == 1 and RefreshToken.objects.count() == 1
    lifecycle.sweep(now + timedelta(days=2), 10)
    assert AuthorizationCode.objects.count() == 0 and RefreshToken.objects.count() == 1
    lifecycle.sweep(now + timedelta(days=16), 10)
    assert RefreshToken.objects.count() == 0


def test_digests_are_sha_256(web: WebAgent, code: str) -> None:
    assert bytes(AuthorizationCode.objects.get().code_digest) == hashlib.sha256(code.encode()).digest()
