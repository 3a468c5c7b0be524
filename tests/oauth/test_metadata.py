"""Discovery and the JWKS: only what is there, and everything that is named answers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from accounts.models import User
from audit.models import Event
from foundation import process_cache
from foundation.keyring import KeyringError
from oauth.models import SigningKey
from oauth.tokens import signing_keys
from operations.listed_types import listed_type_names
from operations.models import OperationType
from tests.support.world import Caller, ResourceServer

pytestmark = pytest.mark.django_db


def document(path: str = "/.well-known/openid-configuration") -> Any:
    response = Client().get(path)
    assert response.status_code == 200
    return response.json()


class TestMetadata:
    def test_both_paths_give_the_same(self, signing: None) -> None:
        assert document() == document("/.well-known/oauth-authorization-server")

    def test_it_names_what_is_there(self, payment_type: OperationType, signing: None) -> None:
        reply = document()
        assert reply["issuer"] == "http://localhost:8000"
        assert reply["grant_types_supported"] == [
            "authorization_code", "client_credentials", "refresh_token", "urn:openid:params:grant-type:ciba",
        ]  # fmt: skip
        assert reply["backchannel_token_delivery_modes_supported"] == ["poll", "ping", "push"]
        assert reply["backchannel_user_code_parameter_supported"] is True
        assert reply["backchannel_authentication_request_signing_alg_values_supported"] == [
            "ES256", "PS256", "EdDSA", "RS256",
        ]  # fmt: skip
        assert reply["acr_values_supported"] == ["session"]
        assert reply["response_types_supported"] == ["code"]
        assert reply["response_modes_supported"] == ["query"]
        assert reply["code_challenge_methods_supported"] == ["S256"]
        assert reply["authorization_response_iss_parameter_supported"] is True
        assert reply["prompt_values_supported"] == ["none", "login", "consent", "select_account"]
        assert reply["scopes_supported"] == ["openid", "profile", "email", "offline_access"]
        for parameter in ("request", "request_uri", "claims"):
            assert reply[f"{parameter}_parameter_supported"] is False
        assert reply["authorization_details_types_supported"] == ["payment"]
        for endpoint in ("token", "revocation", "introspection"):
            assert reply[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] == [
                "ES256", "PS256", "EdDSA", "RS256",
            ]  # fmt: skip
        assert set(reply["token_endpoint_auth_methods_supported"]) == {
            "private_key_jwt", "client_secret_basic", "client_secret_post", "none",
        }  # fmt: skip
        assert reply["id_token_signing_alg_values_supported"] == ["ES256", "RS256", "PS256"]
        assert reply["dpop_signing_alg_values_supported"] == ["ES256", "PS256", "EdDSA"]

    def test_it_names_nothing_that_is_not(self, signing: None) -> None:
        absent = {
            "registration_endpoint",
            "pushed_authorization_request_endpoint", "device_authorization_endpoint",
        }  # fmt: skip
        assert not absent & document().keys()

    def test_every_named_endpoint_answers(self, signing: None) -> None:
        addresses = {name: value for name, value in document().items() if name.endswith(("_endpoint", "_uri"))}
        assert len(addresses) == 8
        for name, address in addresses.items():
            assert address.startswith("http://localhost:8000/")
            path = urlsplit(address).path
            response = Client().get(path) if name == "jwks_uri" else Client().post(path)
            assert response.status_code in {200, 400, 401}, (name, response.content)

    def test_a_deactivated_type_is_not_listed(self, payment_type: OperationType, signing: None) -> None:
        OperationType.objects.update(is_active=False)
        assert document()["authorization_details_types_supported"] == []

    def test_anybody_may_read_it_and_keep_it_for_a_while(self, signing: None) -> None:
        for path in ("openid-configuration", "oauth-authorization-server", "jwks.json"):
            response = Client().get(f"/.well-known/{path}")
            assert response["Access-Control-Allow-Origin"] == "*"
            assert response["Cache-Control"] == "public, max-age=300"
            assert Client().head(f"/.well-known/{path}").status_code == 200
            assert Client().post(f"/.well-known/{path}").status_code == 405


class TestKeys:
    def listed(self) -> list[dict[str, Any]]:
        signing_keys.clear_cache()
        return list(document("/.well-known/jwks.json")["keys"])

    def test_public_members_alone(self, signing: None) -> None:
        keys = self.listed()
        assert {key["alg"] for key in keys} == {"ES256", "RS256", "PS256"}
        for key in keys:
            assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & key.keys()
            assert key["use"] == "sig" and len(key["kid"]) == 43

    def test_private_parts_are_sealed_in_the_database(self, signing: None) -> None:
        for row in SigningKey.objects.all():
            private = signing_keys._open(row).as_dict(private=True)["d"]
            assert private.encode() not in bytes(row.sealed_private_jwk)
            assert private not in str(row.public_jwk)

    def test_a_sealed_key_opens_only_in_its_own_place(self, signing: None) -> None:
        """Whoever can write the table cannot put one key's private part in place of another's."""
        one, two, _ = SigningKey.objects.all()
        one.sealed_private_jwk = two.sealed_private_jwk
        with pytest.raises(KeyringError, match="does not belong to"):
            signing_keys._open(one)

    def test_a_new_key_is_listed_before_it_signs(self, agent: Caller) -> None:
        now = timezone.now()
        before = {key["kid"] for key in self.listed()}
        new = signing_keys.make_key("ES256", now, active_at=now + timedelta(hours=1))
        signing_keys.clear_cache()
        assert {key["kid"] for key in self.listed()} == before | {new}
        assert signing_keys.signing_key("ES256", now).kid in before
        assert signing_keys.signing_key("ES256", now + timedelta(hours=1)).kid == new

    def test_the_old_one_verifies_until_all_that_it_signed_has_expired(
        self, agent: Caller, bank: ResourceServer
    ) -> None:
        token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        now = timezone.now()
        old = signing_keys.signing_key("ES256", now).kid
        signing_keys.make_key("ES256", now, active_at=now)
        signing_keys.clear_cache()
        assert bank.introspect(token).json()["active"]
        assert old in {key["kid"] for key in self.listed()}
        signing_keys.clear_cache()
        later = now + timedelta(days=1, minutes=1)
        assert old not in {key.kid for key in signing_keys.key_list(later).keys}
        signing_keys.clear_cache()

    def test_a_withdrawn_key_ends_what_it_signed_at_once(self, agent: Caller, bank: ResourceServer) -> None:
        token = agent.client_credentials(scope="calendar.read").json()["access_token"]
        now = timezone.now()
        leaked = signing_keys.signing_key("ES256", now).kid
        assert signing_keys.withdraw(leaked, now)
        signing_keys.make_key("ES256", now, active_at=now)
        signing_keys.clear_cache()
        assert bank.introspect(token).json() == {"active": False}
        with pytest.raises((JoseError, ValueError)):
            jwt.decode(token, KeySet.import_key_set({"keys": self.listed()}), algorithms=["ES256"])
        assert agent.client_credentials(scope="calendar.read").status_code == 200
        assert Event.objects.filter(kind="signing_key.withdrawn").count() == 1


class Aging:
    """Makes what the process caches older."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.real = process_cache.time
        monkeypatch.setattr(process_cache, "time", self)

    def monotonic(self) -> float:
        return self.real.monotonic() + self.seconds


@pytest.fixture
def aging(monkeypatch: pytest.MonkeyPatch) -> Aging:
    return Aging(monkeypatch)


class TestWhatAProcessCaches:
    def test_what_another_process_changes_is_seen_in_time(
        self, payment_type: OperationType, signing: None, aging: Aging
    ) -> None:
        assert document()["authorization_details_types_supported"] == ["payment"]
        kids = {key["kid"] for key in document("/.well-known/jwks.json")["keys"]}
        OperationType.objects.update(is_active=False)
        withdrawn = SigningKey.objects.first()
        assert withdrawn
        SigningKey.objects.filter(pk=withdrawn.pk).update(withdrawn_at=timezone.now())
        assert document()["authorization_details_types_supported"] == ["payment"]
        assert {key["kid"] for key in document("/.well-known/jwks.json")["keys"]} == kids
        aging.seconds = process_cache.RENEW_AFTER_S
        assert document()["authorization_details_types_supported"] == []
        assert {key["kid"] for key in document("/.well-known/jwks.json")["keys"]} == kids - {withdrawn.kid}
        assert signing_keys.find_key(withdrawn.kid, timezone.now()) is None

    def test_keys_are_opened_once(self, signing: None, aging: Aging, monkeypatch: pytest.MonkeyPatch) -> None:
        before = signing_keys.key_list(timezone.now())
        monkeypatch.delattr(signing_keys, "_open")
        aging.seconds = process_cache.RENEW_AFTER_S
        after = signing_keys.key_list(timezone.now())
        assert after is not before and [one.key for one in after.keys] == [one.key for one in before.keys]

    def test_the_first_keys_are_seen_at_once(self, db: None) -> None:
        signing_keys.clear_cache()
        assert document("/.well-known/jwks.json") == {"keys": []}
        kid = signing_keys.make_key("ES256", timezone.now(), active_at=timezone.now())
        assert [key["kid"] for key in document("/.well-known/jwks.json")["keys"]] == [kid]


@pytest.mark.django_db(transaction=True)
class TestWhatThisProcessChanges:
    def test_a_key_is_seen_at_once(self, signing: None) -> None:
        kids = {key["kid"] for key in document("/.well-known/jwks.json")["keys"]}
        now = timezone.now()
        new = signing_keys.make_key("ES256", now, active_at=now)
        assert {key["kid"] for key in document("/.well-known/jwks.json")["keys"]} == kids | {new}
        assert signing_keys.withdraw(new, now)
        assert {key["kid"] for key in document("/.well-known/jwks.json")["keys"]} == kids

    def test_a_type_is_seen_at_once(
        self, payment_type: OperationType, signing: None, administrator: User, agent: Caller
    ) -> None:
        browser = Client()
        browser.force_login(administrator)
        path = f"/admin/operations/resource/{payment_type.resource_id}/change/"
        name = payment_type.resource.name
        assert "payment" in document()["authorization_details_types_supported"]
        assert browser.post(path, {"name": name}).status_code == 302  # a box that is not ticked is not sent
        assert document()["authorization_details_types_supported"] == []
        assert browser.post(path, {"name": name, "is_active": "on"}).status_code == 302
        assert "payment" in document()["authorization_details_types_supported"]

    def test_many_threads_cause_one_query(self, signing: None, payment_type: OperationType) -> None:
        sent: list[str] = []
        together = threading.Barrier(8)

        def ask() -> None:
            try:
                with CaptureQueriesContext(connection) as captured:
                    together.wait(10)
                    signing_keys.key_list(timezone.now())
                    listed_type_names(timezone.now())
                sent.extend(query["sql"] for query in captured.captured_queries)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            for call in [pool.submit(ask) for _ in range(8)]:
                call.result()
        assert len(sent) == 2, sent
