"""One thread reads, the others go on with what there is; and nothing is used for longer than it may be."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from foundation import process_cache
from foundation.process_cache import MAX_AGE_S, RENEW_AFTER_S, ProcessCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 16


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(process_cache, "time", clock)
    return clock


class Source:
    """Counts its readings, which wait while `gate` is closed."""

    def __init__(self) -> None:
        self.value, self.readings, self.previous = "first", 0, None
        self.error: Exception | None = None
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, _now: datetime, previous: str | None) -> str:
        self.readings += 1
        value, self.previous = self.value, previous  # type: ignore[assignment]
        self.begun.set()
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> ProcessCache[str]:
    return ProcessCache(source)


def at_once(cache: ProcessCache[str], source: Source) -> list[Callable[[], str]]:
    """What each of many threads gets that ask while the source is slow."""
    source.gate.clear()
    together = threading.Barrier(MANY)

    def get() -> str:
        together.wait(10)
        return cache.get(NOW)

    with ThreadPoolExecutor(MANY) as pool:
        calls = [pool.submit(get) for _ in range(MANY)]
        until = time.monotonic() + 0.5
        while sum(call.done() for call in calls) < MANY - 1 and time.monotonic() < until:
            time.sleep(0.01)
        source.gate.set()
    return [call.result for call in calls]


def test_it_is_read_once_a_period(cache: ProcessCache[str], source: Source, clock: Clock) -> None:
    assert [cache.get(NOW) for _ in range(3)] == ["first"] * 3
    source.value = "second"
    clock.at += RENEW_AFTER_S - 0.1
    assert cache.get(NOW) == "first" and source.readings == 1
    clock.at += 0.1
    assert cache.get(NOW) == "second" and source.readings == 2
    assert source.previous == "first"


def test_many_threads_cause_one_reading(cache: ProcessCache[str], source: Source) -> None:
    assert [call() for call in at_once(cache, source)] == ["first"] * MANY
    assert source.readings == 1


def test_the_others_go_on_while_one_thread_reads(cache: ProcessCache[str], source: Source, clock: Clock) -> None:
    cache.get(NOW)
    source.value = "second"
    clock.at += RENEW_AFTER_S
    results = sorted(call() for call in at_once(cache, source))
    assert results == ["first"] * (MANY - 1) + ["second"] and source.readings == 2


def test_but_not_with_a_value_that_is_too_old(cache: ProcessCache[str], source: Source, clock: Clock) -> None:
    cache.get(NOW)
    source.value = "second"
    clock.at += MAX_AGE_S
    assert [call() for call in at_once(cache, source)] == ["second"] * MANY
    assert source.readings == 2


def test_an_error_goes_to_everyone_who_waits_and_is_not_stored(
    cache: ProcessCache[str], source: Source, clock: Clock
) -> None:
    cache.get(NOW)
    clock.at += MAX_AGE_S
    source.error = OSError("no database")
    for call in at_once(cache, source):
        with pytest.raises(OSError, match="no database"):
            call()
    assert source.readings == 2
    source.error = None
    assert cache.get(NOW) == "first" and source.readings == 3


def test_before_that_an_error_goes_to_the_one_who_reads(cache: ProcessCache[str], source: Source, clock: Clock) -> None:
    cache.get(NOW)
    clock.at += RENEW_AFTER_S
    source.error = OSError("no database")
    calls = at_once(cache, source)
    failed = 0
    for call in calls:
        try:
            assert call() == "first"
        except OSError:
            failed += 1
    assert failed == 1 and source.readings == 2


def test_the_age_counts_from_the_start_of_the_reading(cache: ProcessCache[str], source: Source, clock: Clock) -> None:
    source.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, NOW)
        assert source.begun.wait(10)
        clock.at += RENEW_AFTER_S
        source.gate.set()
        assert slow.result() == "first"
    cache.get(NOW)
    assert source.readings == 2


def test_after_clearing_nothing_older_is_used(cache: ProcessCache[str], source: Source) -> None:
    """Not even a reading that began before the change and ends after it."""
    source.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(cache.get, NOW)
        assert source.begun.wait(10)
        source.value = "second"
        cache.clear()
        source.begun.clear()
        after = pool.submit(cache.get, NOW)
        assert source.begun.wait(10)
        source.gate.set()
        assert (before.result(), after.result()) == ("first", "second")
    assert cache.get(NOW) == "second" and source.readings == 2
    cache.clear()
    assert cache.get(NOW) == "second" and source.readings == 3 and source.previous == "second"
