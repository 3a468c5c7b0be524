# ruff: noqa: RUF001 - letters that look alike are what this is about
"""What an agent that registered itself may call itself, and what every page says beside its name."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from clients.client_metadata import ClientMetadata
from clients.models import CIBA, Agent, AgentLink
from clients.names import passes_for_us, skeleton
from clients.registration import problem_with_name
from oauth.models import Grant
from tests.clients.test_registration import body, keys_of, manage, register, sent_back
from tests.support.consent import WebAgent, go_to
from tests.support.keys import new_key
from tests.support.world import Caller, sign_in

MARK = "self-registered, not verified"
OURS = {
    "as it is": "Countersign",
    "in a sentence": "Countersign security team",
    "in another case": "COUNTERSIGN support",
    "wide letters": "Ｃｏｕｎｔｅｒｓｉｇｎ",
    "circled letters": "Ⓒⓞⓤⓝⓣⓔⓡⓢⓘⓖⓝ",
    "mathematical letters": "𝐂𝐨𝐮𝐧𝐭𝐞𝐫𝐬𝐢𝐠𝐧",
    "spaces": "C o u n t e r  s i g n",
    "no-break and thin spaces": "Counter\u00a0\u2009sign",
    "zero-width characters": "Coun\u200bter\u2060sign",
    "a soft hyphen": "Counter\u00adsign",
    "hyphens and dots": "Counter-sign.",
    "accents": "Cöüñtérşíğn",
    "Cyrillic letters": "Соuntеrѕіgn",
    "Greek letters": "Cουητεrsιgn",
    "Armenian and Cherokee letters": "Ꮯoսnterѕign",
    "small capitals": "ᴄᴏᴜɴᴛᴇʀꜱɪɢɴ",
    "digits for letters": "C0unter5ign",
    "another l": "Counterslgn",
    "a bar": "Counters|gn",
    "doubled letters": "Countterssign",
    "the host of this server": "auth.example.com login",
    "that host with another o": "auth.example.c0m",
}


@pytest.mark.parametrize("name", OURS.values(), ids=OURS)
def test_names_that_pass_for_this_server(name: str) -> None:
    assert passes_for_us(name, "auth.example.com")


@pytest.mark.parametrize(
    "name",
    [
        "Claude Code",
        "Counter",
        "Sign",
        "Contour design",
        "Ledger",
        "Encounter",
        "Signal counter",
        "例え",
        "Example",
        "🤖",
        "",
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert not passes_for_us(name, "auth.example.com")


@pytest.mark.parametrize(
    ("name", "address", "passes"),
    [("Claude for iOS", "10.0.0.5", False), ("Kiosk", "10.0.0.5", False), ("Sign-in at 10.0.0.5", "10.0.0.5", True)],
)
def test_a_server_without_a_host_name(name: str, address: str, passes: bool) -> None:
    assert passes_for_us(name, address) is passes


def test_a_local_host_is_nobodys_name() -> None:
    assert not passes_for_us("MCP Inspector (localhost)", "localhost")


@pytest.mark.parametrize(
    ("one", "other"), [("Ledger", "Lеdgеr"), ("Payroll bot", "PAYROLL-BOT"), ("modern", "modem"), ("Al", "AI")]
)
def test_names_that_look_alike(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other) != skeleton("Something else")


@pytest.mark.parametrize("one", ["🤖", "🦊", "!!!"])
def test_names_without_letters_are_not_all_the_same(one: str) -> None:
    assert skeleton(one) and skeleton(one) != skeleton("🐙")


@pytest.mark.django_db
class TestOurName:
    @pytest.fixture(autouse=True)
    def opened(self, settings: Any) -> None:
        settings.REGISTRATION = "open"

    @pytest.mark.parametrize(
        "sent",
        [
            {"client_name": "Countersign"},
            {"client_name": "Countersign security team"},
            {"client_name": "Ｃｏｕｎｔｅｒｓｉｇｎ"},
            {"client_name": "C0unter-5ign"},
            {"redirect_uris": ["https://countersign-login.example.com/cb"], "client_name": ""},
        ],
    )
    def test_is_refused(self, sent: dict[str, Any]) -> None:
        refused = register(body(**sent))
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
        assert not Agent.objects.exists()

    @pytest.mark.parametrize("name", ["СОUNТЕRSІGN", "Coun\u200btersign", "Ꮯountersign"])
    def test_one_that_cannot_be_shown_is_left_out(self, name: str) -> None:
        assert register(body(client_name=name)).json()["client_name"] == "client.example.com"

    def test_is_refused_in_a_change(self) -> None:
        reply = register(body()).json()
        refused = manage("PUT", reply, sent_back(reply, client_name="Countersign"))
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")

    def test_an_administrator_may_give_it(self, administrator: User) -> None:
        Agent(
            name="Countersign probe", grant_types=["client_credentials"], client_jwks=keys_of(new_key("ES256"))
        ).full_clean()

    def test_a_users_name_is_not_refused(self, user: User) -> None:
        """Else anybody learns by trying who exists."""
        assert register(body(client_name=user.name)).status_code == 201


@pytest.mark.django_db
class TestMark:
    """Every page that names an agent says whether it registered itself."""

    @pytest.fixture
    def itself(self, agent: Caller, user: User, settings: Any) -> Caller:
        settings.REGISTRATION, settings.REGISTRATION_USERS = "open", [user.email]
        settings.REGISTRATION_SCOPES = ["calendar.read"]
        key = new_key("ES256")
        reply = register(body(jwks=keys_of(key), grant_types=[CIBA, "authorization_code"], client_name="Tidy")).json()
        return Caller(Agent.objects.get(client_id=reply["client_id"]), key)

    def pages(self, caller: Caller, user: User) -> dict[str, str]:
        """The text of each page that names this agent."""
        assert caller.ask(user).status_code == 200
        browser, now = sign_in(user), timezone.now()
        waiting = browser.get("/v1/prompts").json()["prompts"][0]
        grant = Grant.objects.create(
            agent=caller.agent, user=user, operation_digest="x", created_at=now, expires_at=now + timedelta(days=1)
        )
        urls = {
            "inbox": "/", "list": "/?part=list", "prompt": f"/prompts/{waiting['id']}", "agents": "/agents",
            "grant": f"/grants/{grant.id}", "activity": "/activity",
        }  # fmt: skip
        found = {name: browser.get(url).content.decode() for name, url in urls.items()}
        assert all(caller.agent.name in text for text in found.values())
        AgentLink.objects.filter(agent=caller.agent).update(is_linked=False)
        found["others' grants"] = browser.get("/agents").content.decode()
        browser.post(f"/v1/prompts/{waiting['id']}/deny")
        found["earlier"] = browser.get("/?part=list").content.decode()
        found["api"] = waiting["agent_mark"]
        return found

    def test_on_every_page(self, itself: Caller, user: User) -> None:
        for name, text in self.pages(itself, user).items():
            assert MARK in text, name
            assert "NOT the agent with this name" not in text, name

    def test_not_beside_an_administrators_agent(self, agent: Caller, user: User) -> None:
        for name, text in self.pages(agent, user).items():
            assert MARK not in text, name

    @pytest.mark.parametrize("known", ["Tidy", "TIDY", "Тidу", "T i d y"])
    def test_the_more_so_where_a_known_agent_has_the_name(self, itself: Caller, user: User, known: str) -> None:
        Agent.objects.create(name=known, grant_types=["client_credentials"])
        for name, text in self.pages(itself, user).items():
            assert f"{MARK}: it is NOT the agent with this name that an administrator registered" in text, name

    def test_a_known_agent_that_is_renamed_counts_by_its_new_name(self, itself: Caller, agent: Caller) -> None:
        agent.agent.name = "Tidy"
        agent.agent.save(update_fields=["name"])
        assert "NOT" in Agent.objects.get(pk=itself.agent.pk).mark

    def test_on_the_pages_of_the_code_flow(self, itself: Caller, browser_of_user: Client) -> None:
        web = WebAgent(itself.agent, itself, redirect_uri="https://client.example.com/callback")
        assert MARK in go_to(browser_of_user, web.url()).content.decode()
        logout = f"/oidc/logout?client_id={itself.agent.client_id}"
        assert MARK in browser_of_user.get(logout).content.decode()

    def test_in_the_administration(self, itself: Caller, administrator: User) -> None:
        browser = sign_in(administrator)
        assert f"Tidy ({MARK})" in browser.get("/admin/clients/agent/").content.decode()
        assert MARK in browser.get(f"/admin/clients/agent/{itself.agent.pk}/stop/").content.decode()

    def test_an_older_event_is_marked_too(self, itself: Caller, user: User) -> None:
        itself.ask(user)
        event = json.loads(Event.objects.filter(kind="request.opened").latest("id").body)
        assert event["facts"]["agent"] == "Tidy"
        assert sign_in(user).get("/activity").content.decode().count(MARK) == 1


def test_the_check_reads_the_settings(settings: Any) -> None:
    settings.ISSUER_URL = "https://login.acme.example"
    metadata = ClientMetadata("Login Acme Example", "web", [], [], [], "none", None, "", "", {}, {}, {})
    assert problem_with_name(metadata) is not None
