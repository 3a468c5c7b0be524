# ruff: noqa: F811 - fixtures of other files
"""A registration access token manages a registration; it does not make its holder the agent.

What decides who is the agent, or where its codes and tokens go, changes with a proof of the key that is registered, or
it ends everything that the agent was trusted with before.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest
from clients import lifecycle, registration
from clients.client_metadata import parse_metadata
from clients.control import Control, added
from clients.models import AUTHORIZATION_CODE, CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN, Agent, AgentLink
from foundation import outbox
from foundation.models import Work
from oauth.models import Grant
from tests.ciba.conftest import TOKEN, endpoint  # noqa: F401 - a fixture
from tests.clients.test_metadata_documents import Host, host  # noqa: F401 - a fixture
from tests.clients.test_registration import REDIRECT, body, keys_of, manage, register, sent_back
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.certificates import dns, make_certificate
from tests.support.consent import WebAgent, answer, go_to
from tests.support.duel import Duel
from tests.support.keys import new_key
from tests.support.world import CALENDAR, JWT_BEARER, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db
THIEF = "https://thief.example/"
EVERY_GRANT_TYPE = [CIBA, CLIENT_CREDENTIALS, AUTHORIZATION_CODE, REFRESH_TOKEN]

REGISTERED = Control(
    token_endpoint_auth_method="private_key_jwt",
    keys=frozenset({"a", "b"}),
    jwks_uri="",
    certificate=frozenset(),
    redirect_uris=frozenset({"https://a.example/cb", "https://a.example/other"}),
    notification_endpoint="https://a.example/ciba",
    delivery_mode="push",
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"keys": frozenset({"a"})}, [], id="one key fewer"),
        pytest.param({"redirect_uris": frozenset({"https://a.example/cb"})}, [], id="one redirect URI fewer"),
        pytest.param({"keys": frozenset({"a", "b", "c"})}, ["keys"], id="one more key beside the old ones"),
        pytest.param({"keys": frozenset({"c"})}, ["keys"], id="another key"),
        pytest.param({"keys": frozenset(), "jwks_uri": THIEF}, ["jwks_uri"], id="keys at an address instead"),
        pytest.param({"redirect_uris": REGISTERED.redirect_uris | {THIEF}}, ["redirect_uris"], id="one more redirect"),
        pytest.param({"notification_endpoint": THIEF}, ["notification_endpoint"], id="another notification endpoint"),
        pytest.param({"delivery_mode": "ping"}, ["delivery_mode"], id="ping in place of push"),
        pytest.param({"delivery_mode": "poll"}, ["delivery_mode"], id="poll in place of push"),
        pytest.param({"certificate": frozenset({("san_dns", "x")})}, ["certificate"], id="a certificate's name"),
        pytest.param(
            {"token_endpoint_auth_method": "none", "keys": frozenset()}, ["token_endpoint_auth_method"],
            id="no authentication any more",
        ),
    ],
)  # fmt: skip
def test_what_adds_somebody_who_could_be_the_agent(changed: dict[str, Any], expected: list[str]) -> None:
    assert added(REGISTERED, replace(REGISTERED, **changed)) == expected


class Trusted:
    """An agent that registered itself, and everything that a user and an administrator trusted it with."""

    def __init__(self, reply: dict[str, Any], key: Any, user: User, browser: Client) -> None:
        self.reply, self.key, self.user, self.browser = reply, key, user, browser
        self.agent = Agent.objects.get(client_id=reply["client_id"])
        self.caller = Caller(self.agent, key)
        self.web = WebAgent(self.agent, self.caller, redirect_uri=REDIRECT)
        self.tokens = self.web.tokens(browser, scope="openid calendar.read offline_access")
        AgentLink.objects.update_or_create(agent=self.agent, user=user, defaults={"is_linked": True})
        more = {"client_notification_token": TOKEN} if "backchannel_client_notification_endpoint" in reply else {}
        requested = self.caller.ask(user, authorization_details=[CALENDAR], **more)
        assert requested.status_code == 200, requested.content
        self.request = BackchannelRequest.objects.get(agent=self.agent)

    def put(self, *, proof: dict[str, Any] | None = None, **changed: Any) -> Any:
        response = manage("PUT", self.reply, sent_back(self.reply, **changed) | (proof or {}))
        if response.status_code == 200:
            self.reply = response.json()
        return response

    def proof(self, key: Any = None, **claims: Any) -> dict[str, str]:
        signer = Caller(self.agent, key or self.key)
        return {"client_assertion_type": JWT_BEARER, "client_assertion": signer.assertion(**claims)}

    def held(self) -> dict[str, bool]:
        """What of it still counts, as the server itself answers."""
        now = timezone.now()
        silent = self.browser.get(self.web.url(prompt="none"))
        return {
            "request": BackchannelRequest.objects.alive().filter(pk=self.request.pk, state="pending").exists(),
            "grants": Grant.objects.alive(now).filter(agent=self.agent).exists(),
            "link": AgentLink.objects.filter(agent=self.agent, user=self.user, is_linked=True).exists(),
            "consent": "code=" in (silent.get("Location") or ""),
        }


ALL = {"request": True, "grants": True, "link": True, "consent": True}
NONE = dict.fromkeys(ALL, False)


@pytest.fixture
def trusted(agent: Caller, user: User, browser_of_user: Client, settings: Any) -> Callable[..., Trusted]:
    settings.REGISTRATION = "open"
    settings.REGISTRATION_SCOPES = ["calendar.read"]
    settings.REGISTRATION_OPERATION_TYPES = ["calendar"]
    settings.REGISTRATION_USERS = [user.email]

    def make(**more: Any) -> Trusted:
        key = new_key("ES256")
        reply = register(body(jwks=keys_of(key), grant_types=EVERY_GRANT_TYPE, **more))
        assert reply.status_code == 201, reply.content
        made = Trusted(reply.json(), key, user, browser_of_user)
        assert made.held() == ALL
        return made

    return make


def one_more_key(trusted: Trusted) -> dict[str, Any]:
    return {"jwks": {"keys": [*trusted.reply["jwks"]["keys"], *keys_of(new_key("ES256"))["keys"]]}}


CHANGES: dict[str, Callable[[Trusted], dict[str, Any]]] = {
    "another key": lambda _: {"jwks": keys_of(new_key("ES256"))},
    "one more key": one_more_key,
    "one more redirect URI": lambda _: {"redirect_uris": [REDIRECT, f"{THIEF}cb"]},
    "another redirect URI": lambda _: {"redirect_uris": [f"{THIEF}cb"]},
    "another notification endpoint": lambda _: {"backchannel_client_notification_endpoint": f"{THIEF}ciba"},
    "push in place of poll": lambda _: {
        "backchannel_client_notification_endpoint": f"{THIEF}ciba", "backchannel_token_delivery_mode": "push"
    },
}  # fmt: skip


class TestWithoutProof:
    @pytest.mark.parametrize("name", CHANGES)
    def test_it_ends_everything_that_the_agent_was_trusted_with(
        self, trusted: Callable[..., Trusted], name: str, bank: ResourceServer
    ) -> None:
        mine = trusted()
        assert mine.put(**CHANGES[name](mine)).status_code == 200
        assert mine.held() == NONE
        assert bank.introspect(mine.tokens["access_token"]).json() == {"active": False}
        mine.request.refresh_from_db()
        assert mine.request.state == "cancelled"
        assert not Grant.objects.filter(agent=mine.agent, revoked_at=None).exists()
        assert Event.objects.get(kind="agent.reset").actor == f"agent:{mine.agent.client_id}"
        ended = Event.objects.filter(kind__in=["grant.revoked", "agent.unlinked"], user_id=mine.user.id)
        assert {event.kind for event in ended} == {"grant.revoked", "agent.unlinked"}
        assert all("without proof" in json.loads(event.body)["facts"]["reason"] for event in ended)

    def test_keys_at_an_address_instead(self, trusted: Callable[..., Trusted]) -> None:
        mine = trusted()
        without = {name: value for name, value in sent_back(mine.reply).items() if name != "jwks"}
        assert manage("PUT", mine.reply, without | {"jwks_uri": f"{THIEF}jwks"}).status_code == 200
        assert mine.held() == NONE

    def test_the_thief_gets_neither_tokens_nor_users(self, trusted: Callable[..., Trusted], user: User) -> None:
        mine, stolen = trusted(), new_key("ES256")
        mine.put(jwks=keys_of(stolen))
        thief = Caller(mine.agent, stolen)
        web = WebAgent(mine.agent, thief, redirect_uri=REDIRECT)
        assert web.refresh(mine.tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert thief.ask(user).json()["error"] == "unknown_user_id"

    def test_nor_what_an_administrator_gave(self, trusted: Callable[..., Trusted], user: User, settings: Any) -> None:
        mine, stolen = trusted(), new_key("ES256")
        settings.REGISTRATION_SCOPES = settings.REGISTRATION_OPERATION_TYPES = []
        group = Group.objects.create(name="Everybody")
        user.groups.add(group)
        mine.agent.groups.add(group)
        Agent.objects.filter(pk=mine.agent.pk).update(user=user)
        mine.put(jwks=keys_of(stolen))
        thief = Caller(mine.agent, stolen)
        assert thief.client_credentials(scope="calendar.read").json()["error"] == "invalid_scope"
        assert thief.ask(user).json()["error"] == "unknown_user_id"
        mine.agent.refresh_from_db()
        assert mine.agent.user is None and not mine.agent.operation_types.exists()

    def test_the_user_may_trust_it_again(self, trusted: Callable[..., Trusted]) -> None:
        mine, key = trusted(), new_key("ES256")
        mine.put(jwks=keys_of(key))
        web = WebAgent(Agent.objects.get(pk=mine.agent.pk), Caller(mine.agent, key), redirect_uri=REDIRECT)
        assert web.refresh(web.tokens(mine.browser, scope="openid offline_access")["refresh_token"]).status_code == 200
        assert Caller(mine.agent, key).ask(mine.user).status_code == 200

    @pytest.mark.parametrize("method", ["a redirect URI more", "another redirect URI"])
    def test_a_public_agent_has_nothing_to_prove_with(
        self, agent: Caller, browser_of_user: Client, settings: Any, method: str
    ) -> None:
        settings.REGISTRATION, settings.REGISTRATION_SCOPES = "open", ["calendar.read"]
        reply = register(body(grant_types=[AUTHORIZATION_CODE, REFRESH_TOKEN])).json()
        web = WebAgent(Agent.objects.get(client_id=reply["client_id"]), redirect_uri=REDIRECT)
        tokens = web.tokens(browser_of_user, scope="openid calendar.read offline_access")
        uris = [f"{THIEF}cb"] + ([REDIRECT] if "more" in method else [])
        assert manage("PUT", reply, sent_back(reply, redirect_uris=uris)).status_code == 200
        assert web.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({"contacts": ["ops@example.com"]}, id="contacts"),
            pytest.param({"post_logout_redirect_uris": [f"{REDIRECT}/out"]}, id="where a logout leads"),
            pytest.param({}, id="nothing"),
        ],
    )
    def test_other_changes_end_nothing(self, trusted: Callable[..., Trusted], changed: dict[str, Any]) -> None:
        mine = trusted()
        assert mine.put(**changed).status_code == 200
        assert mine.held() == ALL
        assert not Event.objects.filter(kind="agent.reset").exists()

    def test_another_kid_makes_no_other_key(self, trusted: Callable[..., Trusted]) -> None:
        mine = trusted()
        mine.put(jwks={"keys": [{**mine.reply["jwks"]["keys"][0], "kid": "renamed"}]})
        assert mine.held() == ALL


class TestWithProof:
    @pytest.mark.parametrize("name", CHANGES)
    def test_it_ends_nothing(self, trusted: Callable[..., Trusted], name: str) -> None:
        mine = trusted()
        changed = CHANGES[name](mine)
        assert mine.put(proof=mine.proof(), **changed).status_code == 200
        held = mine.held()
        assert held == ALL | ({"consent": False} if name == "another redirect URI" else {})  # it asked for the old one
        assert json.loads(Event.objects.get(kind="agent.changed").body)["facts"]["proved"] is True

    def test_its_audience_may_be_the_registration(self, trusted: Callable[..., Trusted]) -> None:
        mine = trusted()
        proof = mine.proof(aud=mine.reply["registration_client_uri"])
        assert mine.put(proof=proof, jwks=keys_of(new_key("ES256"))).status_code == 200
        assert mine.held() == ALL

    def test_one_that_does_not_hold_changes_nothing(self, trusted: Callable[..., Trusted], other_agent: Caller) -> None:
        mine, stolen = trusted(), new_key("ES256")
        spent = mine.proof()
        assert mine.put(proof=spent).status_code == 200
        anothers = {"client_assertion_type": JWT_BEARER, "client_assertion": other_agent.assertion()}
        wrong = {
            "the new key": mine.proof(stolen),
            "spent": spent,
            "another server's": mine.proof(aud="https://as.example.com"),
            "expired": mine.proof(exp=1),
            "another agent's": anothers,
            "no assertion": mine.proof() | {"client_assertion": "x"},
            "no type": {"client_assertion": mine.proof()["client_assertion"]},
            "a type alone": {"client_assertion_type": JWT_BEARER},
            "no text": mine.proof() | {"client_assertion": 1},
            "another type": mine.proof() | {"client_assertion_type": "saml"},
        }
        for name, proof in wrong.items():
            refused = mine.put(proof=proof, jwks=keys_of(stolen))
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata"), name
        assert mine.held() == ALL
        assert Event.objects.filter(kind="agent.change_refused").exists()
        assert mine.put(proof=mine.proof(), jwks=keys_of(stolen)).status_code == 200

    def test_a_secret_proves_the_agent_that_has_one(
        self, agent: Caller, user: User, browser_of_user: Client, settings: Any
    ) -> None:
        settings.REGISTRATION, settings.REGISTRATION_SECRETS = "open", True
        settings.REGISTRATION_SCOPES = ["calendar.read"]
        requested = body(
            token_endpoint_auth_method="client_secret_basic", grant_types=[AUTHORIZATION_CODE, REFRESH_TOKEN]
        )
        for proved in (True, False):
            reply = register(requested).json()
            web = WebAgent(
                Agent.objects.get(client_id=reply["client_id"]), secret=reply["client_secret"], redirect_uri=REDIRECT
            )
            tokens = web.tokens(browser_of_user, scope="openid calendar.read offline_access")
            sent = sent_back(reply, redirect_uris=[REDIRECT, f"{THIEF}cb"])
            if not proved:
                del sent["client_secret"]
            assert manage("PUT", reply, sent).status_code == 200
            assert web.refresh(tokens["refresh_token"]).status_code == (200 if proved else 400)

    @pytest.mark.parametrize(
        ("name", "status", "ends"), [("agent.example.com", 200, False), ("thief.example", 400, False), ("", 200, True)]
    )
    def test_a_certificate_proves_the_agent_that_has_one(
        self, settings: Any, agent: Caller, name: str, status: int, ends: bool
    ) -> None:
        settings.REGISTRATION, settings.MTLS_URL = "open", "https://mtls.example.com"
        settings.TRUSTED_PROXIES = ["127.0.0.1"]
        reply = register(
            body(
                grant_types=[AUTHORIZATION_CODE, CLIENT_CREDENTIALS],
                token_endpoint_auth_method="tls_client_auth",
                tls_client_auth_san_dns="agent.example.com",
            )
        ).json()
        headers = {"Authorization": f"Bearer {reply['registration_access_token']}"}
        if name:
            holder = make_certificate("CN=Agent", dns(name))
            headers |= {"Client-Cert": holder.header, "Client-Cert-Verify": "SUCCESS"}
        changed = json.dumps(sent_back(reply, redirect_uris=[f"{THIEF}cb"]))
        path = f"/oidc/register/{reply['client_id']}"
        response = Client().put(path, changed, content_type="application/json", headers=headers)
        assert response.status_code == status, response.content
        assert Event.objects.filter(kind="agent.reset").exists() is ends

    def test_a_proof_of_a_key_that_an_administrator_has_replaced_meanwhile(
        self, trusted: Callable[..., Trusted]
    ) -> None:
        mine = trusted()
        proved = mine.agent.control
        Agent.objects.filter(pk=mine.agent.pk).update(client_jwks=keys_of(new_key("ES256")))
        sent = sent_back(mine.reply, jwks=keys_of(new_key("ES256")))
        metadata = parse_metadata(sent, registration.current_offer())
        token = mine.reply["registration_access_token"]
        registration.change(mine.agent.client_id, token, metadata, None, timezone.now(), proved=proved)
        assert mine.held() == NONE


@pytest.mark.django_db(transaction=True)
class TestCallbacks:
    """They go to where the agent had them when it asked."""

    @pytest.mark.parametrize("mode", ["ping", "push"])
    @pytest.mark.parametrize("proved", [True, False], ids=["with proof", "without"])
    def test_a_change_while_the_user_is_asked(
        self, trusted: Callable[..., Trusted], endpoint: AgentEndpoint, mode: str, proved: bool
    ) -> None:
        fields = {
            "backchannel_token_delivery_mode": mode,
            "backchannel_client_notification_endpoint": endpoint.url,
        }  # fmt: skip
        mine = trusted(**fields)
        proof = mine.proof() if proved else None
        moved = mine.put(proof=proof, backchannel_client_notification_endpoint=f"{THIEF}ciba")
        assert moved.status_code == 200, moved.content
        if proved:
            prompt = mine.request.prompts.get()
            answered = mine.browser.post(f"/v1/prompts/{prompt.id}/approve")
            assert answered.status_code in (200, 302), answered.content
        for work_id in Work.objects.filter(kind="callback", state="pending").values_list("id", flat=True):
            assert outbox.do(work_id)
        (called,) = endpoint.received
        assert ("access_token" in called.json()) is (proved and mode == "push")

    def test_a_change_while_the_tokens_are_on_their_way(
        self, trusted: Callable[..., Trusted], endpoint: AgentEndpoint, bank: ResourceServer
    ) -> None:
        fields = {
            "backchannel_token_delivery_mode": "push",
            "backchannel_client_notification_endpoint": endpoint.url,
        }  # fmt: skip
        mine = trusted(**fields)
        mine.browser.post(f"/v1/prompts/{mine.request.prompts.get().id}/approve")
        endpoint.answers = [(503, {}, b"")]
        (work_id,) = Work.objects.filter(kind="callback", state="pending").values_list("id", flat=True)
        outbox.do(work_id)
        mine.request.refresh_from_db()
        assert mine.request.state == "delivering"
        mine.put(backchannel_client_notification_endpoint=f"{THIEF}ciba")
        mine.request.refresh_from_db()
        assert mine.request.state == "failed"
        endpoint.answers = []
        for work in Work.objects.filter(kind="callback", state="pending"):
            Work.objects.filter(pk=work.pk).update(due_at="2020-01-01T00:00:00Z")
            outbox.do(work.id)
        assert endpoint.received[-1].json()["error"] == "transaction_failed"
        sent = endpoint.received[0].json()["access_token"]
        assert bank.introspect(sent).json() == {"active": False}


@pytest.mark.django_db(transaction=True)
class TestDocuments:
    """The owner of a document's host is the agent's owner, and can prove no earlier key."""

    CHANGES = {
        "another redirect URI": {"redirect_uris": ["https://thief.example/cb"]},
        "one more redirect URI": {"redirect_uris": ["https://tool.example.com/cb", "https://thief.example/cb"]},
        "keys for a client without": {
            "token_endpoint_auth_method": "private_key_jwt", "jwks": keys_of(new_key("ES256"))
        },
    }  # fmt: skip

    @pytest.mark.parametrize("name", CHANGES)
    def test_other_keys_or_addresses_end_what_users_granted(
        self, host: Host, agent: Caller, browser_of_user: Client, settings: Any, name: str, administrator: User
    ) -> None:
        settings.REGISTRATION_SCOPES = ["calendar.read"]
        settings.METADATA_DOCUMENT_HOSTS = ["*"]
        found = host.find()
        assert found is not None
        web = WebAgent(found, redirect_uri="https://tool.example.com/cb")
        tokens = web.tokens(browser_of_user, scope="openid calendar.read offline_access")
        host.serve(contacts=["ops@tool.example.com"])
        assert host.find(timedelta(hours=2))
        tokens = web.refresh(tokens["refresh_token"]).json()
        assert "refresh_token" in tokens
        host.serve(**self.CHANGES[name])
        assert host.find(timedelta(hours=4))
        assert not Grant.objects.alive(timezone.now()).filter(agent=found).exists()
        assert not AgentLink.objects.filter(agent=found, is_linked=True).exists()
        assert Event.objects.get(kind="agent.reset").client_id == host.url
        assert found.scopes.exists(), "an administrator gives rights to the address"


@pytest.mark.django_db(transaction=True)
class TestRaces:
    """What is written while the control changes counts no more than what was there before."""

    def test_a_consent_and_a_change(self, trusted: Callable[..., Trusted]) -> None:
        mine, duel = trusted(), Duel()
        for _ in range(20):
            AgentLink.objects.filter(agent=mine.agent).update(is_linked=False)
            mine.agent.refresh_from_db()
            page = go_to(mine.browser, mine.web.url(prompt="consent"))
            epoch = mine.agent.control_epoch
            changed = {"backchannel_client_notification_endpoint": f"{THIEF}{epoch}"}
            consented, put = duel.fight(
                lambda page=page: answer(mine.browser, page, "allow"), lambda changed=changed: mine.put(**changed)
            )
            assert put.status_code == 200
            assert mine.held() == NONE
            duel.note(first_won=consented.status_code == 303)
        duel.assert_both_won()

    def test_a_request_and_a_change(self, trusted: Callable[..., Trusted]) -> None:
        """Whoever authenticated a moment before the change is not who controls the agent after it."""
        mine = trusted()
        stale = Agent.objects.get(pk=mine.agent.pk)
        mine.put(backchannel_client_notification_endpoint=f"{THIEF}x")
        AgentLink.objects.filter(agent=stale).update(is_linked=True)
        from ciba import lifecycle as ciba
        from ciba.attempt import BackchannelAttempt
        from oauth.requests.requested_access import find_requested_access

        requested = find_requested_access(stale, {"scope": "openid"})
        opened = ciba.open(BackchannelAttempt(stale, timezone.now(), {}, requested=requested, user=mine.user))
        assert isinstance(opened, ciba.OpenedRequest)
        assert not BackchannelRequest.objects.alive().filter(pk=opened.request.pk).exists()
        page = mine.browser.get(f"/prompts/{opened.request.prompts.get().id}")
        assert page.status_code in (404, 410, 200)
        mine.browser.post(f"/v1/prompts/{opened.request.prompts.get().id}/approve")
        assert not Grant.objects.filter(request_id=opened.request.pk).exists()

    def test_a_user_stops_the_agent_at_the_same_moment(self, trusted: Callable[..., Trusted]) -> None:
        """Both end the same things: neither waits for the other for ever."""
        from ciba import lifecycle as ciba
        from tests.support.duel import at_once

        mine = trusted()
        for number in range(20):
            AgentLink.objects.filter(agent=mine.agent).update(is_linked=True, stopped_at=None)
            mine.agent.refresh_from_db()
            assert mine.caller.ask(mine.user, client_notification_token=TOKEN).status_code == 200
            changed = {"backchannel_client_notification_endpoint": f"{THIEF}{number}"}
            now = timezone.now()
            _, put = at_once(
                lambda now=now: ciba.stop_agent(mine.agent, mine.user, now),
                lambda changed=changed: mine.put(**changed),
            )
            assert put.status_code == 200, put.content


def test_an_administrator_is_trusted_with_keys_and_addresses(
    trusted: Callable[..., Trusted], administrator: User
) -> None:
    """Nothing ends: whoever must cut off a thief stops the agent."""
    mine = trusted()
    browser = sign_in(administrator)
    page = browser.get(f"/admin/clients/agent/{mine.agent.pk}/change/")
    form = {
        name: value if value is not None else ""
        for name, value in page.context["adminform"].form.initial.items()
        if not isinstance(value, bool) or value
    }
    form |= {name: [one.pk for one in form[name]] for name in ("scopes", "operation_types", "groups", "linked_users")}
    form["client_jwks"] = json.dumps(keys_of(new_key("ES256")))
    saved = browser.post(f"/admin/clients/agent/{mine.agent.pk}/change/", form, follow=True)
    text = saved.content.decode()
    assert "Existing grants continue" in text, saved.context and saved.context["adminform"].form.errors
    assert mine.held() == ALL


def test_a_reset_ends_very_many(agent: Caller, user: User) -> None:
    """In few statements: a known client has a grant of each of its users."""
    from django.db import connection, transaction
    from django.test.utils import CaptureQueriesContext

    now = timezone.now()
    Grant.objects.bulk_create(
        Grant(agent=agent.agent, user=user, operation_digest="x", created_at=now, expires_at=now + timedelta(days=1))
        for _ in range(1200)
    )
    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        transaction.atomic(),
    ):
        lifecycle.reset(agent.agent, "system", ["keys"], now)
    assert not Grant.objects.filter(revoked_at=None).exists()
    assert len(queries) < 25
    assert Event.objects.filter(kind="grant.revoked").count() == 1200
