"""Acts at the same moment, in real threads, each on a connection of its own."""

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from tests.patience import PATIENCE
from tests.support.budget import rounds

ROUNDS = rounds(100, 2000)


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each act answered, all started at the same moment in threads of their own."""
    barrier = threading.Barrier(len(acts))
    answers: list[Any] = [None] * len(acts)
    raised: list[Exception] = []  # an answer may be an exception too: refusals are returned

    def run(index: int, act: Callable[[], Any]) -> None:
        try:
            barrier.wait(timeout=PATIENCE)
            answers[index] = act()
        except Exception as error:  # noqa: BLE001 - handed to the test, which fails on it
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index, act)) for index, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    for error in raised:
        raise error
    return answers


class Duel:
    """Two acts, round after round, where either may be first; a race that only one side can win races nothing.

    The two have not equally far to go, and how far depends on the machine. So whoever wins again and again starts
    later, by twice as much each time, until the other wins once: from there on both are close.
    """

    FIRST_STEP, MAX_STEP = 0.0002, 0.02  # seconds

    def __init__(self) -> None:
        self.pause = 0.0  # seconds that the second act waits; below 0 the first one does
        self.step = self.FIRST_STEP
        self.wins = {True: 0, False: 0}  # by whether the first act won
        self.last: bool | None = None

    def fight(self, first: Callable[[], Any], second: Callable[[], Any]) -> list[Any]:
        return at_once(_after(-self.pause, first), _after(self.pause, second))

    def note(self, *, first_won: bool) -> None:
        self.wins[first_won] += 1
        self.step = min(self.step * 2, self.MAX_STEP) if first_won is self.last else self.FIRST_STEP
        self.last = first_won
        self.pause += -self.step if first_won else self.step

    def assert_both_won(self) -> None:
        assert all(self.wins.values()), f"only one side ever won: {self.wins}; this raced nothing"


def _after(pause: float, act: Callable[[], Any]) -> Callable[[], Any]:
    def late() -> Any:
        time.sleep(max(0.0, pause))
        return act()

    return late
