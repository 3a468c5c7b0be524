"""/login and /logout: who gets a session, where it leads, how guessing ends, what a cookie is."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts import lifecycle, lockout
from accounts.models import User
from audit.models import Event
from foundation import attempts
from foundation.attempt_limits import is_reached
from foundation.models import Attempt
from foundation.networks import counted_address
from tests.support.world import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


def attempt(email: str, password: str, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post("/login", {"email": email, "password": password})


def is_in(browser: Client) -> bool:
    return browser.get("/").status_code == 200


def test_signing_in_and_out(user: User) -> None:
    browser = sign_in(user)
    assert is_in(browser)
    assert browser.get("/logout").status_code == 405, "a link signs nobody out"
    assert is_in(browser)
    assert browser.post("/logout")["Location"] == "/login"
    assert not is_in(browser)
    kinds = Event.objects.filter(user_id=user.id).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["user.signed_in", "user.signed_out"]


def test_the_address_may_be_typed_in_any_case(user: User) -> None:
    assert attempt(" Person@EXAMPLE.com ", PASSWORD).status_code == 302


def test_nobody_and_a_wrong_password_are_one_answer(user: User) -> None:
    def page(response: Any, email: str) -> str:
        assert response.status_code == 400
        text = response.content.decode()
        assert "or the password is wrong" in text
        return str(text.replace(email, "")).partition("<form")[0]

    assert page(attempt(user.email, "wrong"), user.email) == page(attempt("no@example.com", "x"), "no@example.com")


def test_a_disabled_user_cannot_sign_in_and_is_not_told_why(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    response = attempt(user.email, PASSWORD)
    assert response.status_code == 400 and "or the password is wrong" in response.content.decode()


@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("junk", ["", "x" * 100_000, "a\x00b", "\ud7ff\ufffe", "' OR 1=1 --"])
def test_junk_is_a_form_error(user: User, field: str, junk: str) -> None:
    form = {"email": user.email, "password": PASSWORD, field: junk}
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
    def test_never_elsewhere(self, user: User, wanted: str) -> None:
        form = {"email": user.email, "password": PASSWORD}
        assert Client().post("/login", {**form, "next": wanted})["Location"] == "/"
        response = Client().post("/login", form, query_params={"next": wanted})
        assert response.status_code == 400 if "\x00" in wanted else response["Location"] == "/"

    def test_to_the_page_that_asked(self, user: User) -> None:
        away = Client().get("/activity")
        assert away.status_code == 302 and away["Location"] == "/login?next=/activity"
        form = {"email": user.email, "password": PASSWORD, "next": "/activity"}
        assert Client().post("/login", form)["Location"] == "/activity"


class TestSessions:
    def test_the_key_changes_with_signing_in(self, user: User) -> None:
        """A planted cookie is worth nothing after the user signed in."""
        browser = Client()
        browser.cookies["session"] = "planted"
        browser.post("/login", {"email": user.email, "password": PASSWORD})
        first = browser.cookies["session"].value
        assert first != "planted"
        browser.post("/login", {"email": user.email, "password": PASSWORD})
        assert browser.cookies["session"].value != first

    def test_the_cookie_is_for_this_server_alone(self, user: User) -> None:
        cookie = sign_in(user).cookies["session"]
        assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/" and not cookie["domain"]

    def test_a_session_ends_by_itself(self, user: User) -> None:
        browser = sign_in(user)
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        assert not is_in(browser)
        assert lifecycle.sweep(timezone.now(), 10) == 1
        assert not Session.objects.exists()

    def test_disabling_ends_every_session_at_once_and_for_good(self, user: User, administrator: User) -> None:
        browsers = [sign_in(user), sign_in(user)]
        assert lifecycle.disable(user, administrator, timezone.now())
        assert not any(map(is_in, browsers))
        assert lifecycle.enable(user, administrator, timezone.now())
        assert not any(map(is_in, browsers))
        assert is_in(sign_in(user))

    def test_pages_are_not_kept_by_caches(self, user: User) -> None:
        browser = sign_in(user)
        for path in ("/", "/agents", "/activity"):
            assert "no-store" in browser.get(path)["Cache-Control"]

    def test_whoever_reads_the_table_holds_nobodys_session(self, user: User) -> None:
        browser = sign_in(user)
        key = browser.cookies["session"].value
        row = Session.objects.get()
        assert row.session_key != key and key not in row.session_data
        thief = Client()
        thief.cookies["session"] = row.session_key
        assert not is_in(thief)
        assert is_in(browser)

    def test_what_a_session_knows_is_kept(self, user: User) -> None:
        browser = sign_in(user)
        for value in ("one", "two"):
            session = browser.session
            session["stored"] = value
            session.save()
            assert browser.session["stored"] == value and is_in(browser)
        assert Session.objects.count() == 1
        assert browser.session.exists(browser.session.session_key) and not browser.session.exists("x" * 32)

    def test_signing_out_leaves_nothing(self, user: User) -> None:
        sign_in(user).post("/logout")
        assert not Session.objects.exists()


class TestGuessing:
    def guess(self, times: int, email: str, address: str = "192.0.2.1") -> list[str]:
        texts = [attempt(email, f"wrong {n}", address).content.decode() for n in range(times)]
        return ["locked" if "Too many wrong passwords" in text else "wrong" for text in texts]

    def test_the_sixth_guess_from_one_address_is_locked(self, user: User) -> None:
        assert self.guess(7, user.email) == ["wrong"] * 5 + ["locked"] * 2
        assert attempt(user.email, PASSWORD).status_code == 400, "the right password does not help either"
        assert Event.objects.filter(kind="user.locked_out", user_id=user.id).exists()

    def test_the_user_elsewhere_is_not_locked_out(self, user: User) -> None:
        self.guess(6, user.email)
        assert attempt(user.email, PASSWORD, "192.0.2.2").status_code == 302

    def test_it_ends_after_the_window_although_somebody_keeps_trying(self, user: User) -> None:
        self.guess(8, user.email)
        Attempt.objects.update(expires_at=timezone.now())
        assert attempt(user.email, PASSWORD).status_code == 302

    def test_a_sign_in_deletes_the_guesses_before_it(self, user: User) -> None:
        self.guess(4, user.email)
        assert attempt(user.email, PASSWORD).status_code == 302
        assert self.guess(5, user.email) == ["wrong"] * 5

    def test_whether_an_address_is_known_does_not_show(self) -> None:
        assert self.guess(6, "nobody@example.com") == ["wrong"] * 5 + ["locked"]
        assert not Event.objects.filter(kind="user.locked_out").exists()

    @pytest.mark.parametrize(
        ("from_address_for_user", "for_user", "from_address", "in_known_browser", "locked"),
        [
            (0, 0, 0, False, False),
            (4, 49, 99, False, False),
            (5, 5, 5, False, True),
            (0, 50, 0, False, True),
            (0, 0, 100, False, True),
            (0, 999, 0, True, False),
            (5, 999, 5, True, True),
            (0, 0, 100, True, True),
        ],
    )
    def test_the_limits(
        self, from_address_for_user: int, for_user: int, from_address: int, in_known_browser: bool, locked: bool
    ) -> None:
        limits = lockout.limits_of("a@example.com", "192.0.2.1", in_known_browser=in_known_browser)
        earlier = zip(limits, [from_address_for_user, for_user, from_address], strict=True)
        assert is_reached(limits, {limit.subject: count for limit, count in earlier}) is locked

    def test_no_address_that_is_typed_in_counts_for_another_user(self) -> None:
        """Otherwise a stranger elsewhere could lock a user out of their own address."""
        users = ["a@example.com", "a@example.com from 192.0.2.1", "address 192.0.2.1 user a@example.com", "192.0.2.1"]
        subjects = [one.subject for user in users for one in lockout.limits_of(user, "192.0.2.1")[:2]]
        assert len(set(subjects)) == len(subjects)

    @pytest.mark.parametrize(
        ("address", "counted"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "::"),
        ],
    )
    def test_what_counts_as_one_address(self, address: str, counted: str) -> None:
        assert counted_address(address) == counted

    def test_the_many_addresses_of_one_customer_are_one(self, user: User) -> None:
        texts = [attempt(user.email, "wrong", f"2001:db8::{n}").content.decode() for n in range(1, 7)]
        assert ["Too many" in text for text in texts] == [False] * 5 + [True]
        assert attempt(user.email, PASSWORD, "2001:db8:0:1::1").status_code == 302

    def from_everywhere(self, user: User) -> None:
        """A botnet at work."""
        for n in range(50):
            lifecycle.SIGN_INS.record_wrong(lockout.limits_of(user.email, f"198.51.100.{n}"), timezone.now())

    def test_nobody_elsewhere_locks_a_user_out_of_their_own_browser(self, user: User, stranger: User) -> None:
        browser = sign_in(user)
        browser.post("/logout")
        self.from_everywhere(user)
        assert attempt(user.email, PASSWORD).status_code == 400
        assert sign_in(user, browser=browser).get("/").status_code == 200
        # It is this user's browser, and nobody else's; and a cookie of one's own making is none.
        self.from_everywhere(stranger)
        mine = {"email": stranger.email, "password": PASSWORD}
        assert browser.post("/login", mine).status_code == 400
        browser.cookies["browser"] = f"{stranger.sub}:1:x"
        assert browser.post("/login", mine).status_code == 400

    def test_nor_does_it_help_to_guess_there(self, user: User) -> None:
        browser = sign_in(user)
        wrong = [browser.post("/login", {"email": user.email, "password": f"wrong {n}"}) for n in range(6)]
        assert "Too many" in wrong[5].content.decode() and "Too many" not in wrong[4].content.decode()

    def test_a_new_invitation_ends_the_lock_as_the_page_says(self, user: User, administrator: User) -> None:
        assert self.guess(6, user.email)[-1] == "locked"
        _, handle = lifecycle.invite(user.email, "", administrator, timezone.now())
        assert Client().post(f"/invitations/{handle}", {"password": "seven quiet herons wade"}).status_code == 302
        assert attempt(user.email, "seven quiet herons wade").status_code == 302

    def test_old_attempts_are_swept_in_batches(self) -> None:
        old = timezone.now() - lockout.ATTEMPT_WINDOW - timedelta(seconds=1)
        for at in [old] * 3 + [timezone.now()]:
            lifecycle.SIGN_INS.record_wrong(lockout.limits_of("a@example.com", "192.0.2.1"), at)
        assert [attempts.sweep(timezone.now(), 2) for _ in range(3)] == [2, 1, 0]
        assert Attempt.objects.count() == 1


def test_a_form_from_another_site_signs_nobody_in(user: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    response = browser.post("/login", {"email": user.email, "password": PASSWORD})
    assert response.status_code == 403
    assert not Session.objects.exists()
