"""An answer of the token endpoint that is held back because its client prefers to wait (RFC 7240 4.3).

A grant says that an answer will be another one soon, and what to watch (`NotYet`); the endpoint parks it, with all that
was found out before the decision, so that what the client spent once (an assertion, a proof) is not asked for again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

from foundation.endpoint import error_response
from foundation.errors import ProtocolError
from foundation.waiting import Wait, Watch, can_wait, park

MOST = 30  # seconds: CIBA Core 10.1 suggests no more, and proxies give up after a minute
# A little later than the end of what is waited for, so that the last look sees it ended.
BEYOND = timedelta(milliseconds=50)

_WAIT = re.compile(r'^wait[ \t]*=[ \t]*"?([0-9]{1,6})"?[ \t]*(?:;|$)', re.IGNORECASE)


def preferred_wait(header: str) -> int:
    """The seconds that a Prefer header asks for; 0 where it asks for none. The first counts (RFC 7240 2). Pure."""
    for preference in header.split(","):
        if found := _WAIT.match(preference.strip()):
            return int(found[1])
    return 0


@dataclass(frozen=True, slots=True)
class Hold:
    """How long an answer may be held back, and what is to be watched. `begin` gets when it is over at the latest."""

    watch: Watch
    until: datetime
    begin: Callable[[datetime], None]
    end: Callable[[], None]


class NotYet(ProtocolError):
    """An answer that somebody's decision will change; with `hold`, it may be waited for."""

    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What comes back when a held answer is asked for again."""

    attempt: Any
    applied: str  # Preference-Applied


def hold_back(request: HttpRequest, answer: NotYet, attempt: Any, now: datetime) -> HttpResponse | None:
    """The answer now, to be held back; None where the client or the server does not wait."""
    hold, preferred = answer.hold, preferred_wait(request.headers.get("Prefer", ""))
    if hold is None or not preferred or not can_wait(request):
        return None
    seconds = min(preferred, MOST)
    over_at = min(now + timedelta(seconds=seconds), hold.until + BEYOND)
    hold.begin(over_at)
    state = Held(attempt, f"wait={seconds}")
    return park(error_response(answer, request), Wait(hold.watch, (over_at - now).total_seconds(), state, hold.end))


def hold_on(request: HttpRequest, answer: NotYet, held: Held) -> HttpResponse | None:
    """The same answer again: it goes on being held."""
    if answer.hold is None:
        return None
    return park(error_response(answer, request), Wait(answer.hold.watch, 0, held, answer.hold.end))
