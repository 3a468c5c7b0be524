"""Work owed: in its transaction, once, retried with growing pauses, given up at its deadline."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from foundation import outbox
from foundation.models import Work
from foundation.outbox import Abandon, Completed, Retry
from foundation.trace_context import continue_trace, current_traceparent

pytestmark = pytest.mark.django_db(transaction=True)


class Outside:
    """The other side: notes what reaches it, and answers as told."""

    def __init__(self) -> None:
        self.reached: list[Any] = []
        self.answers: list[Any] = []

    def __call__(self, payload: dict[str, Any], now: Any) -> Any:
        self.reached.append(payload)
        assert not connection.in_atomic_block, "no transaction is open while the outside is spoken to"
        answer = self.answers.pop(0) if self.answers else Completed()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    there = Outside()
    monkeypatch.setitem(outbox.HANDLERS, "test", there)
    monkeypatch.setattr(outbox, "NOTIFIERS", [])
    return there


def enqueue(**changed: Any) -> Work:
    now = timezone.now()
    with transaction.atomic():
        return outbox.enqueue("test", "thing:1", {"id": 1}, now, **{"deadline": now + timedelta(minutes=5), **changed})


def skip_pause(work: Work) -> None:
    Work.objects.filter(pk=work.pk).update(due_at=timezone.now() - timedelta(seconds=5))


def test_it_is_owed_with_its_transaction_or_not_at_all(outside: Outside) -> None:
    soon: list[UUID] = []
    outbox.NOTIFIERS.append(soon.append)
    with pytest.raises(RuntimeError, match="takes part in a transaction"):
        outbox.enqueue("test", "x", {}, timezone.now(), deadline=timezone.now())
    with transaction.atomic():
        outbox.enqueue("test", "x", {}, timezone.now(), deadline=timezone.now())
        transaction.set_rollback(True)
    assert not Work.objects.exists() and not soon
    work = enqueue()
    assert soon == [work.id], "asked for after the commit"


def test_a_failing_wake_up_reaches_nobody(outside: Outside, caplog: pytest.LogCaptureFixture) -> None:
    def fail(work_id: UUID) -> None:
        raise ConnectionError("no Redis")

    outbox.NOTIFIERS.append(fail)
    assert enqueue().state == "pending"
    assert "no Redis" in caplog.text


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("swept", [False, True])
def test_it_continues_the_trace_of_the_request_that_caused_it(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    seen: list[str | None] = []
    monkeypatch.setitem(outbox.HANDLERS, "test", lambda *_: seen.append(current_traceparent()) or Completed())
    with continue_trace(TRACE):
        traced = enqueue()
    for work in (traced, enqueue()):
        skip_pause(work)
        assert outbox.sweep(timezone.now(), 10) if swept else outbox.do(work.id)
    assert (*seen, current_traceparent()) == (TRACE, None, None)


def test_done_once_is_done(outside: Outside) -> None:
    work = enqueue()
    assert outbox.do(work.id) is True
    assert outbox.do(work.id) is False
    work.refresh_from_db()
    assert (work.state, work.attempts, len(outside.reached)) == ("done", 1, 1)
    assert work.finished_at is not None


def test_two_at_once_are_one(outside: Outside) -> None:
    for _ in range(20):
        work = enqueue()
        barrier = threading.Barrier(2)
        answers: list[bool] = []

        def act(work: Work = work, barrier: threading.Barrier = barrier, answers: list[bool] = answers) -> None:
            barrier.wait()
            answers.append(outbox.do(work.id))
            connection.close()

        threads = [threading.Thread(target=act) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False, True]
    assert len(outside.reached) == 20


def test_it_is_tried_again_with_growing_pauses(outside: Outside) -> None:
    outside.answers = [Retry("503"), Retry("503"), ConnectionError("broken"), Completed()]
    work = enqueue()
    for attempt, (least, max_length) in enumerate([(0.75, 1.25), (1.5, 2.5), (3.0, 5.0)], 1):
        before = timezone.now()
        assert outbox.do(work.id)
        assert not outbox.do(work.id), "not due yet"
        work.refresh_from_db()
        assert work.attempts == attempt and work.state == "pending"
        assert least <= (work.due_at - before).total_seconds() <= max_length + 0.5
        skip_pause(work)
    assert work.problem == "ConnectionError"
    assert outbox.do(work.id)
    work.refresh_from_db()
    assert (work.state, work.problem) == ("done", "")


def test_the_other_side_says_when_to_come_again(outside: Outside) -> None:
    outside.answers = [Retry("429", after=1000.0)]
    work = enqueue()
    outbox.do(work.id)
    work.refresh_from_db()
    assert work.state == "abandoned", "it would be too late by then"


def test_what_never_works_is_given_up(outside: Outside) -> None:
    outside.answers = [Abandon("410")]
    work, unknown = enqueue(), enqueue()
    Work.objects.filter(pk=unknown.pk).update(kind="nobody knows")
    for one in (work, unknown):
        outbox.do(one.id)
        one.refresh_from_db()
        assert one.state == "abandoned" and one.problem


def test_after_its_deadline_it_is_not_done(outside: Outside) -> None:
    work = enqueue(deadline=timezone.now() - timedelta(seconds=1))
    assert not outbox.do(work.id)
    assert outbox.clear(timezone.now(), 10) == 1
    work.refresh_from_db()
    assert work.state == "abandoned" and not outside.reached
    assert work.problem == "its deadline passed"


def test_withdrawn_it_is_not_done(outside: Outside) -> None:
    work, other = enqueue(), enqueue()
    Work.objects.filter(pk=other.pk).update(about="thing:2")
    with transaction.atomic():
        assert outbox.withdraw("thing:1", timezone.now()) == 1
    assert not outbox.do(work.id)
    assert outbox.do(other.id)


def test_a_success_that_was_recorded_meanwhile_stands(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first attempt that outlived its claim fails after a second one has succeeded."""

    def slow(payload: dict[str, Any], now: Any) -> Any:
        Work.objects.update(state="done", finished_at=now)
        return Retry("timeout")

    monkeypatch.setitem(outbox.HANDLERS, "test", slow)
    work = enqueue()
    outbox.do(work.id)
    work.refresh_from_db()
    assert work.state == "done"


def test_who_outlived_the_claim_does_not_speak_for_the_next(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure would set the second attempt, which is under way, free for a third beside it."""
    later = timezone.now() + timedelta(seconds=50)

    def slow(payload: dict[str, Any], now: Any) -> Any:
        Work.objects.update(claimed_until=later, attempts=2)
        return Retry("timeout")

    monkeypatch.setitem(outbox.HANDLERS, "test", slow)
    work = enqueue()
    outbox.do(work.id)
    work.refresh_from_db()
    assert (work.claimed_until, work.state) == (later, "pending")


class TestSweeping:
    def test_what_nobody_did_at_once(self, outside: Outside) -> None:
        works = [enqueue() for _ in range(5)]
        assert outbox.sweep(timezone.now(), 10) == 0, "Celery has a head start"
        for work in works:
            skip_pause(work)
        assert [outbox.sweep(timezone.now(), 3) for _ in range(3)] == [3, 2, 0]
        assert len(outside.reached) == 5

    def test_a_claim_that_was_never_recorded_ends(self, outside: Outside) -> None:
        """Whoever claimed it was killed."""
        work = enqueue()
        skip_pause(work)
        Work.objects.update(claimed_until=timezone.now() + timedelta(seconds=20))
        assert outbox.sweep(timezone.now(), 10) == 0
        Work.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        assert outbox.sweep(timezone.now(), 10) == 1

    def test_finished_work_is_kept_for_a_while(self, outside: Outside) -> None:
        work = enqueue()
        outbox.do(work.id)
        assert outbox.clear(timezone.now(), 10) == 0
        assert outbox.clear(timezone.now() + timedelta(days=8), 10) == 1
        assert not Work.objects.exists()

    def test_how_long_the_oldest_waits_shows(self, outside: Outside) -> None:
        assert outbox.oldest_overdue(timezone.now()) == 0
        skip_pause(enqueue())
        assert 5 <= outbox.oldest_overdue(timezone.now()) < 60
