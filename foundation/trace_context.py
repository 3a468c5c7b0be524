"""The trace of the current request or work (W3C Trace Context), so that audit events name it.

The caller chooses a trace and may repeat or invent it. It correlates records and proves nothing.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01
MAX_TRACEPARENT = 55  # characters in version 00, which is the only version that we store

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def parse_traceparent(unverified: str | None) -> str | None:
    """The header's value in version 00, or None if the value is absent or invalid.

    Two headers arrive as one value with a comma and are invalid (Trace Context 3.2). Of a later version we read the
    four fields that we know (3.2.4), and of its flags only `sampled`.
    """
    match = _TRACEPARENT.fullmatch(unverified or "")
    if match is None:
        return None
    version, trace_id, parent_id, flags, later_fields = match.groups()
    if version == "ff" or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    if version != "00":
        flags = f"{int(flags, 16) & _SAMPLED:02x}"
    elif later_fields is not None:
        return None
    return f"00-{trace_id}-{parent_id}-{flags}"


def current_traceparent() -> str | None:
    return _current.get()


@contextmanager
def continue_trace(traceparent: str | None) -> Iterator[None]:
    """Everything inside belongs to this trace, or to none. A thread that is used again does not keep it."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)
