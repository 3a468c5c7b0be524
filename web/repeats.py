"""Answers that the event loop sends again, without a thread and without Django: public documents."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from foundation.pending_answers import Repeat
from web.exchange import Message, Scope, WsgiAnswer, messages_of

MAX_ANSWERS = 32  # a client chooses part of the key, and how it encodes the path
_SCHEME_HEADERS = (b"x-forwarded-proto", b"forwarded")


@dataclass(frozen=True, slots=True)
class _StoredAnswer:
    messages: tuple[Message, Message]
    count: Callable[[], None]
    until: float  # time.monotonic()


class Repeats:
    def __init__(self) -> None:
        self._answers: dict[tuple[bytes, ...], _StoredAnswer] = {}
        self._paths: set[bytes] = set()

    def find(self, scope: Scope) -> tuple[Message, Message] | None:
        """The messages of an answer to this request that is still good."""
        if scope["raw_path"] not in self._paths or not _is_repeatable(scope):
            return None
        stored = self._answers.get(_key(scope))
        if stored is None or stored.until <= time.monotonic():
            return None
        stored.count()
        return stored.messages

    def keep(self, scope: Scope, answer: WsgiAnswer, repeat: Repeat) -> None:
        """Called in any thread."""
        if not _is_repeatable(scope):
            return
        if len(self._answers) >= MAX_ANSWERS:
            self._answers, self._paths = {}, set()
        self._answers[_key(scope)] = _StoredAnswer(messages_of(answer), repeat.count, time.monotonic() + repeat.seconds)
        self._paths.add(scope["raw_path"])


def _is_repeatable(scope: Scope) -> bool:
    return scope["method"] == "GET" and not scope["query_string"]


def _key(scope: Scope) -> tuple[bytes, ...]:
    """Strict-Transport-Security depends on the scheme, which a proxy says."""
    return (scope["raw_path"], *[value for name, value in scope["headers"] if name in _SCHEME_HEADERS])
