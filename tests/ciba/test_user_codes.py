"""user_code (CIBA Core 7.1, 7.2, 13): set on /devices, asked for by agents that use codes, and not guessed."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from ciba.models import BackchannelRequest
from clients.models import Agent
from devices import user_codes
from devices.models import UserCode, UserCodeAttempt
from tests.world import PASSWORD, Caller

pytestmark = pytest.mark.django_db
CODE = "lemon-42"


@pytest.fixture
def asking(agent: Caller, person: User) -> Caller:
    """An agent that uses codes, and a person who has set one."""
    use_codes(agent)
    user_codes.set_code(person, CODE, timezone.now())
    return agent


def use_codes(caller: Caller) -> None:
    Agent.objects.filter(pk=caller.agent.pk).update(backchannel_user_code_parameter=True)


def set_on_page(browser: Client, code: str, password: str = PASSWORD) -> Any:
    return browser.post("/devices/user-code", {"user-code-code": code, "user-code-password": password})


class TestAsking:
    def test_right_missing_and_wrong(self, asking: Caller, person: User) -> None:
        answers = [
            asking.ask(person, user_code=code) if code else asking.ask(person) for code in (CODE, None, "other-1")
        ]
        assert [one.status_code for one in answers] == [200, 400, 400]
        assert [one.json().get("error") for one in answers[1:]] == ["missing_user_code", "invalid_user_code"]
        assert BackchannelRequest.objects.count() == 1

    def test_the_password_is_no_code(self, asking: Caller, person: User) -> None:
        assert asking.ask(person, user_code=PASSWORD).json()["error"] == "invalid_user_code"

    def test_a_person_without_one_is_asked_without(self, agent: Caller, person: User) -> None:
        use_codes(agent)
        assert agent.ask(person).status_code == 200
        assert agent.ask(person, user_code="guess-1").json()["error"] == "invalid_user_code", "never taken unchecked"

    def test_an_agent_that_uses_none_is_not_asked_for_one(self, agent: Caller, person: User) -> None:
        user_codes.set_code(person, CODE, timezone.now())
        assert agent.ask(person).status_code == agent.ask(person, user_code="x").status_code == 200

    def test_whose_is_it_comes_first(self, asking: Caller, stranger: User) -> None:
        user_codes.set_code(stranger, CODE, timezone.now())
        for more in ({}, {"user_code": "wrong-1"}, {"user_code": CODE}):
            assert asking.ask(stranger, **more).json()["error"] == "unknown_user_id"
        assert not UserCodeAttempt.objects.exists()


class TestGuessing:
    def test_five_wrong_ones_close_the_way_for_this_agent_alone(
        self, asking: Caller, other_agent: Caller, person: User
    ) -> None:
        use_codes(other_agent)
        for number in range(user_codes.MOST_OF_AGENT):
            assert asking.ask(person, user_code=f"guess-{number}").json()["error"] == "invalid_user_code"
        wrong, right = asking.ask(person, user_code="guess-9"), asking.ask(person, user_code=CODE)
        assert wrong.content == right.content, "it does not learn that it had guessed"
        assert Event.objects.filter(kind="user_code.locked").count() == 1
        assert other_agent.ask(person, user_code=CODE).status_code == 200, "the person is not shut off from others"

    def test_the_way_opens_again(self, asking: Caller, person: User) -> None:
        for number in range(9):
            asking.ask(person, user_code=f"guess-{number}")
        UserCodeAttempt.objects.update(at=timezone.now() - user_codes.WINDOW - timedelta(seconds=1))
        assert asking.ask(person, user_code=CODE).status_code == 200

    def test_the_right_one_forgives(self, asking: Caller, person: User) -> None:
        for _ in range(3):
            for _ in range(user_codes.MOST_OF_AGENT - 1):
                asking.ask(person, user_code="wrong-1")
            assert asking.ask(person, user_code=CODE).status_code == 200

    def test_many_agents_together_do_not_guess_it_either(
        self, asking: Caller, other_agent: Caller, person: User
    ) -> None:
        now = timezone.now()
        rows = [UserCodeAttempt(agent=other_agent.agent, user=person, at=now)] * user_codes.MOST_OF_ALL
        UserCodeAttempt.objects.bulk_create([UserCodeAttempt(agent=r.agent, user=r.user, at=r.at) for r in rows])
        assert asking.ask(person, user_code=CODE).json()["error"] == "invalid_user_code"

    def test_old_attempts_are_swept(self, asking: Caller, person: User) -> None:
        asking.ask(person, user_code="wrong-1")
        assert user_codes.sweep(timezone.now(), 10) == 0
        assert user_codes.sweep(timezone.now() + user_codes.WINDOW + timedelta(seconds=1), 10) == 1

    def test_nothing_of_it_is_kept_or_told(self, asking: Caller, person: User) -> None:
        asking.ask(person, user_code="wrong-one-7")
        assert UserCode.objects.get().code_hash.startswith("argon2")
        told = [*Event.objects.values_list("body", flat=True), UserCode.objects.get().code_hash]
        assert not any(code in text for text in told for code in (CODE, "wrong-one-7"))


class TestThePage:
    def test_set_change_and_remove(self, person: User, browser_of_person: Client) -> None:
        assert b"Set the code" in browser_of_person.get("/devices").content
        assert set_on_page(browser_of_person, CODE).status_code == 302
        first = UserCode.objects.get().code_hash
        assert set_on_page(browser_of_person, "orange-77").status_code == 302
        assert UserCode.objects.get().code_hash != first
        assert b"Change or remove" in browser_of_person.get("/devices").content
        assert set_on_page(browser_of_person, "").status_code == 302 and not UserCode.objects.exists()
        kinds = list(Event.objects.filter(kind__startswith="user_code").order_by("id").values_list("kind", flat=True))
        assert kinds == ["user_code.set", "user_code.set", "user_code.removed"]

    def test_only_with_the_password_again(self, person: User, browser_of_person: Client) -> None:
        user_codes.set_code(person, CODE, timezone.now())
        before = UserCode.objects.get().code_hash
        for code in ("orange-77", ""):
            response = set_on_page(browser_of_person, code, "not the password")
            assert response.status_code == 400 and b"not your password" in response.content
        assert UserCode.objects.get().code_hash == before

    @pytest.mark.parametrize(
        "code", ["12345", "123456", "654321", "111111", "121212", "abcdefgh", "with space", "é" * 8, "x" * 65, PASSWORD]
    )
    def test_bad_choices(self, person: User, browser_of_person: Client, code: str) -> None:
        assert set_on_page(browser_of_person, code).status_code == 400
        assert not UserCode.objects.exists()

    def test_never_the_password(self, person: User) -> None:
        person.set_password("Sunflower-1888")
        person.save()
        browser = Client()
        browser.post("/login", {"email": person.email, "password": "Sunflower-1888"})
        response = set_on_page(browser, "Sunflower-1888", "Sunflower-1888")
        assert response.status_code == 400 and b"Never your password" in response.content

    def test_setting_it_anew_opens_a_closed_way(self, asking: Caller, person: User, browser_of_person: Client) -> None:
        for _ in range(9):
            asking.ask(person, user_code="wrong-1")
        set_on_page(browser_of_person, "orange-77")
        assert asking.ask(person, user_code="orange-77").status_code == 200

    def test_nobody_else(self, person: User) -> None:
        assert Client().post("/devices/user-code", {"user-code-code": CODE}).status_code == 302
        assert not UserCode.objects.exists()
