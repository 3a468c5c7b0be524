"""May this use be spent? Pure: facts in, verdict out."""

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True)
class UseFacts:
    grant_is_alive: bool
    granted_digest: str
    called_digest: str
    uses_left: int | None  # None: not counted
    is_repeat: bool  # the same Idempotency-Key was answered before


class UseVerdict(Enum):
    SPEND = auto()
    REPEAT = auto()  # the first answer is returned again; no use is spent
    DEAD = auto()
    MISMATCH = auto()
    USED_UP = auto()


def judge_use(facts: UseFacts) -> UseVerdict:
    """Checks in this order: grant alive, same operation, repeated key, uses left.

    The caller has checked the owner.
    """
    if not facts.grant_is_alive:
        return UseVerdict.DEAD
    if facts.called_digest != facts.granted_digest:
        return UseVerdict.MISMATCH
    if facts.is_repeat:
        return UseVerdict.REPEAT
    if facts.uses_left == 0:
        return UseVerdict.USED_UP
    return UseVerdict.SPEND
