"""The risk of an operation, and the assurance of an answer. Pure."""

from enum import StrEnum
from typing import assert_never


class Risk(StrEnum):
    ROUTINE = "routine"
    SENSITIVE = "sensitive"
    CRITICAL = "critical"


class Assurance(StrEnum):
    """How surely the approver is known: signed in recently, number matched, or passkey used for this request."""

    SESSION = "session"
    NUMBER = "number"
    PASSKEY = "passkey"


def may_run_unasked(risk: Risk) -> bool:
    """Only routine work runs without asking anyone. Sensitive and critical work always needs an approval."""
    match risk:
        case Risk.ROUTINE:
            return True
        case Risk.SENSITIVE | Risk.CRITICAL:
            return False
        case _:
            assert_never(risk)


# The assurances that this server supports today. A type that requires another one is refused and
# never weakened.
AVAILABLE = frozenset({Assurance.SESSION})


def is_supported(assurance: Assurance) -> bool:
    return assurance in AVAILABLE
