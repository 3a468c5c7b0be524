"""Answers that the event loop sends again, without a thread and without Django: public documents."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from foundation.pending_answers import Repeat
from web.exchange import Message, Scope, WsgiAnswer, messages_of

MAX_ANSWERS = 32  # a client chooses part of the key
_SCHEME_HEADERS = (b"x-forwarded-proto", b"forwarded")


@dataclass(frozen=True, slots=True)
class _Kept:
    messages: tuple[Message, Message]
    count: Callable[[], None]
    until: float  # time.monotonic()


class Repeats:
    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, ...], _Kept] = {}
        self._paths: set[bytes] = set()

    def find(self, scope: Scope) -> tuple[Message, Message] | None:
        """The messages of an answer to this request that is still good."""
        if scope["raw_path"] not in self._paths or not _is_repeatable(scope):
            return None
        kept = self._kept.get(_key(scope))
        if kept is None or kept.until <= time.monotonic():
            return None
        kept.count()
        return kept.messages

    def keep(self, scope: Scope, answer: WsgiAnswer, repeat: Repeat) -> None:
        """Called in any thread."""
        if not _is_repeatable(scope):
            return
        if len(self._kept) >= MAX_ANSWERS:
            self._kept = {}
        self._kept[_key(scope)] = _Kept(messages_of(answer), repeat.count, time.monotonic() + repeat.seconds)
        self._paths.add(scope["raw_path"])


def _is_repeatable(scope: Scope) -> bool:
    return scope["method"] == "GET" and not scope["query_string"]


def _key(scope: Scope) -> tuple[bytes, ...]:
    """Strict-Transport-Security depends on the scheme, which a proxy says."""
    return (scope["raw_path"], *[value for name, value in scope["headers"] if name in _SCHEME_HEADERS])
