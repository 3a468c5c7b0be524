"""What administrators and users read is true: ids, keys, health, what still works after a stop, what is used up."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.record import SYSTEM, About
from authserver.kill_switch import in_words
from clients.models import Agent
from credentials.backends import preflight
from credentials.backends.secrets import sealed
from credentials.models import Backend
from oauth.grants.grant_tree import last_token_ends_at
from oauth.models import Grant, SigningKey
from oauth.tokens import signing_keys
from operations.models import Resource
from tests.properties.administration import NOWHERE
from tests.support.world import PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(administrator: User) -> Client:
    browser = Client()
    browser.force_login(administrator)
    return browser


def content(browser: Client, url: str) -> str:
    """The page without what is another each time for a reason."""
    page = browser.get(url)
    assert page.status_code == 200, page.content
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"|nonce="[^"]*"', "", page.content.decode())


class TestAnIdIsShownOnceItIsSaved:
    @pytest.mark.parametrize(
        "path",
        [model._meta.label_lower.replace(".", "/") for model in django_admin.site._registry if model is not User],
    )
    def test_the_page_of_a_new_row_shows_nothing_that_is_drawn(self, browser: Client, path: str) -> None:
        url = f"/admin/{path}/add/"
        if browser.get(url).status_code == 200:
            assert content(browser, url) == content(browser, url)

    def test_the_page_of_a_saved_row_shows_its_own(self, browser: Client) -> None:
        form = {"name": "Bank", "identifier": "https://bank.example.com/", "is_active": "on"}
        browser.post("/admin/operations/resource/add/", form)
        saved = Resource.objects.get()
        assert str(saved.pk) in content(browser, f"/admin/operations/resource/{saved.pk}/change/")

    def test_the_same_of_an_agent_and_of_a_backend(self, browser: Client, agent: Caller) -> None:
        assert str(agent.agent.client_id) in content(browser, f"/admin/clients/agent/{agent.agent.pk}/change/")
        backend = Backend.objects.create(name="x", engine="postgres", settings=NOWHERE, sealed_secret=b"")
        assert backend.prefix in content(browser, f"/admin/credentials/backend/{backend.pk}/change/")


class TestSigningKeys:
    LIST = "/admin/oauth/signingkey/"

    def states(self) -> dict[str, str]:
        now = timezone.now()
        return {key.kid: signing_keys.state_in_words(key, now) for key in SigningKey.objects.filter(algorithm="ES256")}

    def test_one_with_a_successor_that_does_not_sign_yet(self, browser: Client, signing: None) -> None:
        now = timezone.now()
        old = SigningKey.objects.get(algorithm="ES256")
        new = signing_keys.make_key("ES256", now, active_at=now + timedelta(hours=1))
        assert self.states() == {old.kid: "signs", new: "in the JWKS; will sign"}
        text = content(browser, self.LIST)
        assert "Withdrawn at" not in text and "In the key list until" in text and "its successor is created" in text

    def test_one_whose_successor_signs(self, signing: None) -> None:
        old = SigningKey.objects.get(algorithm="ES256")
        now = timezone.now()
        new = signing_keys.make_key("ES256", now, active_at=now)
        assert self.states() == {old.kid: "no longer signs; in the JWKS until its tokens expire", new: "signs"}

    def test_one_that_was_withdrawn(self, signing: None) -> None:
        old = SigningKey.objects.get(algorithm="ES256")
        now = timezone.now()
        new = signing_keys.make_key("ES256", now, active_at=now)
        signing_keys.withdraw(new, now)
        assert self.states()[new].startswith("withdrawn")
        assert self.states()[old.kid] == "signs", "as signing_key() chooses"
        assert signing_keys.signing_key("ES256", timezone.now()).kid == old.kid


class TestABackendsHealth:
    @pytest.fixture
    def backend(self, db: None) -> Backend:
        backend = Backend(name="orders", engine="postgres", settings=NOWHERE)
        backend.sealed_secret = sealed(backend, "x")
        backend.save()
        return backend

    def health(self, browser: Client) -> str:
        text = content(browser, "/admin/credentials/backend/")
        return re.search(r'class="field-health">([^<]*)<', text)[1]  # type: ignore[index]

    def test_one_that_was_never_asked(self, browser: Client, backend: Backend) -> None:
        assert self.health(browser) == "no call yet"

    def test_one_that_answers_and_refuses_the_login(self, browser: Client, backend: Backend) -> None:
        """The probe's own report of a refused login, as an engine that answered writes it."""
        report = preflight.Report()
        report.note("log in", "password authentication failed")
        backend.preflight, backend.preflight_at = preflight.asdict(report), timezone.now()
        backend.save()
        assert self.health(browser) == "yes, but its preflight failed: log in: password authentication failed"

    def test_one_that_nobody_hears(self, browser: Client, backend: Backend) -> None:
        preflight.check_backend(backend, About(SYSTEM), timezone.now())
        assert self.health(browser).startswith(("not since", "yes, but its preflight failed: log in"))
        assert self.health(browser) != "yes"

    def test_one_that_passed(self, browser: Client, backend: Backend) -> None:
        report = preflight.Report()
        report.note("log in")
        backend.preflight, backend.preflight_at = preflight.asdict(report), timezone.now()
        backend.save()
        assert self.health(browser) == "yes"


class TestTheKillSwitch:
    def page(self, browser: Client, agent: Caller) -> str:
        return content(browser, f"/admin/clients/agent/{agent.agent.pk}/stop/")

    def stop(self, browser: Client, agent: Caller) -> None:
        assert browser.post(f"/admin/clients/agent/{agent.agent.pk}/stop/").status_code == 302

    def test_it_says_until_when_an_api_that_asks_nobody_accepts_a_token(self, browser: Client, agent: Caller) -> None:
        answer = agent.client_credentials(scope="calendar.read")
        ends_at = last_token_ends_at(agent.agent.client_id, timezone.now())
        assert ends_at and abs(ends_at - timezone.now() - timedelta(seconds=answer.json()["expires_in"])) < timedelta(
            seconds=60
        )
        assert "An API that validates them locally accepts" in self.page(browser, agent)
        self.stop(browser, agent)
        text = self.page(browser, agent)
        assert f"until {ends_at:%Y-%m-%d %H:%M:%S} UTC, for another " in text
        assert "refuses them now" in text and 'content="2"' in text, "it counts down"
        assert "its tokens work" not in text

    def test_the_longest_of_several_counts_and_another_agents_does_not(
        self, browser: Client, agent: Caller, other_agent: Caller, user: User
    ) -> None:
        other_agent.client_credentials(scope="calendar.read")
        assert last_token_ends_at(agent.agent.client_id, timezone.now()) is None
        sent = agent.ask(user, authorization_details=[PAYMENT]).json()
        prompt = sign_in(user).get("/v1/prompts").json()["prompts"][0]["id"]
        assert sign_in(user).post(f"/prompts/{prompt}", {"answer": "approve"}).status_code == 302
        long = agent.poll(sent["auth_req_id"]).json()["expires_in"]
        short = agent.client_credentials(scope="calendar.read").json()["expires_in"]
        assert long > short
        ends_at = last_token_ends_at(agent.agent.client_id, timezone.now())
        assert ends_at and ends_at - timezone.now() > timedelta(seconds=short + 60)

    def test_once_all_have_ended_it_says_so_no_more(self, browser: Client, agent: Caller) -> None:
        lifetime = timedelta(seconds=agent.client_credentials(scope="calendar.read").json()["expires_in"])
        assert last_token_ends_at(agent.agent.client_id, timezone.now() + lifetime + timedelta(seconds=1)) is None

    def test_with_no_token_it_is_done_at_once(self, browser: Client, agent: Caller) -> None:
        self.stop(browser, agent)
        text = self.page(browser, agent)
        assert "is confirmed gone" in text and "validates them locally" not in text and 'content="2"' not in text

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.5, "1 s"), (59, "1 min"), (251.9, "4 min 12 s"), (3600, "1 h 1 s"), (86399, "24 h")]
    )
    def test_the_time_that_is_left_in_words(self, seconds: float, words: str) -> None:
        assert in_words(timedelta(seconds=seconds)) == words


class TestWhatAnAgentHolds:
    def grant(self, agent: Caller, user: User, bank: ResourceServer, uses_left: int | None) -> Grant:
        now = timezone.now()
        return Grant.objects.create(
            agent=agent.agent, user=user, resource=bank.resource, authorization_details=[PAYMENT],
            operation_digest="x", uses_left=uses_left, created_at=now, expires_at=now + timedelta(hours=1),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("uses", "said"),
        [
            ([], "It has no grant from you now."),
            ([0, 0], "It has used up everything that you approved."),
            ([1, 0], "It has 1 grant from you that it can still use."),
            ([2, None, 0], "It has 2 grants from you that it can still use."),
        ],
    )
    def test_the_page_counts_what_can_still_be_used(
        self, agent: Caller, user: User, bank: ResourceServer, uses: list[Any], said: str
    ) -> None:
        grants = [self.grant(agent, user, bank, one) for one in uses]
        browser = sign_in(user)
        text = browser.get("/agents").content.decode()
        assert said in text
        assert text.count("(used up)") == uses.count(0)
        for grant in grants:
            page = browser.get(f"/grants/{grant.pk}").content.decode()
            assert ("Used up" in page) == (grant.uses_left == 0) and ("● Active" in page) == (grant.uses_left != 0)

    def test_nothing_of_a_stopped_agent_can_be_used(self, agent: Caller, user: User, bank: ResourceServer) -> None:
        self.grant(agent, user, bank, 1)
        Agent.objects.filter(pk=agent.agent.pk).update(status=Agent.Status.SUSPENDED)
        assert "It has no grant from you now." in sign_in(user).get("/agents").content.decode()
