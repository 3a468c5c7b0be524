"""The table of allowed moves, and the conditional UPDATE made of it. Pure: no database."""

from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from foundation.state_machine import StateMachine

MACHINE = StateMachine({"draft": frozenset({"open", "gone"}), "open": frozenset({"done", "gone"})})


@dataclass
class Row:
    """Stands for a queryset of one row: `filter` compares the state, `update` writes."""

    state: str
    written: dict[str, Any] = field(default_factory=dict)
    is_selected: bool = True

    def filter(self, *conditions: Any, **values: Any) -> Self:
        self.is_selected = self.is_selected and self.state in values["state__in"]
        return self

    def update(self, **values: Any) -> int:
        if self.is_selected:
            self.written |= values
        return int(self.is_selected)


@pytest.mark.parametrize(
    ("state", "target", "moves"),
    [
        ("draft", "open", True),
        ("draft", "done", False),
        ("open", "done", True),
        ("open", "open", False),
        ("done", "gone", False),
        ("gone", "draft", False),
    ],
)
def test_a_row_moves_where_the_table_allows_it(state: str, target: str, moves: bool) -> None:
    row = Row(state)
    assert MACHINE.move(row, target, at=1) is moves
    assert row.written == ({"state": target, "at": 1} if moves else {})
    assert MACHINE.allows(state, target) is moves


def test_a_caller_may_narrow_the_states_that_are_left() -> None:
    assert not MACHINE.move(Row("draft"), "gone", leaving=["open"])
    assert MACHINE.move(Row("open"), "gone", leaving=["open"])


def test_no_states_to_leave_are_not_all_of_them() -> None:
    """A caller may have computed them."""
    row = Row("open")
    assert not MACHINE.move(row, "gone", leaving=[]) and not row.written


def test_a_move_that_the_table_does_not_know_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="nothing goes from draft to done"):
        MACHINE.move(Row("draft"), "done", leaving=["draft"])


def test_states_without_a_way_out_are_final() -> None:
    assert MACHINE.final_states == {"done", "gone"}
    assert MACHINE.open_states == {"draft", "open"}
    assert sorted(MACHINE.sources("gone")) == ["draft", "open"]
