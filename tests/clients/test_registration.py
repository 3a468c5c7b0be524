"""Agents that register themselves (RFC 7591) and manage that (RFC 7592): who may, as what, and with what rights."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from joserfc.jwk import ECKey

from accounts.models import User
from audit.models import Event
from authserver.checks import problems
from clients import registration
from clients.models import CIBA, Agent, AgentLink, InitialAccessToken, PublishedKeys, Registration
from clients.registration import make_initial_token
from foundation import attempts
from foundation.models import Attempt
from tests.support.duel import at_once
from tests.support.keys import new_key
from tests.support.world import Caller, ResourceServer, post_form, sign_in

pytestmark = pytest.mark.django_db
REDIRECT = "https://client.example.com/callback"
# What the MCP Python SDK sends.
MCP_BODY: dict[str, Any] = {
    "redirect_uris": ["http://localhost:3030/callback"],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "client_name": "A tool client",
    "application_type": "native",
    "scope": "calendar.read",
}


def body(**more: Any) -> dict[str, Any]:
    return {"client_name": "Client", "redirect_uris": [REDIRECT]} | more


def keys_of(key: Any) -> dict[str, Any]:
    return {"keys": [{**key.as_dict(private=False), "kid": key.kid}]}


def with_key(**more: Any) -> dict[str, Any]:
    return body(jwks=keys_of(new_key("ES256")), **more)


def register(sent: Any, token: str | None = None, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = sent if isinstance(sent, str | bytes) else json.dumps(sent)
    return Client().post("/oidc/register", content, content_type="application/json", headers=headers, **options)


def manage(method: str, reply: dict[str, Any], sent: Any = None, token: str | None = None) -> Any:
    return Client().generic(
        method, f"/oidc/register/{reply['client_id']}", json.dumps(sent) if sent is not None else "",
        content_type="application/json",
        headers={"Authorization": f"Bearer {token or reply['registration_access_token']}"},
    )  # fmt: skip


def sent_back(reply: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """What a client sends to change its registration: all of it, without what only the server says."""
    ours = {
        "registration_access_token", "registration_client_uri", "client_id_issued_at", "client_secret_expires_at",
    }  # fmt: skip
    return {name: value for name, value in reply.items() if name not in ours} | changed


@pytest.fixture
def opened(settings: Any) -> Any:
    settings.REGISTRATION = "open"
    return settings


class TestRegistering:
    def test_a_body_as_mcp_clients_send_it(self, opened: Any) -> None:
        response = register(MCP_BODY)
        assert response.status_code == 201
        assert response["Cache-Control"] == "no-store"
        reply = response.json()
        token, issued_at = reply.pop("registration_access_token"), reply.pop("client_id_issued_at")
        client_id = reply.pop("client_id")
        assert reply == {
            "client_name": "A tool client",
            "application_type": "native",
            "redirect_uris": ["http://localhost:3030/callback"],
            "post_logout_redirect_uris": [],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "id_token_signed_response_alg": "RS256",
            "subject_type": "public",
            "scope": "openid",
            "authorization_details_types": [],
            "registration_client_uri": f"http://localhost:8000/oidc/register/{client_id}",
            "dpop_bound_access_tokens": False,
        }
        agent = Agent.objects.get(client_id=client_id)
        assert issued_at == int(agent.created.timestamp())
        assert not client_id.startswith("http")
        assert len(token) == 43
        event = json.loads(Event.objects.get(kind="agent.registered").body)
        assert event["client_id"] == client_id and event["facts"]["address"] == "127.0.0.1"

    def test_an_agent_with_a_key_asks_a_user(self, opened: Any, agent: Caller, user: User) -> None:
        opened.REGISTRATION_USERS = [user.email]
        key = new_key("ES256")
        reply = register({"client_name": "Asker", "grant_types": [CIBA], "jwks": keys_of(key)}).json()
        assert reply["token_endpoint_auth_method"] == "private_key_jwt"
        assert reply["response_types"] == []
        caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
        assert caller.ask(user).status_code == 200

    def test_the_deliveries_of_ciba(self, opened: Any) -> None:
        endpoint = "https://client.example.com/ciba"
        for mode in ("poll", "ping", "push"):
            reply = register(
                with_key(
                    grant_types=[CIBA],
                    backchannel_token_delivery_mode=mode,
                    backchannel_client_notification_endpoint=endpoint,
                    backchannel_authentication_request_signing_alg="ES256",
                    backchannel_user_code_parameter=True,
                )
            ).json()
            assert reply["backchannel_token_delivery_mode"] == mode
            assert reply["backchannel_user_code_parameter"] is True
            assert reply["backchannel_client_notification_endpoint"] == endpoint
            assert reply["backchannel_authentication_request_signing_alg"] == "ES256"
            assert manage("PUT", reply, sent_back(reply)).status_code == 200
        assert register(with_key(grant_types=[CIBA])).json()["backchannel_token_delivery_mode"] == "poll"

    def test_what_it_says_of_itself_is_answered_back(self, opened: Any) -> None:
        said = {
            "client_uri": "https://client.example.com/", "logo_uri": "https://client.example.com/logo.png",
            "tos_uri": "https://client.example.com/tos", "policy_uri": "https://client.example.com/policy",
            "contacts": ["ops@client.example.com"], "software_id": "4NRB1-0XZABZI9E6-5SM3R", "software_version": "2.1",
            "jwks_uri": "https://client.example.com/jwks.json", "post_logout_redirect_uris": [f"{REDIRECT}/out"],
        }  # fmt: skip
        reply = register(body(**said)).json()
        assert said.items() <= reply.items()
        assert manage("GET", reply).json() == reply

    def test_an_unusable_part_is_left_out_of_the_answer(self, opened: Any) -> None:
        """RFC 7591 2 and 3.2.1. LibreChat's address, a name with a variation selector, keys for other servers."""
        other = ECKey.generate_key("P-521", auto_kid=True)
        sent = with_key(
            client_uri="http://localhost:3080", client_name="Claude \ufe0f", redirect_uris=[REDIRECT, "http://x.example/"],
            contacts=["\u202e", "a@example.com"], grant_types=["authorization_code", CIBA, "implicit"],
        )  # fmt: skip
        sent["jwks"]["keys"] += [{**other.as_dict(private=False), "kid": other.kid}]
        response = register(sent)
        assert response.status_code == 201, response.content
        reply = response.json()
        assert "client_uri" not in reply and reply["client_name"] == "client.example.com"
        assert (reply["redirect_uris"], reply["contacts"]) == ([REDIRECT], ["a@example.com"])
        assert reply["jwks"] == {"keys": sent["jwks"]["keys"][:1]}
        assert reply["token_endpoint_auth_method"] == "private_key_jwt"
        assert manage("GET", reply).json() == reply
        assert manage("PUT", reply, sent_back(reply)).status_code == 200

    def test_defaults(self, opened: Any) -> None:
        """RFC 7591 2: a body with redirect URIs alone. null and the empty text stand for what is not given."""
        reply = register({"redirect_uris": [REDIRECT], "client_uri": "", "jwks": None}).json()
        assert reply["client_name"] == "client.example.com"
        assert reply["grant_types"] == ["authorization_code"]
        assert reply["application_type"] == "web"
        assert reply["id_token_signed_response_alg"] == "RS256"  # OpenID Connect Registration 2

    def test_grant_types_of_other_servers_are_left_out(self, opened: Any) -> None:
        sent = ["authorization_code", "implicit", "urn:ietf:params:oauth:grant-type:device_code"]
        reply = register(body(grant_types=sent, response_types=["code", "token"])).json()
        assert reply["grant_types"] == ["authorization_code"]
        assert reply["response_types"] == ["code"]

    def test_a_software_statement_is_not_used_and_so_not_answered(self, opened: Any) -> None:
        """RFC 7591 2.3: a server that does not take them may ignore them; none of its claims counts."""
        reply = register(body(software_statement="eyJhbGciOiJub25lIn0.eyJjbGllbnRfbmFtZSI6IlgifQ.")).json()
        assert reply["client_name"] == "Client"
        assert "software_statement" not in reply

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_secrets_only_where_they_are_allowed(
        self, opened: Any, agent: Caller, method: str, bank: ResourceServer
    ) -> None:
        sent = body(token_endpoint_auth_method=method, grant_types=["client_credentials"], redirect_uris=[])
        assert register(sent).json()["error"] == "invalid_client_metadata"
        public = register(body(token_endpoint_auth_method=method)).json()
        assert public["token_endpoint_auth_method"] == "none" and "client_secret" not in public
        assert manage("PUT", public, sent_back(public, token_endpoint_auth_method=method)).status_code == 200
        opened.REGISTRATION_SECRETS = True
        opened.REGISTRATION_SCOPES = ["calendar.read"]
        reply = register(sent).json()
        assert reply["client_secret_expires_at"] == 0
        form = {"grant_type": "client_credentials", "scope": "calendar.read"}
        form |= {"client_id": reply["client_id"], "client_secret": reply["client_secret"]}
        assert post_form(Client(), "/oauth/token", form).status_code == (200 if method.endswith("post") else 401)
        assert "client_secret" not in manage("GET", reply).json()

    def test_without_and_with_a_slash(self, opened: Any) -> None:
        response = Client().post("/oidc/register/", json.dumps(body()), content_type="application/json")
        assert response.status_code == 201


class TestRights:
    """Design: a self-registered agent gets the configured defaults, and no more."""

    def test_none_in_production(self, opened: Any, agent: Caller, user: User) -> None:
        key = new_key("ES256")
        sent = {"jwks": keys_of(key), "grant_types": [CIBA, "client_credentials"], "scope": "openid calendar.read"}
        reply = register(sent).json()
        assert reply["scope"] == "openid"
        caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
        assert caller.client_credentials(scope="calendar.read").json()["error"] == "invalid_scope"
        assert caller.ask(user, scope="openid calendar.read").json()["error"] == "unknown_user_id"
        calendar = [{"type": "calendar", "day": "2026-11-24"}]
        refused = caller.ask(user, authorization_details=calendar)
        assert refused.json()["error"] == "invalid_authorization_details"

    def test_the_configured_ones(self, opened: Any, agent: Caller, user: User, stranger: User) -> None:
        opened.REGISTRATION_SCOPES = ["calendar.read", "email"]
        opened.REGISTRATION_OPERATION_TYPES = ["calendar"]
        opened.REGISTRATION_USERS = [user.email.upper()]
        reply = register(with_key(grant_types=[CIBA], scope="accounts.close")).json()
        assert reply["scope"] == "openid email calendar.read"
        assert reply["authorization_details_types"] == ["calendar"]
        linked = AgentLink.objects.filter(agent__client_id=reply["client_id"], is_linked=True)
        assert [link.user for link in linked] == [user]

    def test_an_agent_cannot_give_itself_more(self, opened: Any, agent: Caller) -> None:
        reply = register(with_key(grant_types=["client_credentials"])).json()
        sent = sent_back(
            reply, scope="openid calendar.read", scopes=[1], operation_types=[1], identity_scopes=["email"],
            status="active", user=1, groups=[1], authorization_details_types=["payment"], is_staff=True,
            registration_source="manual", skip_authorization=True, first_used_at="2020-01-01T00:00:00Z",
        )  # fmt: skip
        again = manage("PUT", reply, sent).json()
        assert again["scope"] == "openid"
        made = Agent.objects.get(client_id=reply["client_id"])
        assert made.registration_source == "dcr" and made.user is None and not made.skip_authorization
        assert not made.scopes.exists() and not made.operation_types.exists() and not made.groups.exists()


class TestGeneratedIds:
    @pytest.mark.parametrize("made", ["HTTP0123", "taken"])
    def test_one_that_cannot_be_used_registers_nothing(
        self, opened: Any, monkeypatch: pytest.MonkeyPatch, made: str
    ) -> None:
        """Once in a million times the random value begins like an address."""
        Agent.objects.create(client_id="taken", name="Other")
        monkeypatch.setattr(Agent._meta.get_field("client_id"), "_get_default", lambda: made)
        response = register(body())
        assert response.status_code == 400 and response.json()["error"] == "invalid_client_metadata"
        assert Agent.objects.count() == 1


class TestWhoMayRegister:
    @pytest.mark.parametrize(("mode", "starts"), [("closed", True), ("token", True), ("open", False), ("Open", False)])
    def test_production_does_not_start_open(self, settings: Any, mode: str, starts: bool) -> None:
        settings.TESTING = settings.DEMO = False
        settings.REGISTRATION = mode
        sentence = "REGISTRATION must be closed or token: with open, anybody can register an agent."
        assert (sentence not in problems()) is starts

    def test_nobody_where_it_is_closed(self) -> None:
        assert Client().get("/.well-known/openid-configuration").json().get("registration_endpoint") is None
        response = register(body())
        assert response.status_code == 403 and response.json()["error"] == "access_denied"
        assert not Attempt.objects.exists()

    @pytest.mark.parametrize("given", [None, "x", "A" * 43, "é", " "])
    def test_nobody_without_a_token_where_one_is_needed(self, settings: Any, given: str | None) -> None:
        settings.REGISTRATION = "token"
        response = register(body(), given)
        assert response.status_code == 401 and response.json()["error"] == "invalid_token"
        assert response["WWW-Authenticate"].startswith("Bearer ")
        assert not Agent.objects.exists()

    def token(self, by: User, **fields: Any) -> tuple[InitialAccessToken, str]:
        expires_at = timezone.now() + timedelta(hours=1)
        token = InitialAccessToken(
            **{"label": "For the build farm", "uses_left": 2, "expires_at": expires_at, **fields}
        )
        return token, make_initial_token(token, by, timezone.now())

    def test_a_token_is_for_so_many_agents(self, settings: Any, administrator: User) -> None:
        settings.REGISTRATION = "token"
        token, handle = self.token(administrator)
        answers = [register(body(), handle).status_code for _ in range(3)]
        assert answers == [201, 201, 401]
        assert Registration.objects.filter(initial_access_token=token).count() == 2
        event = json.loads(Event.objects.filter(kind="agent.registered").latest("id").body)
        assert event["facts"]["initial_access_token"] == "For the build farm"
        assert handle not in str(list(Event.objects.values_list("body", flat=True)))
        assert handle.encode() not in bytes(token.token_digest)

    def test_a_refused_body_spends_no_use(self, settings: Any, administrator: User) -> None:
        settings.REGISTRATION = "token"
        token, handle = self.token(administrator)
        assert register(body(redirect_uris=["http://evil.example/"]), handle).status_code == 400
        token.refresh_from_db()
        assert token.uses_left == 2

    def test_an_expired_or_revoked_one_is_for_none(self, opened: Any, administrator: User) -> None:
        """Where registration is open too: a token that is given must be right."""
        _, late = self.token(administrator, expires_at=timezone.now() - timedelta(seconds=1))
        revoked, handle = self.token(administrator)
        assert registration.revoke_initial_token(revoked, administrator, timezone.now())
        assert [register(body(), one).status_code for one in (late, handle)] == [401, 401]

    def test_a_registration_token_is_no_initial_token(self, settings: Any, administrator: User) -> None:
        settings.REGISTRATION = "token"
        _, handle = self.token(administrator)
        reply = register(body(), handle).json()
        assert register(body(), reply["registration_access_token"]).status_code == 401
        assert manage("GET", reply, token=handle).status_code == 401

    def test_an_administrator_makes_one_and_sees_it_once(self, settings: Any, administrator: User) -> None:
        settings.REGISTRATION = "token"
        browser = sign_in(administrator)
        until = timezone.now() + timedelta(days=1)
        form = {
            "label": "Build <b>farm</b>", "uses_left": "1", "expires_at_0": f"{until:%Y-%m-%d}",
            "expires_at_1": f"{until:%H:%M:%S}",
        }  # fmt: skip
        page = browser.post("/admin/clients/initialaccesstoken/add/", form)
        assert "no-store" in page["Cache-Control"]
        text = page.content.decode()
        assert "<b>farm" not in text
        handle = text.rpartition("<dd><code>")[2].partition("<")[0]
        assert register(body(), handle).status_code == 201
        token = InitialAccessToken.objects.get()
        for path in ("", f"{token.pk}/change/"):
            assert handle not in browser.get(f"/admin/clients/initialaccesstoken/{path}").content.decode()
        assert browser.post(f"/admin/clients/initialaccesstoken/{token.pk}/change/", form).status_code == 403
        action = {"action": "revoke", "_selected_action": [token.pk]}
        browser.post("/admin/clients/initialaccesstoken/", action)
        token.refresh_from_db()
        assert token.revoked_at is not None
        kinds = set(Event.objects.values_list("kind", flat=True))
        assert {"initial_access_token.created", "initial_access_token.revoked"} <= kinds


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Of two at the same moment one wins."""

    def test_the_last_use_of_an_initial_access_token(self, settings: Any, administrator: User) -> None:
        settings.REGISTRATION = "token"
        settings.REGISTRATION_LIMIT = 1000
        for _ in range(20):
            token = InitialAccessToken(label="Once", uses_left=1, expires_at=timezone.now() + timedelta(hours=1))
            handle = make_initial_token(token, administrator, timezone.now())
            answers = at_once(
                lambda handle=handle: register(body(), handle), lambda handle=handle: register(body(), handle)
            )
            assert sorted(answer.status_code for answer in answers) == [201, 401]

    def test_two_changes_with_one_token(self, opened: Any) -> None:
        reply = register(body()).json()
        for round_ in range(20):
            first, second = (sent_back(reply, client_name=f"{name} {round_}") for name in ("First", "Second"))
            answers = at_once(
                lambda reply=reply, sent=first: manage("PUT", reply, sent),
                lambda reply=reply, sent=second: manage("PUT", reply, sent),
            )
            won = [answer.json() for answer in answers if answer.status_code == 200]
            assert sorted(answer.status_code for answer in answers) == [200, 401]
            assert Agent.objects.get().name == won[0]["client_name"]
            reply = won[0]

    def test_a_change_and_an_end(self, opened: Any) -> None:
        for _ in range(20):
            reply = register(body(), REMOTE_ADDR="192.0.2.9").json()
            Attempt.objects.all().delete()
            changed, ended = at_once(
                lambda reply=reply: manage("PUT", reply, sent_back(reply)), lambda reply=reply: manage("DELETE", reply)
            )
            # Whoever changed it first has the new token; else it is gone, and a change brings nothing back.
            status = Agent.objects.get(client_id=reply["client_id"]).status
            assert (changed.status_code, ended.status_code, status) in {
                (200, 401, "active"), (401, 204, "unregistered"),
            }  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]", "10.0.0.1"])
def test_keys_at_an_address_inside(opened: Any, signing: None, host: str) -> None:
    """A name may lead inside at any time; so the address is judged at each call (foundation/outbound.py)."""
    key = new_key("ES256")
    reply = register(body(jwks_uri=f"https://{host}/jwks", grant_types=["client_credentials"])).json()
    caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
    assert caller.client_credentials(scope="x").status_code == 401
    assert PublishedKeys.objects.get().problem == "the URL's host is not a public address"


class TestFlooding:
    def test_so_many_per_address(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT = 3
        answers = [register(body(), REMOTE_ADDR="192.0.2.7") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
        assert int(answers[-1]["Retry-After"]) > 0
        assert register(body(), REMOTE_ADDR="192.0.2.8").status_code == 201

    def test_refused_ones_count(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT = 2
        assert [register("[").status_code for _ in range(3)] == [400, 400, 429]

    def test_all_addresses_of_one_ipv6_network_are_one(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT = 2
        hosts = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2:1:2:3:4", "2001:db8:1:3::1"]
        assert [register(body(), REMOTE_ADDR=host).status_code for host in hosts] == [201, 201, 429, 201]

    def test_an_ipv4_address_is_the_same_in_ipv6_clothes(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT = 1
        assert register(body(), REMOTE_ADDR="192.0.2.7").status_code == 201
        assert register(body(), REMOTE_ADDR="::ffff:192.0.2.7").status_code == 429

    def test_so_many_altogether(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT_TOTAL = 3
        answers = [register(body(), REMOTE_ADDR=f"192.0.2.{host}").status_code for host in range(1, 6)]
        assert answers == [201, 201, 201, 429, 429]

    def test_the_limit_ends(self, opened: Any) -> None:
        opened.REGISTRATION_LIMIT = 1
        assert [register(body()).status_code for _ in range(2)] == [201, 429]
        Attempt.objects.update(expires_at=timezone.now())
        assert register(body()).status_code == 201
        attempts.sweep(timezone.now(), 100)
        assert Attempt.objects.count() == 1


class TestExpiry:
    def age(self, reply: dict[str, Any]) -> None:
        Agent.objects.filter(client_id=reply["client_id"]).update(created=timezone.now() - timedelta(hours=25))

    def test_what_nobody_used_is_deleted(self, opened: Any) -> None:
        reply, young = register(body()).json(), register(body()).json()
        self.age(reply)
        assert registration.sweep(timezone.now(), 100) == 1
        assert [agent.client_id for agent in Agent.objects.all()] == [young["client_id"]]
        assert Event.objects.get(kind="agent.expired").client_id == reply["client_id"]
        assert manage("GET", reply).status_code == 401

    def test_what_was_used_stays(self, opened: Any, agent: Caller) -> None:
        opened.REGISTRATION_SCOPES = ["calendar.read"]
        key = new_key("ES256")
        reply = register({"grant_types": ["client_credentials"], "jwks": keys_of(key)}).json()
        caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
        assert caller.client_credentials(scope="calendar.read").status_code == 200
        self.age(reply)
        Agent.objects.filter(pk=agent.agent.pk).update(created=timezone.now() - timedelta(days=400))
        assert registration.sweep(timezone.now(), 100) == 0
        assert caller.client_credentials(scope="calendar.read").status_code == 200
        assert agent.client_credentials(scope="calendar.read").status_code == 200  # an administrator's never expires

    def test_asking_for_tokens_as_a_public_client_is_no_use(self, opened: Any, signing: None) -> None:
        """Else whoever floods us with registrations would keep them by one more request each."""
        reply = register(body()).json()
        post_form(Client(), "/oauth/token", {"grant_type": "refresh_token", "client_id": reply["client_id"]})
        self.age(reply)
        assert registration.sweep(timezone.now(), 100) == 1


class TestManaging:
    def test_reading_changes_nothing(self, opened: Any) -> None:
        reply = register(body()).json()
        assert manage("GET", reply).json() == reply
        assert manage("GET", reply).json() == reply

    def test_a_change_is_the_whole_registration_anew(self, opened: Any) -> None:
        reply = register(body(client_uri="https://client.example.com/", contacts=["a@example.com"])).json()
        sent = sent_back(reply, client_name="Renamed", redirect_uris=[f"{REDIRECT}/2"])
        del sent["client_uri"]
        again = manage("PUT", reply, sent)
        assert again.status_code == 200
        assert again.json()["client_name"] == "Renamed"
        assert "client_uri" not in again.json()
        event = json.loads(Event.objects.get(kind="agent.changed").body)
        assert event["facts"]["changed"] == ["client_name", "client_uri", "redirect_uris"]

    def test_the_token_is_replaced_by_a_change(self, opened: Any) -> None:
        reply = register(body()).json()
        again = manage("PUT", reply, sent_back(reply)).json()
        assert again["registration_access_token"] != reply["registration_access_token"]
        assert manage("GET", reply).status_code == 401
        assert manage("PUT", reply, sent_back(reply)).status_code == 401
        assert manage("GET", again).status_code == 200

    def test_keys_are_changed_with_the_token(self, opened: Any, agent: Caller) -> None:
        opened.REGISTRATION_SCOPES = ["calendar.read"]
        reply = register(with_key(grant_types=["client_credentials"])).json()
        key = new_key("ES256")
        manage("PUT", reply, sent_back(reply, jwks=keys_of(key)))
        caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
        assert caller.client_credentials(scope="calendar.read").status_code == 200

    def test_unregistering_is_for_good(self, opened: Any, agent: Caller, administrator: User) -> None:
        opened.REGISTRATION_SCOPES = ["calendar.read"]
        key = new_key("ES256")
        reply = register({"grant_types": ["client_credentials"], "jwks": keys_of(key)}).json()
        caller = Caller(Agent.objects.get(client_id=reply["client_id"]), key)
        assert caller.client_credentials(scope="calendar.read").status_code == 200
        gone = manage("DELETE", reply)
        assert gone.status_code == 204 and gone.content == b"" and not gone.has_header("Content-Type")
        assert [manage(method, reply, sent_back(reply)).status_code for method in ("GET", "PUT", "DELETE")] == [401] * 3
        assert caller.client_credentials(scope="calendar.read").json()["error"] == "invalid_client"
        action = {"action": "resume", "_selected_action": [caller.agent.pk]}
        sign_in(administrator).post("/admin/clients/agent/", action)
        assert caller.client_credentials(scope="calendar.read").json()["error"] == "invalid_client"
        assert Event.objects.get(kind="agent.unregistered").actor == f"agent:{reply['client_id']}"

    def test_a_suspended_agent_does_not_change_itself(self, opened: Any) -> None:
        reply = register(body()).json()
        Agent.objects.update(status="suspended")
        for method in ("GET", "PUT", "DELETE"):
            answer = manage(method, reply, sent_back(reply))
            assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        assert Agent.objects.get().status == "suspended"

    def test_managing_goes_on_where_registering_is_closed(self, opened: Any) -> None:
        reply = register(body()).json()
        opened.REGISTRATION = "closed"
        assert manage("PUT", reply, sent_back(reply)).status_code == 200


class TestAttacks:
    def test_another_agents_registration(self, opened: Any) -> None:
        mine, theirs = register(body()).json(), register(body(client_name="Theirs")).json()
        for method in ("GET", "PUT", "DELETE"):
            stolen = manage(
                method, theirs, sent_back(theirs, client_name="Mine"), token=mine["registration_access_token"]
            )
            unknown = manage(method, theirs | {"client_id": "nobody"}, sent_back(theirs, client_id="nobody"))
            assert stolen.status_code == unknown.status_code == 401
            assert stolen.content == unknown.content
        swapped = manage("PUT", mine, sent_back(theirs, client_name="Mine"))
        assert swapped.json()["error"] == "invalid_client_metadata"
        assert Agent.objects.get(client_id=theirs["client_id"]).name == "Theirs"

    def test_an_administrators_agent_has_no_registration(self, opened: Any, agent: Caller) -> None:
        reply = register(body()).json()
        other = reply | {"client_id": agent.agent.client_id}
        assert manage("GET", other).status_code == 401
        assert manage("DELETE", other, token="None").status_code == 401
        assert manage("DELETE", other, token="").status_code == 401

    @pytest.mark.parametrize("method", ["none", "client_secret_basic"])
    def test_downgrading_the_authentication(self, opened: Any, method: str) -> None:
        """Whoever stole a registration access token has not got the key."""
        opened.REGISTRATION_SECRETS = True
        reply = register(with_key()).json()
        sent = sent_back(reply, token_endpoint_auth_method=method)
        assert manage("PUT", reply, sent).json()["error"] == "invalid_client_metadata"
        del sent["token_endpoint_auth_method"], sent["jwks"]
        assert manage("PUT", reply, sent).json()["error"] == "invalid_client_metadata"
        assert Agent.objects.get().token_endpoint_auth_method == "private_key_jwt"
        assert Event.objects.filter(kind="agent.change_refused").count() == 1
        assert manage("GET", reply).status_code == 200  # a refused change replaces no token

    def test_adding_what_an_administrator_took_away(self, opened: Any) -> None:
        reply = register(with_key(grant_types=["client_credentials", CIBA])).json()
        Agent.objects.update(grant_types=[CIBA])
        refused = manage("PUT", reply, sent_back(reply))
        assert refused.json()["error"] == "invalid_client_metadata"
        assert manage("PUT", reply, sent_back(reply, grant_types=[CIBA])).status_code == 200

    def test_a_wrong_secret_in_a_change(self, opened: Any) -> None:
        opened.REGISTRATION_SECRETS = True
        reply = register(body(token_endpoint_auth_method="client_secret_post")).json()
        assert manage("PUT", reply, sent_back(reply, client_secret="x" * 43)).status_code == 400
        assert manage("PUT", reply, sent_back(reply, client_secret=7)).status_code == 400
        assert manage("PUT", reply, sent_back(reply)).status_code == 200

    @pytest.mark.parametrize(
        "name",
        ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"],
    )
    def test_what_only_the_server_says(self, opened: Any, name: str) -> None:
        reply = register(body()).json()
        assert manage("PUT", reply, sent_back(reply) | {name: "x"}).status_code == 400

    @pytest.mark.parametrize(
        "uri",
        [
            "javascript:alert(1)", "data:text/html,<script>", "http://client.example.com/cb", "https://a@client.example.com/",
            "https://client.example.com/#x", "https://client.example.com/%2e%2e/x", "https://*.example.com/", "x", "",
            "https://client.example.com/a b", "https://client.example.com/\nhttps://evil.example/", "app:/cb", "é",
        ],
    )  # fmt: skip
    def test_redirect_uris(self, opened: Any, uri: str) -> None:
        sent = body(redirect_uris=[uri], application_type="native")
        assert register(sent).json()["error"] == "invalid_redirect_uri"
        reply = register(body()).json()
        assert manage("PUT", reply, sent_back(reply, redirect_uris=[uri])).json()["error"] == "invalid_redirect_uri"

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param({"redirect_uris": None}, id="code without a redirect"),
            pytest.param({"redirect_uris": REDIRECT}, id="a text for a list"),
            pytest.param({"redirect_uris": [7]}, id="a list of numbers"),
            pytest.param({"redirect_uris": {"0": REDIRECT}}, id="an object for a list"),
            pytest.param({"redirect_uris": [f"{REDIRECT}/{n}" for n in range(11)]}, id="too many"),
            pytest.param(
                {"redirect_uris": ["com.example.app:/cb"], "application_type": "web"}, id="an app's, for a site"
            ),
        ],
    )
    def test_redirect_uris_that_are_none(self, opened: Any, sent: dict[str, Any]) -> None:
        assert register(body() | sent).json()["error"] == "invalid_redirect_uri"

    @pytest.mark.parametrize(
        "sent",
        [
            {"token_endpoint_auth_method": "client_secret_jwt"}, {"token_endpoint_auth_method": "tls_client_auth"},
            {"token_endpoint_auth_method": "self_signed_tls_client_auth"},
            {"token_endpoint_auth_method": ["none"]}, {"token_endpoint_auth_method": "private_key_jwt"},
            {"grant_types": ["implicit"]}, {"grant_types": ["password"]}, {"grant_types": "authorization_code"},
            {"grant_types": [CIBA]}, {"grant_types": ["client_credentials"]},
            {"grant_types": [["authorization_code"]]}, {"response_types": ["token"]},
            {"subject_type": "pairwise"}, {"jwks": []},
            {"jwks": {"keys": []}},
            {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, {"jwks_uri": "http://client.example.com/jwks"},
            {"jwks_uri": "https://client.example.com/#x"}, {"jwks_uri": "file:///etc/passwd"},
            {"id_token_encrypted_response_alg": "RSA-OAEP"}, {"default_max_age": 60},
            {"dpop_bound_access_tokens": 1},
            {"sector_identifier_uri": "https://client.example.com/s"},
        ],
    )  # fmt: skip
    def test_metadata_that_is_refused(self, opened: Any, sent: dict[str, Any]) -> None:
        response = register(body() | sent)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata"), response.content
        assert not Agent.objects.exists()

    def test_jwks_and_jwks_uri_exclude_each_other(self, opened: Any) -> None:
        assert register(with_key(jwks_uri="https://client.example.com/jwks")).status_code == 400

    @pytest.mark.parametrize(
        "sent",
        [
            b"{", b"[]", b"7", b"null", b'"x"', b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\\u0000"}',
            b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":' * 40 + b"1" + b"}" * 40,
            b'{"client_name":"\\ud800"}',
            b'{"x":"' + b"a" * 40_000 + b'"}',
        ],
    )  # fmt: skip
    def test_bodies_that_are_none(self, opened: Any, sent: bytes) -> None:
        response = register(sent)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")

    def test_a_body_beyond_all_limits(self, opened: Any) -> None:
        assert register(b'{"x":"' + b"a" * 2_000_000 + b'"}').status_code == 413

    def test_another_content_type(self, opened: Any) -> None:
        """A page of another site cannot have a browser send this one without asking us first."""
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            response = Client().generic("POST", "/oidc/register", json.dumps(body()), content_type=content_type)
            assert response.status_code == 400

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "Bearer é", "x", "DPoP abc"])
    def test_authorization_headers(self, opened: Any, header: str) -> None:
        reply = register(body()).json()
        for method, path in (("POST", "/oidc/register"), ("GET", f"/oidc/register/{reply['client_id']}")):
            response = Client().generic(
                method, path, json.dumps(body()), content_type="application/json", headers={"Authorization": header}
            )
            assert response.status_code == 401

    @pytest.mark.parametrize(
        "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7919*6577}}", "%n%s"]
    )
    def test_a_name_is_text_wherever_it_is_shown(self, opened: Any, administrator: User, user: User, name: str) -> None:
        opened.REGISTRATION_USERS = [user.email]
        said = {"client_uri": "https://client.example.com/?<x>"}
        assert "client_uri" not in register(body(**said)).json()
        query = "https://client.example.com/?'onmouseover='alert(1)"
        reply = register(with_key(client_name=name, client_uri=query, contacts=[name], software_id=name)).json()
        pk = Agent.objects.get(client_id=reply["client_id"]).pk
        admin, browser = sign_in(administrator), sign_in(user)
        pages = [browser.get("/agents"), browser.get("/activity"), admin.get("/admin/clients/agent/")]
        pages += [admin.get(f"/admin/clients/agent/{pk}/change/"), admin.get("/admin/audit/event/")]
        for page in pages:
            assert page.status_code == 200
            text = page.content.decode()
            assert "<script>alert" not in text and "<img src=x" not in text and "'onmouseover='" not in text
            assert 'href="https://client.example.com' not in text and 'src="https://client' not in text
            assert str(7919 * 6577) not in text  # large: a time or a CSRF token may hold any small number

    def test_nobody_registers_an_address_as_client_id(self, opened: Any) -> None:
        reply = register(body(client_id="https://client.example.com/c")).json()
        assert not reply["client_id"].startswith("http")
        again = manage("PUT", reply, sent_back(reply, client_id="https://client.example.com/c"))
        assert again.status_code == 400
