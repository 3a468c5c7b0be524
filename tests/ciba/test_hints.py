"""Whom a hint names: login_hint in its forms, login_hint_token, id_token_hint by setting (CIBA Core 7.1, 7.2)."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from accounts.models import User
from audit.models import Event
from ciba.hints import HintedSubject, HintKind, parse_login_hint
from ciba.models import BackchannelRequest, HintIssuer, HintIssuerKeys, Prompt
from foundation.errors import InvalidRequest
from oauth.tokens.issuance import sign
from oauth.tokens.signing_keys import signing_key
from tests.support.world import Caller, sign_in

ISSUER = "https://hr.example.com"
OURS = "http://localhost:8000"


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        (" Person@Example.COM ", HintedSubject(HintKind.EMAIL, "person@example.com")),
        ("+49 (151) 123-456.78", HintedSubject(HintKind.PHONE, "+4915112345678")),
        ("tel:+49-151-12345678", HintedSubject(HintKind.PHONE, "+4915112345678")),
        ("tel:110", HintedSubject(HintKind.PHONE, "110")),
        ("8f14e45f-ceea-467f-a8f2-0123456789ab", HintedSubject(HintKind.SUB, "8f14e45f-ceea-467f-a8f2-0123456789ab")),
        ('{"format": "email", "email": "P@x.example"}', HintedSubject(HintKind.EMAIL, "p@x.example")),
        ('{"format": "phone_number", "phone_number": "+15550100200"}', HintedSubject(HintKind.PHONE, "+15550100200")),
        ('{"format": "phone", "phone": "+15550100200"}', HintedSubject(HintKind.PHONE, "+15550100200")),
        ('{"format": "iss_sub", "iss": "http://localhost:8000", "sub": "7"}', HintedSubject(HintKind.SUB, "7")),
        ('{"format": "iss_sub", "iss": "http://localhost:8000/", "sub": "7"}', HintedSubject(HintKind.SUB, "7")),
        ('{"format": "iss_sub", "iss": "https://else.example", "sub": "7"}', None),
    ],
)
def test_what_a_login_hint_says(hint: str, named: HintedSubject | None) -> None:
    assert parse_login_hint(hint, OURS) == named


@pytest.mark.parametrize(
    "hint",
    ["{", "{}", '{"format": "email"}', '{"format": "email", "email": 7}', '{"format": "opaque", "id": "x"}',
     '{"format": "email", "email": "a@b", "email": "c@d"}', '{"format": ["email"], "email": "a@b"}'],
)  # fmt: skip
def test_what_is_no_login_hint(hint: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_login_hint(hint, OURS)


@pytest.mark.django_db
class TestLoginHint:
    def test_every_form_finds_the_user(self, agent: Caller, user: User) -> None:
        User.objects.filter(pk=user.pk).update(phone="+4915112345678")
        hints = [
            user.email, user.sub, user.sub.upper(), "+4915112345678", "tel:+49-151-12345678",
            {"format": "iss_sub", "iss": OURS, "sub": user.sub}, {"format": "email", "email": user.email},
            {"format": "phone_number", "phone_number": "+4915112345678"},
        ]  # fmt: skip
        for hint in hints:
            assert agent.ask(login_hint=hint).status_code == 200, hint
        assert {one.user for one in BackchannelRequest.objects.all()} == {user}

    def test_nobody_is_one_answer_in_every_form(self, agent: Caller, user: User, stranger: User) -> None:
        User.objects.filter(pk=stranger.pk).update(phone="+4915112345678")
        hints = [
            stranger.email, stranger.sub, "+4915112345678", "+15550100200", "nobody", "nobody@example.com", "tel:",
            "00000000-0000-4000-8000-000000000000", {"format": "iss_sub", "iss": OURS, "sub": stranger.sub},
            {"format": "iss_sub", "iss": "https://else.example", "sub": user.sub},
        ]  # fmt: skip
        answers = {agent.ask(login_hint=hint).content for hint in hints}
        assert len(answers) == 1 and b"unknown_user_id" in answers.pop()

    def test_a_phone_number_is_e164_and_one_users(self, user: User, stranger: User) -> None:
        for wrong in ("0151", "+0151123456", "+49 151 12345678", "+4915112345678\n", "+49151123456789012"):
            user.phone = wrong
            with pytest.raises(ValidationError):
                user.full_clean()
        for one in (user, stranger):
            one.phone = ""
            one.full_clean()
            one.save()
        assert user.phone is None, "nobody else's none is in the way"


@pytest.mark.django_db
class TestIdTokenHint:
    def test_an_expired_one_by_setting(self, agent: Caller, user: User, settings: Any) -> None:
        auth_req_id = agent.ask(user).json()["auth_req_id"]
        sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        claims = json.loads(jws.extract_compact(agent.poll(auth_req_id).json()["id_token"].encode()).payload)
        token = sign({**claims, "exp": claims["exp"] - 7200}, signing_key("ES256", timezone.now()), "JWT")
        assert agent.ask(id_token_hint=token).status_code == 200
        settings.EXPIRED_ID_TOKEN_HINTS = False
        assert agent.ask(id_token_hint=token).json()["error"] == "invalid_request"


@pytest.mark.django_db
class TestLoginHintToken:
    @pytest.fixture
    def key(self) -> ECKey:
        return ECKey.generate_key("P-256", auto_kid=True)

    @pytest.fixture
    def issuer(self, key: ECKey) -> HintIssuer:
        public = {**key.as_dict(private=False), "kid": key.kid}
        return HintIssuer.objects.create(issuer=ISSUER, jwks={"keys": [public]})

    def token(self, key: Any, user: User | None = None, algorithm: str = "ES256", **claims: Any) -> str:
        at = int(time.time())
        subject = {"format": "email", "email": user.email if user else "nobody@example.com"}
        body = {"iss": ISSUER, "aud": OURS, "iat": at, "exp": at + 60, "sub_id": subject, **claims}
        payload = json.dumps({name: value for name, value in body.items() if value is not None})
        return jws.serialize_compact({"alg": algorithm, "kid": key.kid}, payload, key, algorithms=[algorithm])

    def test_a_trusted_issuer_names_the_user(self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey) -> None:
        for more in ({}, {"aud": [OURS, "https://else.example"]}, {"jti": "1"}, {"jti": "1"}):
            assert agent.ask(login_hint_token=self.token(key, user, **more)).status_code == 200
        assert {one.user for one in BackchannelRequest.objects.all()} == {user}

    def test_in_a_signed_request_too(self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey) -> None:
        request = agent.request_object(login_hint_token=self.token(key, user))
        assert agent.post("/bc-authorize", request=request).status_code == 200

    def test_expired(self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey) -> None:
        at = int(time.time())
        response = agent.ask(login_hint_token=self.token(key, user, iat=at - 600, exp=at - 300))
        assert (response.status_code, response.json()["error"]) == (400, "expired_login_hint_token")

    def test_nobody_and_a_stranger(self, agent: Caller, stranger: User, issuer: HintIssuer, key: ECKey) -> None:
        """It names a user; it does not let an agent ask them."""
        answers = {agent.ask(login_hint_token=self.token(key, whom)).content for whom in (None, stranger)}
        assert len(answers) == 1 and b"unknown_user_id" in answers.pop()

    @pytest.mark.parametrize(
        "claims",
        [{"aud": None}, {"aud": "https://else.example"}, {"aud": {"x": 1}}, {"exp": None}, {"exp": "soon"},
         {"exp": True}, {"nbf": 2**33}, {"iat": 2**33}, {"iat": "x"}, {"sub_id": None},
         {"sub_id": "person@example.com"}, {"sub_id": {"format": "x"}}, {"iss": None},
         {"iss": "https://else.example"}, {"iss": ["x"]}],
    )  # fmt: skip
    def test_what_is_refused(
        self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey, claims: dict[str, Any]
    ) -> None:
        response = agent.ask(login_hint_token=self.token(key, user, **claims))
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")

    def test_signatures(self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey) -> None:
        other = ECKey.import_key({**ECKey.generate_key("P-256").as_dict(private=True), "kid": key.kid})
        secret = OctKey.import_key({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXM", "kid": key.kid})
        rsa = RSAKey.import_key({**RSAKey.generate_key(2048).as_dict(private=True), "kid": key.kid})
        head, body, _ = self.token(key, user).split(".")
        wrong = [self.token(other, user), self.token(secret, user, "HS256"), self.token(rsa, user, "RS256"),
                 f"{head}.{body}.", f"{head}.{body}", "x", "a.b.c", "é", "....", agent.assertion()]  # fmt: skip
        for token in wrong:
            assert agent.ask(login_hint_token=token).json()["error"] == "invalid_request"

    def test_only_the_algorithms_of_this_issuer(self, agent: Caller, user: User) -> None:
        rsa = RSAKey.generate_key(2048, auto_kid=True)
        public = {**rsa.as_dict(private=False), "kid": rsa.kid}
        listed = HintIssuer.objects.create(issuer=ISSUER, jwks={"keys": [public]}, algorithms=["PS256"])
        assert agent.ask(login_hint_token=self.token(rsa, user, "RS256")).json()["error"] == "invalid_request"
        listed.algorithms = ["RS256"]
        listed.save()
        assert agent.ask(login_hint_token=self.token(rsa, user, "RS256")).status_code == 200

    def test_an_issuer_that_is_no_longer_trusted(
        self, agent: Caller, user: User, issuer: HintIssuer, key: ECKey
    ) -> None:
        HintIssuer.objects.update(is_active=False)
        assert agent.ask(login_hint_token=self.token(key, user)).json()["error"] == "invalid_request"

    def test_the_administration(self, administrator: User, key: ECKey) -> None:
        browser = sign_in(administrator)
        form = {"issuer": ISSUER, "algorithms": ["ES256"], "jwks": "", "jwks_uri": "", "is_active": "on"}
        add = "/admin/ciba/hintissuer/add/"
        assert b"or their address" in browser.post(add, form).content
        private = json.dumps({"keys": [key.as_dict(private=True)]})
        assert b"private or symmetric" in browser.post(add, {**form, "jwks": private}).content
        public = json.dumps({"keys": [key.as_dict(private=False)]})
        assert browser.post(add, {**form, "jwks": public}).status_code == 302
        assert HintIssuer.objects.get().issuer == ISSUER
        assert Event.objects.filter(kind="hint_issuer.changed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_issuer_that_publishes_its_keys(agent: Caller, user: User, tls_server: Any) -> None:
    """Fetched once, and again for a key that is not known; its host being away stops nothing that was known."""
    first, second = (ECKey.generate_key("P-256", auto_kid=True) for _ in range(2))
    listed = HintIssuer.objects.create(issuer=ISSUER, jwks_uri=f"https://127.0.0.1:{tls_server.port}/jwks")

    def publish(key: ECKey) -> None:
        body = json.dumps({"keys": [{**key.as_dict(private=False), "kid": key.kid}]})
        tls_server.says(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def ask(key: ECKey) -> int:
        return int(agent.ask(login_hint_token=TestLoginHintToken().token(key, user)).status_code)

    publish(first)
    assert [ask(first), ask(first)] == [200, 200] and len(tls_server.requests) == 1
    publish(second)
    assert ask(second) == 400, "too soon to be fetched again: nobody makes us call as often as they like"
    HintIssuerKeys.objects.filter(issuer=listed).update(last_attempt_at=None)
    assert ask(second) == 200 and len(tls_server.requests) == 2
    tls_server.says(b"HTTP/1.1 500 Away\r\nContent-Length: 0\r\n\r\n")
    HintIssuerKeys.objects.filter(issuer=listed).update(last_attempt_at=None)
    assert ask(second) == 200 and len(tls_server.requests) == 2, "fresh keys are enough"
    long_ago = timezone.now() - timedelta(hours=23)
    HintIssuerKeys.objects.update(last_attempt_at=long_ago, fetched_at=long_ago)
    assert ask(second) == 200 and len(tls_server.requests) == 3
    assert HintIssuerKeys.objects.get().problem == "it answered 500"
    HintIssuerKeys.objects.update(fetched_at=timezone.now() - timedelta(hours=25))
    assert ask(second) == 400, "not for ever"


@pytest.mark.django_db(transaction=True)
def test_another_address_of_an_issuers_keys_counts_at_once(agent: Caller, user: User, tls_server: Any) -> None:
    key = ECKey.generate_key("P-256", auto_kid=True)
    body = json.dumps({"keys": [{**key.as_dict(private=False), "kid": key.kid}]})
    tls_server.says(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    HintIssuer.objects.create(issuer=ISSUER, jwks_uri=f"https://127.0.0.1:{tls_server.port}/jwks")
    token = TestLoginHintToken().token(key, user)
    assert agent.ask(login_hint_token=token).status_code == 200
    HintIssuer.objects.update(jwks_uri=f"https://127.0.0.1:{tls_server.port}/another")
    tls_server.says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert agent.ask(login_hint_token=TestLoginHintToken().token(key, user)).status_code == 400


@pytest.mark.django_db
class TestAcrValues:
    def test_what_can_be_given_is_given_and_reported(self, agent: Caller, user: User) -> None:
        auth_req_id = agent.ask(user, acr_values="passkey session").json()["auth_req_id"]
        assert BackchannelRequest.objects.get().assurance == "session"
        sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
        body = json.loads(jws.extract_compact(agent.poll(auth_req_id).json()["id_token"].encode()).payload)
        assert (body["acr"], body["amr"]) == ("session", ["pwd"])

    @pytest.mark.parametrize(
        "wanted", ["urn:mace:incommon:iap:silver", "x", "0", "phr  phrh ", "session  session", "x " * 50, "é", "%00"]
    )
    @pytest.mark.parametrize("is_signed", [False, True])
    def test_a_wish_that_this_server_does_not_know_breaks_nothing(
        self, agent: Caller, user: User, wanted: str, is_signed: bool
    ) -> None:
        """Nor do hints about language and display, which CIBA does not have: unknown parameters are ignored."""
        hints = {"acr_values": wanted, "ui_locales": "fr xx-yy", "claims_locales": "de", "display": "wap"}
        if is_signed:
            response = agent.post("/bc-authorize", request=agent.request_object(user, **hints))
        else:
            response = agent.ask(user, **hints)
        assert response.status_code == 200, response.content
        assert BackchannelRequest.objects.get().assurance == "session"

    @pytest.mark.parametrize("wanted", ["passkey", "number", "urn:mace:incommon:iap:silver passkey", "passkey number"])
    def test_what_cannot_is_refused_at_once(self, agent: Caller, user: User, wanted: str) -> None:
        response = agent.ask(user, acr_values=wanted)
        assert (response.status_code, response.json()["error"]) == (403, "access_denied")
        assert not BackchannelRequest.objects.exists()
