"""Whoever guesses a secret that opens something by itself is stopped: by address and by the secret's beginning."""

import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import lifecycle as accounts
from accounts.models import User
from foundation import attempts
from foundation.attempt_limits import AttemptLimit, is_reached
from foundation.attempts import MAX_FOR_BEGINNING, MAX_FROM_ADDRESS, AttemptCounter, limited
from foundation.errors import InvalidRequest
from foundation.models import Attempt
from tests.clients.test_registration import body, manage, register
from tests.patience import PATIENCE
from tests.support.duel import at_once

pytestmark = pytest.mark.django_db
FOLDER, THERE = "192.0.2.1", "198.51.100.7"


def unwrap(handle: str, address: str = FOLDER) -> Any:
    sent = {"handle": handle}
    return Client().post("/v1/leases/unwrap", sent, content_type="application/json", REMOTE_ADDR=address)


def open_invitation(handle: str, address: str = FOLDER) -> Any:
    return Client().get(f"/invitations/{handle}", REMOTE_ADDR=address)


def read_registration(token: str, address: str = FOLDER) -> Any:
    return Client().get("/oidc/register/x", headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR=address)


GUESSES: dict[str, tuple[Callable[..., Any], int]] = {
    "a lease's handle": (unwrap, 404),
    "an invitation": (open_invitation, 404),
    "a registration access token": (read_registration, 401),
}


def secret() -> str:
    return secrets.token_urlsafe(32)


@pytest.mark.parametrize(("guess", "wrong"), GUESSES.values(), ids=GUESSES)
class TestGuessing:
    def test_so_many_from_one_address(self, guess: Callable[..., Any], wrong: int) -> None:
        answers = [guess(secret()) for _ in range(MAX_FROM_ADDRESS + 2)]
        assert [answer.status_code for answer in answers] == [wrong] * MAX_FROM_ADDRESS + [429] * 2
        assert int(answers[-1]["Retry-After"]) > 0
        assert guess(secret(), THERE).status_code == wrong

    def test_so_many_from_one_ipv6_network(self, guess: Callable[..., Any], wrong: int) -> None:
        answers = [guess(secret(), f"2001:db8:1:2::{number:x}").status_code for number in range(MAX_FROM_ADDRESS + 1)]
        assert answers[-2:] == [wrong, 429]
        assert guess(secret(), "2001:db8:1:3::1").status_code == wrong

    def test_so_many_for_one_beginning_from_everywhere(self, guess: Callable[..., Any], wrong: int) -> None:
        """Whoever has seen the first characters in a log guesses the rest from many addresses."""
        seen = secret()[: attempts.BEGINNING]
        answers = [guess(seen + secret(), f"192.0.2.{number}") for number in range(1, MAX_FOR_BEGINNING + 2)]
        assert [answer.status_code for answer in answers] == [wrong] * MAX_FOR_BEGINNING + [429]

    def test_it_ends(self, guess: Callable[..., Any], wrong: int) -> None:
        for _ in range(MAX_FROM_ADDRESS):
            guess(secret())
        assert guess(secret()).status_code == 429
        Attempt.objects.update(expires_at=timezone.now())
        assert guess(secret()).status_code == wrong
        assert attempts.sweep(timezone.now(), 1000) == MAX_FROM_ADDRESS

    def test_one_kind_does_not_stop_another(self, guess: Callable[..., Any], wrong: int) -> None:
        others = [other for other, _ in GUESSES.values() if other is not guess]
        for _ in range(MAX_FROM_ADDRESS):
            guess(secret())
        assert all(other(secret()).status_code != 429 for other in others)


class TestRightSecrets:
    def test_an_invitation_is_not_counted(self, administrator: User) -> None:
        _, handle = accounts.invite("new@example.com", "New", administrator, timezone.now())
        for _ in range(MAX_FOR_BEGINNING + 5):
            assert open_invitation(handle).status_code == 200
        assert not Attempt.objects.exists()

    def test_a_registration_token_is_not_counted_whatever_is_sent_with_it(self, settings: Any) -> None:
        settings.REGISTRATION = "open"
        reply = register(body()).json()
        for _ in range(MAX_FOR_BEGINNING + 5):
            assert manage("PUT", reply, {"client_id": "another"}).status_code == 400
        assert manage("GET", reply).status_code == 200
        assert not Attempt.objects.filter(kind="registration token").exists()


THREADS, LIMIT = 8, 5


def body_of(check: Callable[[], None], wrong: bool) -> Callable[[], str]:
    """One request with a secret. `check` runs while the secret is checked."""

    def act() -> str:
        try:
            with limited("test", secret(), FOLDER, timezone.now(), wrong=InvalidRequest):
                check()
                if wrong:
                    raise InvalidRequest
        except attempts.TooManyAttempts:
            return "refused"
        except InvalidRequest:
            return "wrong"
        return "right"

    return act


@pytest.mark.django_db(transaction=True)
class TestConcurrency:
    """Real threads, all of which are inside the check of a secret at the same time."""

    @pytest.fixture(autouse=True)
    def low_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "MAX_FROM_ADDRESS", LIMIT)

    def test_any_number_of_right_secrets_at_once_is_accepted(self) -> None:
        together = threading.Barrier(THREADS)
        acts = [body_of(lambda: barrier_wait(together), wrong=False) for _ in range(THREADS)]
        assert at_once(*acts) == ["right"] * THREADS, "more at once than may be wrong"
        assert not Attempt.objects.exists()

    def test_right_secrets_pass_beside_wrong_ones_below_the_limit(self) -> None:
        together = threading.Barrier(THREADS)
        acts = [body_of(lambda: barrier_wait(together), wrong=number < LIMIT) for number in range(THREADS)]
        assert at_once(*acts).count("right") == THREADS - LIMIT

    def test_guesses_exceed_the_limit_once_and_by_the_threads_at_most(self) -> None:
        checked: list[int] = []
        together = threading.Barrier(THREADS)

        def check() -> None:
            checked.append(1)
            barrier_wait(together)

        for _ in range(LIMIT - 1):
            assert body_of(lambda: None, wrong=True)() == "wrong"
        answers = at_once(*[body_of(check, wrong=True) for _ in range(THREADS)])
        assert len(checked) == THREADS, "all were checked before one was counted"
        assert answers.count("wrong") <= 1, "no more than the limit are told that they were wrong"
        for _ in range(3):
            assert at_once(*[body_of(check, wrong=True) for _ in range(THREADS)]) == ["refused"] * THREADS
        assert len(checked) == THREADS, "and none is checked from then on"
        assert Attempt.objects.count() == LIMIT - 1 + THREADS

    def test_no_thread_gains_by_the_end_of_one_attempt(self) -> None:
        """The guesses beyond the limit count too, so no burst of threads follows the end of each older attempt."""
        together = threading.Barrier(THREADS)
        at_once(*[body_of(lambda: barrier_wait(together), wrong=True) for _ in range(THREADS)])
        Attempt.objects.filter(pk__in=list(Attempt.objects.values_list("pk", flat=True)[: THREADS - LIMIT])).delete()
        assert body_of(lambda: None, wrong=True)() == "refused"

    def test_guesses_in_a_hurry(self) -> None:
        """Threads that guess as fast as they can, without waiting for each other."""
        checked: list[int] = []

        def many() -> list[str]:
            return [body_of(lambda: checked.append(1), wrong=True)() for _ in range(6)]

        answers = [answer for answers in at_once(*[many] * THREADS) for answer in answers]
        assert len(checked) <= LIMIT + THREADS - 1
        assert answers.count("wrong") <= LIMIT

    def test_a_rate_counts_before_it_is_judged(self) -> None:
        counter = AttemptCounter("test", timedelta(hours=1))
        limits = [AttemptLimit("address", LIMIT)]
        passed = at_once(*[lambda: counter.record_attempt(limits, timezone.now())] * THREADS)
        assert passed.count(True) <= LIMIT
        assert Attempt.objects.count() == passed.count(True), "a refused one is not counted"


def barrier_wait(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=PATIENCE)


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_see_each_other() -> None:
    for _ in range(MAX_FROM_ADDRESS - 2):
        unwrap(secret())
    answers = at_once(*[lambda: unwrap(secret()) for _ in range(8)])
    assert [answer.status_code for answer in answers].count(404) <= 2


class TestLimits:
    @pytest.mark.parametrize(
        ("counts", "reached"),
        [({}, False), ({"a": 1, "b": 9}, False), ({"a": 2}, True), ({"b": 3}, False), ({"c": 99}, False)],
    )
    def test_a_limit_is_reached(self, counts: dict[str, int], reached: bool) -> None:
        """`a` may have 2 attempts; `b` is counted and does not limit."""
        assert is_reached([AttemptLimit("a", 2), AttemptLimit("b", None)], counts) is reached

    def test_a_subject_is_cleared_with_all_its_attempts(self) -> None:
        counter, now = AttemptCounter("test", timedelta(minutes=1)), timezone.now()
        both, other = [AttemptLimit("a", 1), AttemptLimit("b", 1)], [AttemptLimit("b", 1)]
        assert not counter.record_wrong(both, now)
        assert counter.is_exhausted(other, now) and not AttemptCounter("other", counter.window).is_exhausted(other, now)
        counter.clear("a")
        assert not counter.is_exhausted(other, now)


@pytest.mark.django_db(transaction=True)
def test_without_the_table_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails closed: a limit that cannot be asked lets nobody try."""
    from django.db import OperationalError

    looked: list[str] = []
    monkeypatch.setattr("credentials.leases.issuance.unwrap", lambda handle, now: looked.append(handle))

    def out_of_reach(execute: Any, sql: str, *rest: Any) -> Any:
        if "foundation_attempt" in sql:
            raise OperationalError("out of reach")
        return execute(sql, *rest)

    with connection.execute_wrapper(out_of_reach):
        assert unwrap(secret()).status_code == 503
    assert looked == []
