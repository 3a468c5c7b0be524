"""/login and /logout: who gets a session, where it leads, how guessing ends, what a cookie is."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts import lifecycle, lockout
from accounts.models import SignInAttempt, User
from audit.models import Event
from tests.world import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


def attempt(email: str, password: str, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post("/login", {"email": email, "password": password})


def is_in(browser: Client) -> bool:
    return browser.get("/").status_code == 200


def test_signing_in_and_out(person: User) -> None:
    browser = sign_in(person)
    assert is_in(browser)
    assert browser.get("/logout").status_code == 405, "a link signs nobody out"
    assert is_in(browser)
    assert browser.post("/logout")["Location"] == "/login"
    assert not is_in(browser)
    kinds = Event.objects.filter(user_id=person.id).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["person.signed_in", "person.signed_out"]


def test_the_address_may_be_typed_in_any_case(person: User) -> None:
    assert attempt(" Person@EXAMPLE.com ", PASSWORD).status_code == 302


def test_nobody_and_a_wrong_password_are_one_answer(person: User) -> None:
    def page(response: Any, email: str) -> str:
        assert response.status_code == 400
        text = response.content.decode()
        assert "do not go together" in text
        return str(text.replace(email, "")).partition("<form")[0]

    assert page(attempt(person.email, "wrong"), person.email) == page(attempt("no@example.com", "x"), "no@example.com")


def test_a_disabled_person_cannot_sign_in_and_is_not_told_why(person: User) -> None:
    User.objects.filter(pk=person.pk).update(is_active=False)
    response = attempt(person.email, PASSWORD)
    assert response.status_code == 400 and "do not go together" in response.content.decode()


@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("junk", ["", "x" * 100_000, "a\x00b", "\ud7ff\ufffe", "' OR 1=1 --"])
def test_junk_is_a_form_error(person: User, field: str, junk: str) -> None:
    form = {"email": person.email, "password": PASSWORD, field: junk}
    assert Client().post("/login", form).status_code == 400
    assert not Session.objects.exists()


class TestWhereItLeads:
    @pytest.mark.parametrize(
        "wanted",
        [
            "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "http:evil.example",
            "javascript:alert(1)", "/\t/evil.example", "///evil.example", " //evil.example", "evil.example",
            "%2F%2Fevil", "http://testserver/", "\x00//evil.example",
        ],
    )  # fmt: skip
    def test_never_elsewhere(self, person: User, wanted: str) -> None:
        form = {"email": person.email, "password": PASSWORD}
        assert Client().post("/login", {**form, "next": wanted})["Location"] == "/"
        response = Client().post("/login", form, query_params={"next": wanted})
        assert response.status_code == 400 if "\x00" in wanted else response["Location"] == "/"

    def test_to_the_page_that_asked(self, person: User) -> None:
        away = Client().get("/activity")
        assert away.status_code == 302 and away["Location"] == "/login?next=/activity"
        form = {"email": person.email, "password": PASSWORD, "next": "/activity"}
        assert Client().post("/login", form)["Location"] == "/activity"


class TestSessions:
    def test_the_key_changes_with_signing_in(self, person: User) -> None:
        """A planted cookie is worth nothing after the person signed in."""
        browser = Client()
        browser.cookies["session"] = "planted"
        browser.post("/login", {"email": person.email, "password": PASSWORD})
        first = browser.cookies["session"].value
        assert first != "planted"
        browser.post("/login", {"email": person.email, "password": PASSWORD})
        assert browser.cookies["session"].value != first

    def test_the_cookie_is_for_this_server_alone(self, person: User) -> None:
        cookie = sign_in(person).cookies["session"]
        assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/" and not cookie["domain"]

    def test_a_session_ends_by_itself(self, person: User) -> None:
        browser = sign_in(person)
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        assert not is_in(browser)
        assert lifecycle.sweep(timezone.now(), 10) == 1
        assert not Session.objects.exists()

    def test_disabling_ends_every_session_at_once_and_for_good(self, person: User, administrator: User) -> None:
        browsers = [sign_in(person), sign_in(person)]
        assert lifecycle.disable(person, administrator, timezone.now())
        assert not any(map(is_in, browsers))
        assert lifecycle.enable(person, administrator, timezone.now())
        assert not any(map(is_in, browsers))
        assert is_in(sign_in(person))

    def test_pages_are_not_kept_by_caches(self, person: User) -> None:
        browser = sign_in(person)
        for path in ("/", "/agents", "/activity"):
            assert "no-store" in browser.get(path)["Cache-Control"]


class TestGuessing:
    def guess(self, times: int, email: str, address: str = "192.0.2.1") -> list[str]:
        texts = [attempt(email, f"wrong {n}", address).content.decode() for n in range(times)]
        return ["locked" if "Too many wrong passwords" in text else "wrong" for text in texts]

    def test_the_sixth_guess_from_one_address_is_locked(self, person: User) -> None:
        assert self.guess(7, person.email) == ["wrong"] * 5 + ["locked"] * 2
        assert attempt(person.email, PASSWORD).status_code == 400, "the right password does not help either"
        assert Event.objects.filter(kind="person.locked_out", user_id=person.id).exists()

    def test_the_person_elsewhere_is_not_locked_out(self, person: User) -> None:
        self.guess(6, person.email)
        assert attempt(person.email, PASSWORD, "192.0.2.2").status_code == 302

    def test_it_ends_after_the_window_although_somebody_keeps_trying(self, person: User) -> None:
        self.guess(8, person.email)
        SignInAttempt.objects.update(at=timezone.now() - lockout.WINDOW)
        assert attempt(person.email, PASSWORD).status_code == 302

    def test_a_sign_in_forgets_the_guesses_before_it(self, person: User) -> None:
        self.guess(4, person.email)
        assert attempt(person.email, PASSWORD).status_code == 302
        assert self.guess(5, person.email) == ["wrong"] * 5

    def test_whether_an_address_is_known_does_not_show(self) -> None:
        assert self.guess(6, "nobody@example.com") == ["wrong"] * 5 + ["locked"]
        assert not Event.objects.filter(kind="person.locked_out").exists()

    @pytest.mark.parametrize(
        ("attempts", "locked"),
        [
            (lockout.Attempts(0, 0, 0), False),
            (lockout.Attempts(4, 49, 99), False),
            (lockout.Attempts(5, 5, 5), True),
            (lockout.Attempts(0, 50, 0), True),
            (lockout.Attempts(0, 0, 100), True),
        ],
    )
    def test_the_limits(self, attempts: lockout.Attempts, locked: bool) -> None:
        assert lockout.is_locked(attempts) is locked

    def test_old_attempts_are_swept_in_batches(self) -> None:
        old = timezone.now() - lockout.WINDOW - timedelta(seconds=1)
        row = {"email_digest": b"x" * 32, "address": "192.0.2.1"}
        SignInAttempt.objects.bulk_create([SignInAttempt(**row, at=at) for at in [old] * 3 + [timezone.now()]])
        assert [lifecycle.sweep(timezone.now(), 2) for _ in range(3)] == [2, 1, 0]
        assert SignInAttempt.objects.count() == 1


def test_a_form_from_another_site_signs_nobody_in(person: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    response = browser.post("/login", {"email": person.email, "password": PASSWORD})
    assert response.status_code == 403
    assert not Session.objects.exists()
