"""A compiled move is the move of its state machine."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from foundation.compiled_moves import CompiledMoves
from foundation.compiled_queries import Parameter
from foundation.handles import new_id
from foundation.models import Work
from foundation.outbox import WORK_STATES

pytestmark = pytest.mark.django_db(transaction=True)

MOVES = CompiledMoves(WORK_STATES, lambda: Work.objects.filter(about=Parameter("about"), due_at__lte=Parameter("now")))


@pytest.fixture
def work() -> Work:
    now = timezone.now()
    return Work.objects.create(
        kind="k", about="this", payload={}, created_at=now, due_at=now, deadline_at=now + timedelta(hours=1)
    )


def move(target: Any, about: str = "this", **others: Any) -> int:
    return MOVES.move({"about": about, "now": timezone.now()}, target, **others)


def test_a_row_moves_once_and_takes_the_values(work: Work) -> None:
    other = Work.objects.get(pk=work.pk)
    other.id, other.about = new_id(), "other"
    other.save(force_insert=True)
    assert move(Work.State.DONE, problem="none", finished_at=work.created_at) == 1
    assert move(Work.State.DONE, problem="again", finished_at=None) == 0
    assert move(Work.State.WITHDRAWN) == 0
    work.refresh_from_db()
    assert (work.state, work.problem, work.finished_at) == (Work.State.DONE, "none", work.created_at)
    other.refresh_from_db()
    assert other.state == Work.State.PENDING


def test_only_what_is_in_the_states_that_are_left(work: Work) -> None:
    assert move(Work.State.DONE, leaving=[Work.State.PENDING]) == 1
    with pytest.raises(ValueError, match="nothing goes from"):
        move(Work.State.PENDING, leaving=[Work.State.DONE])


def test_the_conditions_of_the_rows_are_kept(work: Work) -> None:
    Work.objects.update(due_at=timezone.now() + timedelta(minutes=1))
    assert move(Work.State.DONE) == 0
