"""Long polls: the token endpoint holds its answer if the client prefers to wait (RFC 7240 4.3).

A grant type raises `AnswerPending` if its answer may change soon, and names the topic to watch. The endpoint parks the
response together with the results of its checks, so that the client need not repeat an assertion or a proof, which
work once.
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
# The wait ends a little after the request's own end, so that the last look sees the final state.
WAIT_MARGIN = timedelta(milliseconds=50)

_WAIT = re.compile(r'^wait[ \t]*=[ \t]*"?([0-9]{1,6})"?[ \t]*(?:;|$)', re.IGNORECASE)


def preferred_wait(header: str) -> int:
    """The seconds of `wait` in a Prefer header, or 0. The first `wait` counts (RFC 7240 2). Pure."""
    for preference in header.split(","):
        if found := _WAIT.match(preference.strip()):
            return int(found[1])
    return 0


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """Until when an answer may be held, and the topic to watch. `begin` gets the latest end of the wait."""

    watch: Watch
    until: datetime
    begin: Callable[[datetime], None]
    end: Callable[[], None]


class AnswerPending(ProtocolError):
    """An answer that a user's decision will change. With `pending`, the client may wait for the change."""

    pending: PendingAnswer | None = None


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """The state of a held request, which the front returns when it resumes the request."""

    attempt: Any
    applied: str  # Preference-Applied


def hold_response(request: HttpRequest, answer: AnswerPending, attempt: Any, now: datetime) -> HttpResponse | None:
    """The present answer, parked; None if the client or the server does not wait."""
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
    """The same answer, parked again; None if it can no longer be held."""
    if answer.pending is None:
        return None
    return park(error_response(answer, request), Wait(answer.pending.watch, 0, held_request, answer.pending.end))
