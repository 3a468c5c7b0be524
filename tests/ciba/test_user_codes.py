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
from devices.models import UserCode
from foundation import attempts
from foundation.models import Attempt
from tests.support.world import PASSWORD, Caller

pytestmark = pytest.mark.django_db
CODE = "lemon-42"


@pytest.fixture
def requesting(agent: Caller, user: User) -> Caller:
    """An agent that uses codes, and a user who has set one."""
    use_codes(agent)
    user_codes.set_code(user, CODE, timezone.now())
    return agent


def use_codes(caller: Caller) -> None:
    Agent.objects.filter(pk=caller.agent.pk).update(backchannel_user_code_parameter=True)


def set_on_page(browser: Client, code: str, password: str = PASSWORD) -> Any:
    return browser.post("/devices/user-code", {"user-code-code": code, "user-code-password": password})


class TestAsking:
    def test_right_missing_and_wrong(self, requesting: Caller, user: User) -> None:
        answers = [
            requesting.ask(user, user_code=code) if code else requesting.ask(user) for code in (CODE, None, "other-1")
        ]
        assert [one.status_code for one in answers] == [200, 400, 400]
        assert [one.json().get("error") for one in answers[1:]] == ["missing_user_code", "invalid_user_code"]
        assert BackchannelRequest.objects.count() == 1

    def test_the_password_is_no_code(self, requesting: Caller, user: User) -> None:
        assert requesting.ask(user, user_code=PASSWORD).json()["error"] == "invalid_user_code"

    def test_a_user_without_one_is_asked_without(self, agent: Caller, user: User) -> None:
        use_codes(agent)
        assert agent.ask(user).status_code == 200
        assert agent.ask(user, user_code="guess-1").json()["error"] == "invalid_user_code", "never taken unchecked"

    def test_an_agent_that_uses_none_is_not_asked_for_one(self, agent: Caller, user: User) -> None:
        user_codes.set_code(user, CODE, timezone.now())
        assert agent.ask(user).status_code == agent.ask(user, user_code="x").status_code == 200

    def test_whose_is_it_comes_first(self, requesting: Caller, stranger: User) -> None:
        user_codes.set_code(stranger, CODE, timezone.now())
        for more in ({}, {"user_code": "wrong-1"}, {"user_code": CODE}):
            assert requesting.ask(stranger, **more).json()["error"] == "unknown_user_id"
        assert not Attempt.objects.exists()


class TestGuessing:
    def test_five_wrong_ones_close_the_way_for_this_agent_alone(
        self, requesting: Caller, other_agent: Caller, user: User
    ) -> None:
        use_codes(other_agent)
        for number in range(user_codes.MAX_WRONG_PER_AGENT):
            assert requesting.ask(user, user_code=f"guess-{number}").json()["error"] == "invalid_user_code"
        wrong, right = requesting.ask(user, user_code="guess-9"), requesting.ask(user, user_code=CODE)
        assert wrong.content == right.content, "it does not learn that it had guessed"
        assert Event.objects.filter(kind="user_code.locked").count() == 1
        assert other_agent.ask(user, user_code=CODE).status_code == 200, "the user is not shut off from others"

    def test_the_way_opens_again(self, requesting: Caller, user: User) -> None:
        for number in range(9):
            requesting.ask(user, user_code=f"guess-{number}")
        Attempt.objects.update(expires_at=timezone.now())
        assert requesting.ask(user, user_code=CODE).status_code == 200

    def test_the_right_one_forgives(self, requesting: Caller, user: User) -> None:
        for _ in range(3):
            for _ in range(user_codes.MAX_WRONG_PER_AGENT - 1):
                requesting.ask(user, user_code="wrong-1")
            assert requesting.ask(user, user_code=CODE).status_code == 200

    def test_many_agents_together_do_not_guess_it_either(
        self, requesting: Caller, other_agent: Caller, user: User
    ) -> None:
        for number in range(user_codes.MAX_WRONG_OVERALL):
            limits = user_codes.limits_of(Agent(pk=number), user)
            user_codes.ATTEMPTS.record_wrong(limits, timezone.now())
        assert requesting.ask(user, user_code=CODE).json()["error"] == "invalid_user_code"

    def test_old_attempts_are_swept(self, requesting: Caller, user: User) -> None:
        requesting.ask(user, user_code="wrong-1")
        assert attempts.sweep(timezone.now(), 10) == 0
        assert attempts.sweep(timezone.now() + user_codes.ATTEMPT_WINDOW + timedelta(seconds=1), 10) == 1

    def test_nothing_of_it_is_kept_or_told(self, requesting: Caller, user: User) -> None:
        requesting.ask(user, user_code="wrong-one-7")
        assert UserCode.objects.get().code_hash.startswith("argon2")
        reply = [*Event.objects.values_list("body", flat=True), UserCode.objects.get().code_hash]
        assert not any(code in text for text in reply for code in (CODE, "wrong-one-7"))


class TestThePage:
    def test_set_change_and_remove(self, user: User, browser_of_user: Client) -> None:
        assert b"Set the code" in browser_of_user.get("/devices").content
        assert set_on_page(browser_of_user, CODE).status_code == 302
        first = UserCode.objects.get().code_hash
        assert set_on_page(browser_of_user, "orange-77").status_code == 302
        assert UserCode.objects.get().code_hash != first
        assert b"Change or remove" in browser_of_user.get("/devices").content
        assert set_on_page(browser_of_user, "").status_code == 302 and not UserCode.objects.exists()
        kinds = list(Event.objects.filter(kind__startswith="user_code").order_by("id").values_list("kind", flat=True))
        assert kinds == ["user_code.set", "user_code.set", "user_code.removed"]

    def test_only_with_the_password_again(self, user: User, browser_of_user: Client) -> None:
        user_codes.set_code(user, CODE, timezone.now())
        before = UserCode.objects.get().code_hash
        for code in ("orange-77", ""):
            response = set_on_page(browser_of_user, code, "not the password")
            assert response.status_code == 400 and b"not your password" in response.content
        assert UserCode.objects.get().code_hash == before

    @pytest.mark.parametrize(
        "code", ["12345", "123456", "654321", "111111", "121212", "abcdefgh", "with space", "é" * 8, "x" * 65, PASSWORD]
    )
    def test_bad_choices(self, user: User, browser_of_user: Client, code: str) -> None:
        assert set_on_page(browser_of_user, code).status_code == 400
        assert not UserCode.objects.exists()

    def test_never_the_password(self, user: User) -> None:
        user.set_password("Sunflower-1888")
        user.save()
        browser = Client()
        browser.post("/login", {"email": user.email, "password": "Sunflower-1888"})
        response = set_on_page(browser, "Sunflower-1888", "Sunflower-1888")
        assert response.status_code == 400 and b"Do not use your password" in response.content

    def test_setting_it_anew_opens_a_closed_way(self, requesting: Caller, user: User, browser_of_user: Client) -> None:
        for _ in range(9):
            requesting.ask(user, user_code="wrong-1")
        set_on_page(browser_of_user, "orange-77")
        assert requesting.ask(user, user_code="orange-77").status_code == 200

    def test_nobody_else(self, user: User) -> None:
        assert Client().post("/devices/user-code", {"user-code-code": CODE}).status_code == 302
        assert not UserCode.objects.exists()
