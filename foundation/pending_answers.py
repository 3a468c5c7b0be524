"""Answers that the HTTP front (web) delays or repeats. A view returns such an answer.

A `Wait` delays one answer: the front calls the view again when the watched topic has changed, and
the view continues from its saved state. A `Stream` stays open and sends "look again". A `Pause`
delays a finished answer until a given time. None of them holds a thread or a database connection.
A `Repeat` may be sent again, without the view, for a short time.
Behind another server `can_wait` is False, and the view answers at once.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponse

from foundation.errors import ProtocolError

# Keys of the WSGI environment. Only the front can set them, because the name of a request header
# begins with HTTP_.
FRONT = "countersign.front"
RESUMED = "countersign.resumed"
STREAM_RETRY_AFTER_S = 30  # seconds, for a client whose stream cannot be opened

# Kind of topic → a function that reads the current revisions of many keys at once and leaves out
# missing keys. authserver/wiring.py fills it.
Reader = Callable[[Sequence[str]], Mapping[str, Hashable]]
READERS: dict[str, Reader] = {}


@dataclass(frozen=True, slots=True)
class Watch:
    """A topic (`kind:key`) and its last known revision. A different revision means that the topic has changed."""

    topic: str
    revision: Hashable


def read_revisions(topics: Sequence[str]) -> dict[str, Hashable]:
    """The current revisions, with one query per kind. A missing topic has None."""
    keys: dict[str, list[str]] = {}
    for topic in topics:
        kind, _, key = topic.partition(":")
        keys.setdefault(kind, []).append(key)
    found = {kind: READERS[kind](of_kind) for kind, of_kind in keys.items()}
    return {f"{kind}:{key}": found[kind].get(key) for kind, of_kind in keys.items() for key in of_kind}


def watch(*topics: str) -> list[Watch]:
    """Watches of these topics at their current revisions."""
    return [Watch(topic, revision) for topic, revision in read_revisions(topics).items()]


@dataclass(frozen=True, slots=True)
class Wait:
    """Delays the answer for at most `seconds`; the view is called again when `watch` has changed.

    That call receives `state`. `over` is called once, in a thread, when the wait has ended: before
    the answer is sent, or after the client has disconnected.
    """

    watch: Watch
    seconds: float
    state: Any
    over: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Stream:
    """Keeps the answer open. Sends an event for every change of `watch` and ends when one of `ends` changes.

    `holder` names the party whose limit of open streams counts this one.
    """

    watch: Watch
    ends: list[Watch] = field(default_factory=list)
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Delays a finished answer until `until` (time.monotonic())."""

    until: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """A public document. Every GET of its path without a query may get the same answer for `seconds`.

    The front calls `count` for each. The answer may depend only on the path and X-Forwarded-Proto.
    """

    seconds: float
    count: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resumed:
    """Passed to a view that is called again: its saved state, and whether this is the last call."""

    state: Any
    is_last: bool


class TooManyStreams(ProtocolError):
    """The user has too many open event streams (RFC 6585 4)."""

    code = "slow_down"
    status = 429
    default_description = "this user has too many open streams; fetch the prompts instead"
    default_retry_after = STREAM_RETRY_AFTER_S
    advice = "Close streams that you do not need, or fetch /v1/prompts instead."


def can_wait(request: HttpRequest) -> bool:
    return FRONT in request.META


def resumed(request: HttpRequest) -> Resumed | None:
    found = request.META.get(RESUMED)
    return found if isinstance(found, Resumed) else None


def park(response: HttpResponse, how: Wait | Stream | Pause) -> HttpResponse:
    response.parked = how  # type: ignore[attr-defined]  # Django's response class declares no such attribute
    return response


def repeat(response: HttpResponse, how: Repeat) -> HttpResponse:
    response.repeat = how  # type: ignore[attr-defined]  # Django's response class declares no such attribute
    return response


def repeatable(answer: object) -> Repeat | None:
    """For how long the front may repeat this answer of the WSGI application, or None."""
    return getattr(answer, "repeat", None)


def parked(answer: object) -> Wait | Stream | Pause | None:
    """How the front must delay this answer of the WSGI application, or None."""
    return getattr(answer, "parked", None)
