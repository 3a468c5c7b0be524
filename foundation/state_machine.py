"""Which states a row may take, and the statement that changes a state. Pure: it knows rows by two methods only.

    REQUEST_STATES = StateMachine({State.PENDING: frozenset({State.APPROVED, State.DENIED})})
    won = REQUEST_STATES.move(BackchannelRequest.objects.filter(pk=pk), State.APPROVED, decided_at=now)

Only a lifecycle module calls `move` and `move_all`. A lint rule checks this.
"""

from collections.abc import Collection, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar


class Rows(Protocol):
    """What a state machine needs of a queryset."""

    def filter(self, *conditions: Any, **values: Any) -> Self: ...

    def update(self, **values: Any) -> int: ...


S = TypeVar("S")
R = TypeVar("R", bound=Rows)


class StateMachine(Generic[S]):
    """The table of allowed moves of one kind of row, in the column `field`.

    A state that is not a key of `transitions` is final.
    """

    def __init__(self, transitions: Mapping[S, frozenset[S]], field: str = "state") -> None:
        self.transitions, self.field = transitions, field

    @property
    def open_states(self) -> frozenset[S]:
        """The states that a row can still leave."""
        return frozenset(self.transitions)

    @property
    def final_states(self) -> frozenset[S]:
        return frozenset().union(*self.transitions.values()) - self.open_states

    def allows(self, source: S, target: S) -> bool:
        return target in self.transitions.get(source, ())

    def sources(self, target: S) -> list[S]:
        """The states that `target` may be entered from."""
        return [source for source, targets in self.transitions.items() if target in targets]

    def movable(self, rows: R, target: S, *, leaving: Collection[S] | None = None) -> R:
        """Those of `rows` that may move to `target`, or only those in the states `leaving`.

        Raises ValueError if the table does not allow one of these moves.
        """
        sources = self.sources(target) if leaving is None else list(leaving)
        for source in sources:
            if not self.allows(source, target):
                raise ValueError(f"nothing goes from {source} to {target}")
        return rows.filter(**{f"{self.field}__in": sources})

    def move_all(self, rows: Rows, target: S, *, leaving: Collection[S] | None = None, **values: Any) -> int:
        """Moves all movable rows by one conditional UPDATE, which also writes `values`. Returns how many moved."""
        return self.movable(rows, target, leaving=leaving).update(**{self.field: target}, **values)

    def move(self, row: Rows, target: S, *, leaving: Collection[S] | None = None, **values: Any) -> bool:
        """Like `move_all`, for a queryset of one row.

        Of concurrent callers PostgreSQL lets one win. False for every other, and if the state does not allow the move.
        """
        return bool(self.move_all(row, target, leaving=leaving, **values))
