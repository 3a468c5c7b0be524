"""A limit on attempts. Pure: counts in, verdict out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AttemptLimit:
    """At most `max_attempts` within the window, of all attempts that share `subject`.

    `subject` names what is counted, for example `address 192.0.2.1`. With None the attempt is
    counted for the subject, but the subject does not refuse it.
    """

    subject: str
    max_attempts: int | None


def is_reached(limits: Iterable[AttemptLimit], counts: Mapping[str, int]) -> bool:
    """Whether one of the limits refuses another attempt. `counts`: the earlier attempts by subject."""
    return any(one.max_attempts is not None and counts.get(one.subject, 0) >= one.max_attempts for one in limits)
