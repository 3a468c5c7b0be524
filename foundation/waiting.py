"""Answers that may be waited for. A view says so; the front that serves it (authserver/front) does the waiting.

A `Wait` holds one answer back: the view is asked again when what it watches has changed, and goes on from
where it was. A `Stream` stays open and says "look again". A `Pause` only keeps an answer until its time. None of
them holds a thread or a database connection.
Behind a server without that front, `can_wait` is false and an answer is given at once.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponse

# In the WSGI environment: put there by the front, and by nobody else (a header's name begins with HTTP_).
FRONT = "countersign.front"
RESUMED = "countersign.resumed"

# Kind of topic → reads the present revision of many keys at once; a key that is gone is left out.
# Filled by authserver/wiring.py.
Reader = Callable[[Sequence[str]], Mapping[str, Hashable]]
READERS: dict[str, Reader] = {}


@dataclass(frozen=True, slots=True)
class Watch:
    """A topic (`kind:key`), and its revision as it was last looked at: another one means that it has changed."""

    topic: str
    revision: Hashable


def read_revisions(topics: Sequence[str]) -> dict[str, Hashable]:
    """The present revisions: one query per kind. A topic that is gone has None."""
    keys: dict[str, list[str]] = {}
    for topic in topics:
        kind, _, key = topic.partition(":")
        keys.setdefault(kind, []).append(key)
    found = {kind: READERS[kind](of_kind) for kind, of_kind in keys.items()}
    return {f"{kind}:{key}": found[kind].get(key) for kind, of_kind in keys.items() for key in of_kind}


def watch(*topics: str) -> list[Watch]:
    """Watches of these topics as they are now."""
    return [Watch(topic, revision) for topic, revision in read_revisions(topics).items()]


@dataclass(frozen=True, slots=True)
class Wait:
    """The answer is held back for at most `seconds`, and asked for again when `watch` has changed.

    `state` comes back to the view then. `over` is called once, in a thread, when the waiting has ended:
    before the answer is sent, or because the client has gone.
    """

    watch: Watch
    seconds: float
    state: Any
    over: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Stream:
    """The answer stays open. Every change of `watch` is told; one of `ends` ends it. `holder`: whose place it takes."""

    watch: Watch
    ends: list[Watch] = field(default_factory=list)
    holder: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """The answer is good, and is not sent before `until` (time.monotonic())."""

    until: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """A view that is asked again: what it kept, and whether this is the last time."""

    state: Any
    is_last: bool


def can_wait(request: HttpRequest) -> bool:
    return FRONT in request.META


def resumed(request: HttpRequest) -> Resumed | None:
    found = request.META.get(RESUMED)
    return found if isinstance(found, Resumed) else None


def park(response: HttpResponse, how: Wait | Stream | Pause) -> HttpResponse:
    response.parked = how  # type: ignore[attr-defined]  # Django's response has no place for it
    return response


def parked(answer: object) -> Wait | Stream | Pause | None:
    """How this answer of the WSGI application may be waited for, if at all."""
    return getattr(answer, "parked", None)
