"""Risk of an operation, and the assurance of an answer. Pure."""

from enum import StrEnum
from typing import assert_never


class Risk(StrEnum):
    ROUTINE = "routine"
    SENSITIVE = "sensitive"
    CRITICAL = "critical"


class Assurance(StrEnum):
    """How sure we are that the person answered: signed in lately, number matched, passkey used for this."""

    SESSION = "session"
    NUMBER = "number"
    PASSKEY = "passkey"


def may_run_unasked(risk: Risk) -> bool:
    """Only routine work runs without asking; sensitive and critical only ever through an approval."""
    match risk:
        case Risk.ROUTINE:
            return True
        case Risk.SENSITIVE | Risk.CRITICAL:
            return False
        case _:
            assert_never(risk)


# What this server can ask of a person today; a type that demands more is refused, never weakened.
AVAILABLE = frozenset({Assurance.SESSION})


def can_give(assurance: Assurance) -> bool:
    return assurance in AVAILABLE
