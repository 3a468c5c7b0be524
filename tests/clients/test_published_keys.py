"""Keys that an agent publishes at an address of its own: fetched, fetched again, and never in anybody's way."""

import contextlib
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from audit.models import Event
from clients import keys, published_keys
from clients.models import Agent, PublishedKeys
from clients.published_keys import published_jwks
from foundation.outbound import Lane, Trust
from foundation.remote_jwks import PublishedKeySet
from tests.support.keys import new_key
from tests.support.tls_server import TlsServer
from tests.support.world import Caller, ResourceServer, allow_everything, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": key.kid, **more}


def answer(body: bytes | dict[str, Any], status: str = "200 OK", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@pytest.fixture
def uri(tls_server: TlsServer, settings: Any) -> str:
    settings.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{tls_server.port}"]
    return f"https://127.0.0.1:{tls_server.port}/jwks.json"


@pytest.fixture
def publisher(uri: str, user: User, bank: ResourceServer, signing: None) -> Caller:
    """An agent that gave the address of its keys in place of the keys."""
    agent = Agent(name="Publisher", client_jwks_uri=uri, grant_types=["client_credentials"])
    agent.full_clean()
    agent.save()
    return allow_everything(Caller(agent, new_key("ES256")), user)


def publish(server: TlsServer, *published: Any) -> None:
    server.says(answer({"keys": [public(key) for key in published]}))


def call(caller: Caller) -> int:
    return int(caller.client_credentials(scope="calendar.read").status_code)


def later(**ago: Any) -> None:
    """As if the last attempt, and what it brought, were so long ago."""
    past = timezone.now() - timedelta(**ago)
    PublishedKeys.objects.update(last_attempt_at=past)
    PublishedKeys.objects.exclude(fetched_at=None).update(fetched_at=past)


def kinds() -> list[dict[str, Any]]:
    return [json.loads(event.body)["facts"] for event in Event.objects.filter(kind="agent.keys_changed").order_by("id")]


class TestFetching:
    def test_once_and_then_kept(self, publisher: Caller, tls_server: TlsServer) -> None:
        publish(tls_server, publisher.key)
        assert [call(publisher) for _ in range(3)] == [200, 200, 200]
        assert len(tls_server.requests) == 1
        (facts,) = kinds()
        assert facts["added"] == [publisher.key.thumbprint()] and not facts["removed"]

    def test_an_unknown_kid_fetches_again(self, publisher: Caller, tls_server: TlsServer) -> None:
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        old, publisher.key = publisher.key, new_key("ES256")
        publish(tls_server, publisher.key)
        later(seconds=11)
        assert call(publisher) == 200
        assert len(tls_server.requests) == 2
        assert kinds()[1]["removed"] == [old.thumbprint()]
        publisher.key = old
        assert call(publisher) == 401, "what is no longer published no longer works"

    def test_how_often_is_nobodys_choice(self, publisher: Caller, tls_server: TlsServer) -> None:
        """Anybody can send assertions in the agent's name, each under another kid."""
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        stranger = Caller(publisher.agent, new_key("ES256"))
        for _ in range(5):
            stranger.key = new_key("ES256")
            assert call(stranger) == 401
        assert len(tls_server.requests) == 1
        later(seconds=11)
        assert [call(stranger), call(stranger)] == [401, 401]
        assert len(tls_server.requests) == 2
        assert call(publisher) == 200

    def test_a_key_taken_off_the_list_ends_when_the_list_is_old(self, publisher: Caller, tls_server: TlsServer) -> None:
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        publish(tls_server, new_key("ES256"))
        later(minutes=9)
        assert call(publisher) == 200
        later(minutes=11)
        assert call(publisher) == 401

    def test_two_at_once_fetch_once(self, publisher: Caller, tls_server: TlsServer) -> None:
        body = answer({"keys": [public(publisher.key)]})

        def slowly(connection: Any) -> None:
            time.sleep(0.5)
            connection.sendall(body)

        tls_server.act = slowly
        answers: list[int] = []

        def one() -> None:
            caller = Caller(publisher.agent, publisher.key, http=Client())
            answers.append(call(caller))
            connection.close()

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200, 200] and len(tls_server.requests) == 1

    def test_slow_hosts_do_not_take_every_thread(
        self, publisher: Caller, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(published_keys, "LANE", Lane("test", Trust.SUPPLIED, per_host=1))
        tls_server.act = lambda connection: time.sleep(1)
        first = threading.Thread(target=lambda: (call(publisher), connection.close()))
        first.start()
        while not PublishedKeys.objects.exclude(last_attempt_at=None).exists():
            time.sleep(0.01)
        assert call(Caller(publisher.agent, publisher.key, http=Client())) == 401
        first.join()
        assert len(tls_server.requests) == 1, "the second took no place, and so asked nobody"

    def test_who_waits_for_the_keys_does_not_keep_them_from_being_fetched(
        self, publisher: Caller, tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More requests at once than the host may have calls, and all are stopped where one has claimed the fetch."""
        publish(tls_server, publisher.key)
        claimed = PublishedKeySet._claim
        others: list[threading.Thread] = []

        def claim_and_let_the_others_go_first(published: PublishedKeySet, now: Any) -> bool:
            mine = claimed(published, now)
            if mine:
                others.extend(
                    threading.Thread(target=lambda: (published.read(lambda _jwks: False, now), connection.close()))
                    for _ in range(3)
                )
                for thread in others:
                    thread.start()
                time.sleep(0.3)
            return mine

        monkeypatch.setattr(PublishedKeySet, "_claim", claim_and_let_the_others_go_first)
        assert call(publisher) == 200
        for thread in others:
            thread.join()

    def test_a_host_that_is_busy_was_not_called(self, publisher: Caller, tls_server: TlsServer, uri: str) -> None:
        """Neither as an attempt, after which the next one waits, nor as a failure."""
        publish(tls_server, publisher.key)
        with published_keys.LANE.place(uri), published_keys.LANE.place(uri):
            assert call(publisher) == 401
        assert not tls_server.requests and not PublishedKeys.objects.exclude(problem="", last_attempt_at=None).exists()
        assert call(publisher) == 200

    def test_a_suspended_agents_host_is_not_called(self, publisher: Caller, tls_server: TlsServer) -> None:
        Agent.objects.update(status="suspended")
        assert call(publisher) == 401
        assert not tls_server.requests

    def test_never_inside_a_transaction(self, publisher: Caller) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError, match="not inside a transaction"):
            published_jwks(publisher.agent, None, timezone.now())


HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 100_000
PRIVATE = new_key("ES256")
FAILURES = [
    pytest.param(answer(b"{}", "500 Oops"), "it answered 500", id="an error"),
    pytest.param(answer(b"", "302 Found", Location="http://169.254.169.254/"), "it answered 302", id="a redirect"),
    pytest.param(answer(b"<html>"), "not JSON", id="no JSON"),
    pytest.param(answer(b"[" * 5000), "not JSON", id="deep JSON"),
    pytest.param(answer(b'{"keys":[],"keys":[]}'), "not JSON", id="a repeated name"),
    pytest.param(answer(b"[]"), "JWK Set", id="a list"),
    pytest.param(answer(b'{"keys": [5, null, {"kty": []}]}'), "not an object", id="no key that can be used"),
    pytest.param(answer({"keys": [public(PRIVATE)] * 51}), "at most 50", id="too many keys"),
    pytest.param(answer({"keys": [PRIVATE.as_dict(private=True)]}), "private", id="a private key"),
    pytest.param(HUGE, "larger than", id="a huge body"),
    pytest.param(b"", "failed", id="no answer"),
]


class TestFailing:
    @pytest.mark.parametrize(("body", "problem"), FAILURES)
    def test_the_old_keys_go_on_working(
        self, publisher: Caller, tls_server: TlsServer, body: bytes, problem: str
    ) -> None:
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        tls_server.says(body)
        later(minutes=11)
        assert [call(publisher), call(publisher)] == [200, 200]
        assert len(tls_server.requests) == 2, "a failure is not repeated at once"
        assert problem in PublishedKeys.objects.get().problem
        assert len(kinds()) == 1

    def test_but_not_for_ever(self, publisher: Caller, tls_server: TlsServer) -> None:
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        tls_server.says(answer(b"", "503 Away"))
        later(hours=23)
        assert call(publisher) == 200
        later(hours=25)
        assert call(publisher) == 401

    def test_and_recovers(self, publisher: Caller, tls_server: TlsServer) -> None:
        tls_server.says(answer(b"", "503 Away"))
        assert call(publisher) == 401
        publish(tls_server, publisher.key)
        later(seconds=20)
        assert call(publisher) == 401, "not asked again so soon after a failure"
        later(seconds=31)
        assert call(publisher) == 200
        assert not PublishedKeys.objects.get().problem

    def test_one_who_was_killed_while_fetching(self, publisher: Caller, tls_server: TlsServer) -> None:
        past = timezone.now() - timedelta(seconds=11)
        PublishedKeys.objects.create(agent=publisher.agent, uri=publisher.agent.client_jwks_uri, last_attempt_at=past)
        publish(tls_server, publisher.key)
        assert call(publisher) == 200

    def test_a_slow_host_costs_a_few_seconds_at_most(self, publisher: Caller, tls_server: TlsServer) -> None:
        tls_server.says(b"HTTP/1.1 200 OK\r\n" + b"x" * 500, one_byte_each=0.05)
        began = time.monotonic()
        assert call(publisher) == 401
        assert time.monotonic() - began < 20, "all bytes would take 25 s"

    def test_private_addresses_are_not_called(self, publisher: Caller, tls_server: TlsServer, settings: Any) -> None:
        settings.OUTBOUND_EXCEPTIONS = []
        Agent.objects.update(client_jwks_uri="https://127.0.0.1:8443/jwks.json")
        publisher.agent.refresh_from_db()
        assert call(publisher) == 401
        assert "not a public address" in PublishedKeys.objects.get().problem
        assert not tls_server.requests


class TestAnotherAddress:
    def test_the_keys_from_the_old_one_end_at_once(self, publisher: Caller, tls_server: TlsServer, uri: str) -> None:
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        Agent.objects.update(client_jwks_uri=f"{uri}?2")
        tls_server.says(answer(b"", "404 Not Found"))
        publisher.agent.refresh_from_db()
        assert call(publisher) == 401
        assert len(tls_server.requests) == 2, "a new address does not wait"


class TestWhatIsTaken:
    def test_keys_for_others_are_passed_over(self, publisher: Caller, tls_server: TlsServer) -> None:
        others = [{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}, {"kty": "new"}, public(PRIVATE, use="enc")]
        tls_server.says(answer({"keys": [*others, public(publisher.key)]}))
        assert call(publisher) == 200

    @given(st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5)
        | st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "sig"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "x5c"]), inner, max_size=6),
        max_leaves=12,
    ))  # fmt: skip
    def test_whatever_is_published_is_a_problem_in_words(self, published: Any) -> None:
        keys.problem_with({"keys": [published]})
        for value in (published, {"keys": published}, {"keys": [published]}):
            with contextlib.suppress(ValueError):
                assert keys.problem_with(keys.usable(value)) is None


class TestRegistering:
    @pytest.mark.parametrize(
        "bad", ["http://agent.example.com/jwks", "https://u:p@agent.example.com/", "https://agent.example.com:22/", "x"]
    )
    def test_addresses_that_are_not_called(self, bad: str) -> None:
        with pytest.raises(ValidationError, match="does not call this address"):
            Agent(name="A", client_jwks_uri=bad, grant_types=["client_credentials"]).full_clean()

    def test_never_both(self) -> None:
        agent = Agent(
            name="A", client_jwks={"keys": [public(PRIVATE)]}, client_jwks_uri="https://agent.example.com/jwks",
            grant_types=["client_credentials"],
        )  # fmt: skip
        with pytest.raises(ValidationError, match="not both"):
            agent.full_clean()

    def test_the_administration_shows_what_was_fetched(
        self, publisher: Caller, tls_server: TlsServer, administrator: User
    ) -> None:
        path, browser = f"/admin/clients/agent/{publisher.agent.pk}/change/", sign_in(administrator)
        assert b"Not fetched yet" in browser.get(path).content
        publish(tls_server, publisher.key)
        assert call(publisher) == 200
        page = browser.get(path).content.decode()
        assert publisher.key.kid in page and "fetched 20" in page
        tls_server.says(answer(b"", "500 Oops"))
        later(minutes=11)
        call(publisher)
        assert "Last attempt failed: it answered 500" in browser.get(path).content.decode()
