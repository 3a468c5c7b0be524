"""Client ID Metadata Documents: which are taken, what is kept for how long, and that fetching harms nobody."""

import contextlib
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.http import urlencode

from accounts.models import User
from audit.models import Event
from clients import metadata_documents, registration
from clients.errors import DocumentUnavailable
from clients.lookup import find_agent
from clients.metadata_documents import freshness
from clients.models import Agent, AgentLink
from foundation.models import Attempt
from foundation.outbound import Lane, Trust
from tests.clients.test_registration import keys_of
from tests.support.keys import new_key
from tests.support.tls_server import TlsServer
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
CALLER = "192.0.2.1"


class Host:
    """A client's host, with one document on it."""

    def __init__(self, server: TlsServer) -> None:
        self.server = server
        self.url = f"https://127.0.0.1:{server.port}/client.json"
        self.document: dict[str, Any] = {
            "client_id": self.url, "client_name": "Tool client", "redirect_uris": ["https://tool.example.com/cb"],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
        }  # fmt: skip

    def serve(
        self, *, headers: str = "", status: str = "200 OK", kind: str = "application/json", **changed: Any
    ) -> None:
        """The document as it is now; a member that is changed to None is left out."""
        self.document = {name: value for name, value in (self.document | changed).items() if value is not None}
        self.say(json.dumps(self.document).encode(), headers=headers, status=status, kind=kind)

    def say(self, body: bytes, *, headers: str = "", status: str = "200 OK", kind: str = "application/json") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.server.says(head.encode() + body)

    def find(self, later: timedelta = timedelta(0)) -> Agent | None:
        return find_agent(self.url, CALLER, timezone.now() + later)

    @property
    def fetches(self) -> int:
        return len(self.server.requests)


@pytest.fixture
def host(tls_server: TlsServer, settings: Any) -> Host:
    settings.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{tls_server.port}"]
    settings.METADATA_DOCUMENT_HOSTS = ["*"]
    host = Host(tls_server)
    host.serve()
    return host


class TestTaking:
    def test_a_client_that_was_never_heard_of(self, host: Host) -> None:
        found = host.find()
        assert found is not None
        assert (found.client_id, found.name, found.verified_host) == (host.url, "Tool client", "127.0.0.1")
        assert found.token_endpoint_auth_method == "none" and found.registration_source == "cimd"
        request = host.server.requests[0].decode()
        assert request.startswith("GET /client.json HTTP/1.1\r\n") and "cookie" not in request.lower()
        assert Event.objects.get(kind="agent.registered").client_id == host.url

    def test_it_has_the_rights_of_one_that_registered_itself(self, host: Host, agent: Caller, settings: Any) -> None:
        host.serve(scope="openid calendar.read accounts.close")
        found = host.find()
        assert found is not None and found.identity_scopes == ["openid"]
        assert not found.scopes.exists() and not found.operation_types.exists() and not found.links.exists()

    def test_the_configured_ones(self, host: Host, agent: Caller, user: User, settings: Any) -> None:
        settings.REGISTRATION_SCOPES, settings.REGISTRATION_USERS = ["calendar.read"], [user.email]
        found = host.find()
        assert found is not None and [scope.name for scope in found.scopes.all()] == ["calendar.read"]
        assert AgentLink.objects.filter(agent=found, user=user, is_linked=True).count() == 1

    def test_one_with_a_key_authenticates_at_the_token_endpoint(self, host: Host, agent: Caller, settings: Any) -> None:
        settings.REGISTRATION_SCOPES = ["calendar.read"]
        key = new_key("ES256")
        host.serve(
            token_endpoint_auth_method="private_key_jwt", grant_types=["client_credentials"], jwks=keys_of(key)
        )  # fmt: skip
        caller = Caller(Agent(client_id=host.url), key)
        answer = caller.client_credentials(scope="calendar.read")
        assert answer.status_code == 200, answer.content
        assert caller.client_credentials(scope="calendar.read").status_code == 200
        assert host.fetches == 1
        assert Agent.objects.get(client_id=host.url).first_used_at is not None

    @pytest.mark.parametrize(
        "part",
        [{"client_name": "\u202eknab"}, {"logo_uri": "http://10.0.0.1/"}, {"client_uri": "http://localhost:3080"},
         {"redirect_uris": ["https://tool.example.com/cb", "javascript:alert(1)"]}, {"contacts": 7}],
    )  # fmt: skip
    def test_a_part_that_cannot_be_used_is_dropped(self, host: Host, part: dict[str, Any]) -> None:
        host.serve(**part)
        found = host.find()
        assert found is not None and found.redirect_uris == "https://tool.example.com/cb"
        assert found.name in ("Tool client", "tool.example.com") and not found.self_description

    def test_one_with_rs256_keys_gets_its_tokens(self, host: Host, agent: Caller, settings: Any) -> None:
        settings.REGISTRATION_SCOPES = ["calendar.read"]
        key = new_key("RS256")
        jwks = {"keys": [{**key.as_dict(private=False), "kid": key.kid, "alg": "RS256", "use": "sig"}]}
        host.serve(token_endpoint_auth_method="private_key_jwt", grant_types=["client_credentials"], jwks=jwks,
                   token_endpoint_auth_signing_alg="RS256")  # fmt: skip
        answer = Caller(Agent(client_id=host.url), key, "RS256").client_credentials(scope="calendar.read")
        assert answer.status_code == 200, answer.content
        assert Agent.objects.get(client_id=host.url).id_token_signed_response_alg == "RS256"

    def test_the_metadata_says_so(self, settings: Any, signing: None) -> None:
        settings.METADATA_DOCUMENT_HOSTS = []
        assert "client_id_metadata_document_supported" not in Client().get("/.well-known/openid-configuration").json()
        settings.METADATA_DOCUMENT_HOSTS = ["client.example.com"]
        assert Client().get("/.well-known/openid-configuration").json()["client_id_metadata_document_supported"] is True

    def test_the_consent_page_shows_whom_the_host_vouches_for(self, host: Host, user: User, signing: None) -> None:
        host.serve(client_name="<b>Bank</b>", redirect_uris=["http://127.0.0.1/cb"])
        query = {
            "response_type": "code", "client_id": host.url, "redirect_uri": "http://127.0.0.1:5555/cb",
            "scope": "openid",
            "code_challenge": "x" * 43, "code_challenge_method": "S256", "state": "s",
        }  # fmt: skip
        page = sign_in(user).get("/authorize?" + urlencode(query), follow=True)
        text = page.content.decode()
        assert page.status_code == 200, text
        assert "&lt;b&gt;Bank&lt;/b&gt;" in text and "<b>Bank" not in text
        assert "<dt>Verified host</dt><dd>127.0.0.1</dd>" in text
        assert "127.0.0.1:5555</dd>" in text
        assert "a program on this device" in text and "but not the agent's name" in text

    def test_not_from_hosts_that_are_not_listed(self, host: Host, settings: Any) -> None:
        for listed in ([], ["client.example.com"], ["27.0.0.1"], ["127.0.0.1.example.com"]):
            settings.METADATA_DOCUMENT_HOSTS = listed
            assert host.find() is None
        assert host.fetches == 0 and not Attempt.objects.exists()
        settings.METADATA_DOCUMENT_HOSTS = ["127.0.0.1"]
        assert host.find() is not None

    def test_an_administrator_gives_it_rights_and_changes_nothing_of_the_document(
        self, host: Host, administrator: User, agent: Caller
    ) -> None:
        found = host.find()
        assert found is not None
        address = f"/admin/clients/agent/{found.pk}/change/"
        browser = sign_in(administrator)
        page = browser.get(address).content.decode()
        assert 'name="scopes"' in page and 'name="redirect_uris"' not in page and 'name="grant_types"' not in page
        scope = agent.agent.scopes.get(name="calendar.read")
        form = {
            name: getattr(found, name) for name in ("profile", "assertion_audience", "backchannel_token_delivery_mode")
        }
        form |= {
            "name": "Bank",
            "redirect_uris": "https://evil.example/",
            "scopes": [scope.pk],
            "identity_scopes": ["openid"],
        }
        answer = browser.post(address, form)
        assert answer.status_code == 302, answer.content
        found.refresh_from_db()
        assert (found.name, found.redirect_uris) == ("Tool client", "https://tool.example.com/cb")
        assert list(found.scopes.all()) == [scope]


class TestRefusing:
    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({"client_id": "https://bank.example.com/client.json"}, id="another's client_id"),
            pytest.param({"client_id": None}, id="no client_id"),
            pytest.param({"client_id": ["x"]}, id="a client_id that is no text"),
            pytest.param({"client_secret": "x"}, id="a secret"),
            pytest.param({"client_secret_expires_at": 0}, id="a secret's time"),
            pytest.param({"token_endpoint_auth_method": "client_secret_basic"}, id="authentication by secret"),
            pytest.param({"token_endpoint_auth_method": "private_key_jwt"}, id="a key that is not there"),
            pytest.param({"redirect_uris": ["javascript:alert(1)"]}, id="a script for a redirect"),
            pytest.param({"redirect_uris": None}, id="no redirect"),
            pytest.param({"jwks": {"keys": []}, "token_endpoint_auth_method": None}, id="keys that are none"),
            pytest.param({"kind": "text/html"}, id="a page"),
            pytest.param({"kind": "application/jsonp"}, id="another type"),
            pytest.param({"status": "201 Created"}, id="another status"),
            pytest.param({"status": "404 Not Found"}, id="not there"),
            pytest.param({"status": "302 Found", "headers": "Location: https://localhost/\r\n"}, id="a redirect"),
        ],
    )
    def test_documents(self, host: Host, changed: dict[str, Any], settings: Any) -> None:
        settings.REGISTRATION_SECRETS = True
        host.serve(**changed)
        assert host.find() is None
        assert not Agent.objects.exists()
        assert host.fetches == 1  # and a redirect is not followed

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"client_id":1,"client_id":2}', b"[" * 4000])
    def test_what_is_no_document(self, host: Host, body: bytes) -> None:
        host.say(body)
        assert host.find() is None

    def test_a_large_one(self, host: Host) -> None:
        host.serve(padding="x" * 5000)
        with pytest.raises(DocumentUnavailable):
            host.find()

    @pytest.mark.parametrize(
        "path",
        ["", "/", "/../client.json", "/%2e%2e/client.json", "/client.json#x", "/client json", "/client.json\r\nX: y"],
    )
    def test_addresses(self, host: Host, path: str) -> None:
        assert find_agent(f"https://127.0.0.1:{host.server.port}{path}", CALLER, timezone.now()) is None
        assert find_agent(f"https://x@127.0.0.1:{host.server.port}/client.json", CALLER, timezone.now()) is None
        assert find_agent(f"HTTPS://127.0.0.1:{host.server.port}/client.json", CALLER, timezone.now()) is None
        assert find_agent(f"http://127.0.0.1:{host.server.port}/client.json", CALLER, timezone.now()) is None
        assert host.fetches == 0

    @pytest.mark.parametrize(
        "inside", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:a00:1]"]
    )
    def test_addresses_inside(self, host: Host, inside: str, settings: Any) -> None:
        settings.OUTBOUND_EXCEPTIONS = []
        for url in (f"https://{inside}/client.json", host.url):
            with pytest.raises(DocumentUnavailable):
                find_agent(url, CALLER, timezone.now())
        assert host.fetches == 0 and not Agent.objects.exists()

    def test_nobody_else_may_have_such_a_client_id(self, host: Host) -> None:
        from django.db import IntegrityError

        for source, client_id in (("dcr", host.url), ("manual", "HTTPS://x.example/c"), ("cimd", "abc")):
            with pytest.raises(IntegrityError):
                Agent.objects.create(client_id=client_id, registration_source=source, name="x")


class TestUnreachable:
    """A client that nobody knows yet is not unknown because its host does not answer: the error says so."""

    @pytest.fixture(params=["503 Service Unavailable", "429 Too Many Requests", "500 Oh", "closed", "rubbish"])
    def away(self, host: Host, request: Any) -> Host:
        if request.param == "closed":
            host.server.says(b"")
        elif request.param == "rubbish":
            host.server.says(b"\x00\xff\r\n\r\n")
        else:
            host.serve(status=request.param)
        return host

    def test_the_browser_shows_the_reason(self, away: Host, user: User, signing: None) -> None:
        query = {"response_type": "code", "client_id": away.url, "redirect_uri": "https://tool.example.com/cb"}
        page = sign_in(user).get("/authorize?" + urlencode(query))
        assert page.status_code == 503
        assert "metadata document could not be fetched: its host is unreachable" in page.content.decode().replace(
            "&#x27;", "'"
        )

    def test_the_token_endpoint_says_so(self, away: Host, signing: None) -> None:
        answer = Caller(Agent(client_id=away.url), new_key("ES256")).client_credentials(scope="calendar.read")
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert "its host is unreachable" in answer.json()["error_description"]
        assert answer["Retry-After"] == "60"

    def test_a_name_that_does_not_resolve(self, host: Host) -> None:
        with pytest.raises(DocumentUnavailable):
            find_agent("https://nobody.invalid/client.json", CALLER, timezone.now())

    def test_an_address_inside_and_a_name_that_does_not_exist_are_one_answer(self, host: Host, settings: Any) -> None:
        """Else anybody could learn here which names there are in our network."""
        settings.OUTBOUND_EXCEPTIONS = []
        reply = []
        for url in (host.url, "https://localhost/client.json", "https://10.0.0.1/c", "https://nobody.invalid/c"):
            with pytest.raises(DocumentUnavailable) as error:
                find_agent(url, CALLER, timezone.now())
            reply.append(error.value.body())
        assert all(one == reply[0] for one in reply)

    def test_a_host_that_is_not_listed_is_not_asked(self, host: Host, settings: Any) -> None:
        settings.METADATA_DOCUMENT_HOSTS = ["client.example.com"]
        assert find_agent("https://nobody.invalid/client.json", CALLER, timezone.now()) is None


class TestKeeping:
    @pytest.mark.parametrize(
        ("header", "minutes"),
        [
            ("", 60), ("max-age=600", 10), ("public, max-age=7200", 120), ("max-age=1", 5),
            ("max-age=99999999", 24 * 60),
            ("no-store", 5), ("no-cache, max-age=7200", 5), ("max-age=-5", 60), ("max-age=x", 60),
            ("max-age=" + "9" * 10, 1440),
            ('max-age="600"', 10), ("s-maxage=9999", 60),
        ],
    )  # fmt: skip
    def test_for_how_long(self, header: str, minutes: int) -> None:
        assert freshness(header) == timedelta(minutes=minutes)

    def test_a_fresh_one_is_not_fetched_again(self, host: Host) -> None:
        host.serve(headers="Cache-Control: max-age=600\r\n")
        assert host.find() and host.find(timedelta(minutes=9)) and host.fetches == 1
        assert host.find(timedelta(minutes=11)) and host.fetches == 2

    def test_what_changed_is_taken_over_and_consents_are_asked_for_again(self, host: Host) -> None:
        first = host.find()
        host.serve(redirect_uris=["https://tool.example.com/other"])
        second = host.find(timedelta(hours=2))
        assert first and second and first.pk == second.pk
        assert second.redirect_uris == "https://tool.example.com/other"
        assert Event.objects.filter(kind="agent.changed").count() == 1
        assert Agent.objects.get().identity_changed_at is not None

    def test_a_profile_that_an_administrator_chose_survives_a_document_that_names_no_algorithm(
        self, host: Host, administrator: User
    ) -> None:
        """The default of OpenID Connect is RS256, which FAPI does not allow."""
        keyed = {"token_endpoint_auth_method": "private_key_jwt", "jwks": keys_of(new_key("ES256"))}
        host.serve(**keyed, dpop_bound_access_tokens=True)
        found = host.find()
        assert found is not None and found.id_token_signed_response_alg == "RS256"
        browser, path = sign_in(administrator), f"/admin/clients/agent/{found.pk}/change/"
        form = browser.get(path).context["adminform"].form
        values = {name: value for name, value in form.initial.items() if name in form.fields and value is not None}
        saved = browser.post(path, values | {"profile": "fapi2-ciba"})
        assert saved.status_code == 302, saved.context["adminform"].form.errors
        found.refresh_from_db()
        assert (found.profile, found.id_token_signed_response_alg) == ("fapi2-ciba", "ES256")
        again = host.find(later=timedelta(hours=25))
        assert again is not None and again.id_token_signed_response_alg == "ES256"

    def test_while_its_host_is_away_it_goes_on_for_a_day(self, host: Host) -> None:
        assert host.find()
        host.serve(status="503 Service Unavailable")
        assert host.find(timedelta(hours=20)) is not None
        with pytest.raises(DocumentUnavailable):
            host.find(timedelta(hours=26))
        host.serve()
        assert host.find(timedelta(hours=27)) is not None

    def test_a_host_that_revokes_it_ends_it_at_once(self, host: Host) -> None:
        assert host.find()
        host.serve(status="404 Not Found")
        assert host.find(timedelta(hours=2)) is None
        host.serve(status="503 Service Unavailable")
        with pytest.raises(DocumentUnavailable):  # what ended does not come back because its host is away
            host.find(timedelta(hours=2))
        host.serve()
        assert host.find(timedelta(hours=2)) is not None

    def test_an_error_is_not_kept(self, host: Host) -> None:
        host.serve(status="404 Not Found")
        assert host.find() is None
        host.serve()
        assert host.find() is not None

    def test_a_suspended_one_stays_suspended(self, host: Host) -> None:
        host.find()
        Agent.objects.update(status="suspended")
        found = host.find(timedelta(hours=2))
        assert found is not None and not found.is_active and host.fetches == 1

    def test_two_first_requests_at_once_make_one_agent(self, host: Host, user: User, settings: Any) -> None:
        settings.REGISTRATION_USERS = [user.email]
        found: list[Agent | None] = []
        barrier = threading.Barrier(3)

        def ask() -> None:
            from django.db import connection

            barrier.wait()
            try:
                found.append(host.find())
            finally:
                connection.close()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Agent.objects.count() == 1
        assert {agent.pk for agent in found if agent} == {Agent.objects.get().pk} and len(found) == 3
        assert Event.objects.filter(kind="agent.registered").count() == 1

    def test_one_that_nobody_used_is_deleted(self, host: Host) -> None:
        host.find()
        Agent.objects.update(created=timezone.now() - timedelta(hours=25))
        assert registration.sweep(timezone.now(), 100) == 1
        assert not Agent.objects.exists()


class TestFlooding:
    def ask(self, url: str, caller: str) -> None:
        """The document there names another address, so there is no client."""
        with contextlib.suppress(DocumentUnavailable):
            assert find_agent(url, caller, timezone.now()) is None

    def test_fetches_are_limited_per_caller(self, host: Host, settings: Any) -> None:
        settings.REGISTRATION_LIMIT = 3
        for number in range(5):
            self.ask(f"{host.url}?{number}", CALLER)
        assert host.fetches == 3
        assert find_agent(f"{host.url}?9", "192.0.2.2", timezone.now()) is None and host.fetches == 4

    def test_and_per_host_whoever_calls(self, host: Host, settings: Any) -> None:
        settings.REGISTRATION_LIMIT_TOTAL = 3
        for number in range(5):
            self.ask(f"{host.url}?{number}", f"192.0.2.{number + 1}")
        assert host.fetches == 3

    def test_a_limit_does_not_end_who_is_known(self, host: Host, settings: Any) -> None:
        assert host.find()
        settings.REGISTRATION_LIMIT = 0
        assert host.find(timedelta(hours=2)) is not None
        assert host.fetches == 1

    def test_slow_hosts_do_not_take_every_thread(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        lane = Lane("test", Trust.SUPPLIED, per_host=9, in_total=1)
        monkeypatch.setattr(metadata_documents, "LANE", lane)
        with lane.place("https://slow.example/"), pytest.raises(DocumentUnavailable, match="temporarily_unavailable"):
            host.find()
        assert host.fetches == 0
        assert host.find() is not None
