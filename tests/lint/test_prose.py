"""Our own rule for Markdown: prose has at most 100 columns."""

import pytest

from lint.prose import check_prose

LONG = "word " * 20 + "end."  # 104 characters


def test_a_long_line_of_prose_is_refused() -> None:
    (problem,) = check_prose("docs/x.md", f"Short.\n\n{LONG}\n")
    assert (problem.path, problem.line) == ("docs/x.md", 3)
    assert "break prose at 100" in problem.text


@pytest.mark.parametrize("start", ["- ", "# ", "> ", "1. "])
def test_lists_headings_and_quotations_are_prose(start: str) -> None:
    assert len(list(check_prose("docs/x.md", start + LONG))) == 1


@pytest.mark.parametrize(
    "text",
    ["x" * 100, f"| {LONG} | {LONG} |", f"```sh\n{LONG}\n```", f'<img alt="{LONG}">',
     f"See [operations](docs/operations.md#{'x' * 100})."],
    ids=["exactly 100", "a table", "a code block", "HTML", "the target of a link"],
)  # fmt: skip
def test_what_cannot_be_broken_passes(text: str) -> None:
    assert list(check_prose("docs/x.md", text)) == []


def test_prose_after_a_code_block_is_checked() -> None:
    assert len(list(check_prose("docs/x.md", f"```\n{LONG}\n```\n{LONG}"))) == 1
