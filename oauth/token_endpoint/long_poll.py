"""An answer of the token endpoint that is held back because its client prefers to wait (RFC 7240 4.3).

A grant type says that its answer may change soon, and which topic to watch (`AnswerPending`). The endpoint parks the
response together with everything that it has already checked, so that the client need not repeat what works once (an
assertion, a proof).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

from foundation.endpoint import error_response
from foundation.errors import ProtocolError
from foundation.pending_answers import Wait, Watch, can_wait, park

MAX_WAIT_S = 30  # seconds: CIBA Core 10.1 suggests no more, and proxies give up after a minute
# A little later than the end of what is waited for, so that the last look sees it ended.
WAIT_MARGIN = timedelta(milliseconds=50)

_WAIT = re.compile(r'^wait[ \t]*=[ \t]*"?([0-9]{1,6})"?[ \t]*(?:;|$)', re.IGNORECASE)


def preferred_wait(header: str) -> int:
    """The seconds that a Prefer header asks for; 0 where it asks for none. The first counts (RFC 7240 2). Pure."""
    for preference in header.split(","):
        if found := _WAIT.match(preference.strip()):
            return int(found[1])
    return 0


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """How long an answer may be held back, and what is to be watched. `begin` gets when it is over at the latest."""

    watch: Watch
    until: datetime
    begin: Callable[[datetime], None]
    end: Callable[[], None]


class AnswerPending(ProtocolError):
    """An answer that somebody's decision will change; with `pending`, it may be waited for."""

    pending: PendingAnswer | None = None


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """What comes back when a held answer is asked for again."""

    attempt: Any
    applied: str  # Preference-Applied


def hold_response(request: HttpRequest, answer: AnswerPending, attempt: Any, now: datetime) -> HttpResponse | None:
    """The answer now, to be held back; None where the client or the server does not wait."""
    pending, preferred = answer.pending, preferred_wait(request.headers.get("Prefer", ""))
    if pending is None or not preferred or not can_wait(request):
        return None
    seconds = min(preferred, MAX_WAIT_S)
    over_at = min(now + timedelta(seconds=seconds), pending.until + WAIT_MARGIN)
    pending.begin(over_at)
    state = HeldRequest(attempt, f"wait={seconds}")
    return park(
        error_response(answer, request), Wait(pending.watch, (over_at - now).total_seconds(), state, pending.end)
    )


def park_again(request: HttpRequest, answer: AnswerPending, held_request: HeldRequest) -> HttpResponse | None:
    """The same answer again: it goes on being held."""
    if answer.pending is None:
        return None
    return park(error_response(answer, request), Wait(answer.pending.watch, 0, held_request, answer.pending.end))
