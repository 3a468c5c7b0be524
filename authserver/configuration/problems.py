"""The problems of a configuration file: where each is, and what is wrong. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The keys and list positions that lead to a value.
Place = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_$-]+")


@dataclass(frozen=True)
class Problem:
    line: int  # 1 for the first; 0: the file as a whole
    place: Place
    text: str

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line else []
        where += [spell(self.place)] if self.place else []
        return ": ".join([", ".join(where), printable(self.text)] if where else [printable(self.text)])


class WrongFile(Exception):
    """The file cannot be applied. Nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda one: (one.line, spell(one.place), one.text))
        super().__init__("\n".join(map(str, self.problems)))


def spell(place: Place) -> str:
    """Such as `operation_types[2].schema.properties["a b"]`."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part}" if _PLAIN_KEY.fullmatch(part) else f'["{printable(part)}"]'
        for part in place
    ]
    return "".join(parts).removeprefix(".")


def printable(text: str) -> str:
    """The text without characters that a terminal or a log would act on."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)
