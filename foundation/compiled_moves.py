"""The moves of a state machine as compiled statements."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet

from foundation.compiled_queries import CompiledUpdate, Parameter
from foundation.state_machine import StateMachine

S = TypeVar("S")


class CompiledMoves(Generic[S]):
    """`StateMachine.move_all` of the rows that `build` selects.

    There is one statement for each target, states that are left, and set of written columns.
    """

    def __init__(self, machine: StateMachine[S], build: "Callable[[], QuerySet[Any, Any]]") -> None:
        self._machine, self._build = machine, build
        self._statements: dict[Any, CompiledUpdate] = {}

    def move(self, given: Mapping[str, Any], target: S, *, leaving: Collection[S] | None = None, **values: Any) -> int:
        """Moves the rows that `given`, the parameters of `build`, select. Returns how many moved."""
        key = (target, None if leaving is None else tuple(leaving), *values)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = self._compile(target, leaving, values)
        return statement(**given, **{f"new_{name}": value for name, value in values.items()})

    def _compile(self, target: S, leaving: Collection[S] | None, columns: Collection[str]) -> CompiledUpdate:
        written = {self._machine.field: target, **{name: Parameter(f"new_{name}") for name in columns}}
        return CompiledUpdate(lambda: self._machine.movable(self._build(), target, leaving=leaving), **written)
