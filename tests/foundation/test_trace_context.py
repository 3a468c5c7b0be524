"""traceparent (W3C Trace Context 3.2): a valid one is kept as it is, any other is as if absent."""

import threading

import pytest

from foundation.trace_context import MAX_TRACEPARENT, continue_trace, current_traceparent, parse_traceparent

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(VALID, id="sampled"),
        pytest.param(f"00-{TRACE_ID}-{PARENT_ID}-00", id="not sampled"),
        pytest.param(f"00-{TRACE_ID}-{PARENT_ID}-03", id="sampled, with a random trace id (Level 2)"),
        pytest.param(f"00-{'0' * 31}1-{'0' * 15}1-00", id="ids with a single digit"),
    ],
)
def test_a_valid_header_is_kept_as_it_is(header: str) -> None:
    assert parse_traceparent(header) == header and len(header) == MAX_TRACEPARENT


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param(f"ff-{TRACE_ID}-{PARENT_ID}-01", id="version ff"),
        pytest.param(f"0-{TRACE_ID}-{PARENT_ID}-01", id="short version"),
        pytest.param(f"0g-{TRACE_ID}-{PARENT_ID}-01", id="version that is no number"),
        pytest.param(f"00-{'0' * 32}-{PARENT_ID}-01", id="trace id of zeros"),
        pytest.param(f"00-{TRACE_ID}-{'0' * 16}-01", id="parent id of zeros"),
        pytest.param(VALID.upper(), id="upper case"),
        pytest.param(f"00-{TRACE_ID[:-1]}-{PARENT_ID}-01", id="short trace id"),
        pytest.param(f"00-{TRACE_ID}0-{PARENT_ID}-01", id="long trace id"),
        pytest.param(f"00-{TRACE_ID}-{PARENT_ID[:-1]}-01", id="short parent id"),
        pytest.param(f"00-{TRACE_ID}-{PARENT_ID}-1", id="short flags"),
        pytest.param(f"00-{TRACE_ID}-{PARENT_ID}", id="no flags"),
        pytest.param(f"{VALID}1", id="too long"),
        pytest.param(f"{VALID}-x", id="a fifth field in version 00"),
        pytest.param(f"{VALID}-", id="a dash at the end of version 00"),
        pytest.param(f"01-{TRACE_ID}-{PARENT_ID}-01x", id="a later version whose fourth field goes on"),
        pytest.param(f"{VALID},{VALID}", id="two headers"),
        pytest.param(f"{VALID}, {VALID}", id="two values in one header"),
        pytest.param(f" {VALID}", id="a space before"),
        pytest.param(f"{VALID}\n", id="a line feed after"),
        pytest.param(VALID.replace("-", "_"), id="other separators"),
        pytest.param(f"00-{'٣' * 32}-{PARENT_ID}-01", id="digits of another script"),
        pytest.param("x" * 100_000, id="junk"),
    ],
)
def test_everything_else_is_as_if_absent(header: str | None) -> None:
    assert parse_traceparent(header) is None


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        pytest.param(f"01-{TRACE_ID}-{PARENT_ID}-01", "01", id="the same fields"),
        pytest.param(f"cc-{TRACE_ID}-{PARENT_ID}-01-what-the-future-brings", "01", id="more fields"),
        pytest.param(f"01-{TRACE_ID}-{PARENT_ID}-fe", "00", id="flags that version 00 does not have"),
    ],
)
def test_a_later_version_becomes_version_00(header: str, flags: str) -> None:
    assert parse_traceparent(header) == f"00-{TRACE_ID}-{PARENT_ID}-{flags}"


def test_a_trace_ends_with_its_block_and_stays_in_its_thread() -> None:
    seen: list[str | None] = []
    with continue_trace(VALID):
        thread = threading.Thread(target=lambda: seen.append(current_traceparent()))
        thread.start()
        thread.join()
        with continue_trace(None):
            seen.append(current_traceparent())
        seen.append(current_traceparent())
    assert [*seen, current_traceparent()] == [None, None, VALID, None]
