"""Calls to a system are bounded in time, by one thread for all."""

import threading
import time

import pytest

from credentials.engines import time_limits
from credentials.engines.time_limits import close_after
from tests.patience import PATIENCE, until


def test_one_that_takes_too_long_is_cut_off_once() -> None:
    cut = threading.Event()
    began = time.monotonic()
    with close_after(0.3, cut.set) as call:
        assert cut.wait(PATIENCE) and call.is_late
    assert time.monotonic() - began >= 0.3


def test_one_that_ends_in_time_is_not() -> None:
    cut = threading.Event()
    with close_after(0.3, cut.set) as call:
        pass
    assert not cut.wait(1) and not call.is_late


def test_a_call_beside_one_that_hangs_continues() -> None:
    late, other = threading.Event(), threading.Event()
    with close_after(2 * PATIENCE, other.set):
        with close_after(0.1, late.set):
            assert late.wait(PATIENCE)
        assert not other.is_set()


def test_one_that_cannot_be_cut_off_leaves_the_others_watched(caplog: pytest.LogCaptureFixture) -> None:
    cut = threading.Event()

    def fail() -> None:
        raise ValueError

    with close_after(0.6, cut.set), close_after(0.1, fail) as call:
        assert cut.wait(PATIENCE) and call.is_late
    assert "could not be stopped" in caplog.text


def test_one_thread_watches_over_all_and_ends_with_the_last() -> None:
    for _ in range(20):
        with close_after(5, lambda: None), close_after(5, lambda: None):
            pass
    assert len([thread for thread in threading.enumerate() if thread.name == "cutting off"]) <= 1
    until(lambda: time_limits._watcher is None)
