"""The rule for prose in Markdown: a line has at most 100 characters, so that a change of one sentence is one line."""

import re
from collections.abc import Iterator

from lint.rules import Problem

MAX_WIDTH = 100
_LINK_TARGET = re.compile(r"\]\([^)]*\)")


def check_prose(path: str, text: str) -> Iterator[Problem]:
    """Tables, code blocks and HTML have their own lines. The target of a link does not count."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.lstrip().startswith(("|", "<")):
            width = len(_LINK_TARGET.sub("]", line))
            if width > MAX_WIDTH:
                yield Problem(path, number, f"{width} characters: break prose at {MAX_WIDTH}")
