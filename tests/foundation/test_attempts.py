"""Whoever guesses a secret that opens something by itself is stopped: by address and by the secret's beginning."""

import secrets
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
from foundation.attempts import MAX_FOR_BEGINNING, MAX_FROM_ADDRESS, WINDOW
from foundation.models import Attempt
from tests.clients.test_registering import body, manage, register
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
        Attempt.objects.update(at=timezone.now() - WINDOW - timedelta(seconds=1))
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
        assert not Attempt.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_see_each_other() -> None:
    for _ in range(MAX_FROM_ADDRESS - 2):
        unwrap(secret())
    answers = at_once(*[lambda: unwrap(secret()) for _ in range(8)])
    assert [answer.status_code for answer in answers].count(404) <= 2


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
