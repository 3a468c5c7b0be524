"""Patterns of JSON Schemas: the syntax of ECMA-262 (JSON Schema Core 6.4), run by RE2 in linear time. Pure.

RE2 has no back-references and no look-around, because no engine with them is known to be linear.
This module translates the syntax that differs between the two languages. It refuses syntax that
ECMA-262 does not have, so that an agent that reads the schema at /v1/operation-types understands a
pattern as this server does.
"""

import functools
import re
from typing import Any

import re2

MAX_LENGTH = 200  # characters
_MAX_REPEAT = 1000  # RE2's own limit
# The maximum size in bytes of one compiled pattern with its caches. \p{L}{1,100} fits. RE2 runs
# more slowly if its caches do not fit.
_MAX_MEMORY = 2 * 1024 * 1024

# A surrogate pair, any other escape, a quantifier, the start of a group or of a class, or one
# character.
_PIECE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u\{[0-9a-fA-F]{1,6}\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\c[A-Za-z]|\\[pP]\{[^{}]*\}|\\0[0-9]|\\."
    r"|\{[0-9]+(?:,[0-9]*)?\}|\(\?(?:<?[=!]|:|<[A-Za-z_$][\w$]*>)?|\[\^?\]?|.",
    re.DOTALL,
)
_PROPERTY = re.compile(r"(\\[pP]\{)(?:Script|sc|General_Category|gc)=")
_SPACE = r"\t\n\x{b}\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_NO_SPACE = (
    r"\x{0}-\x{8}\x{e}-\x{1f}!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}"
)
_SAME = frozenset({r"\d", r"\D", r"\w", r"\W", r"\f", r"\n", r"\r", r"\t"})
_BOUNDARIES = frozenset({r"\b", r"\B"})
_CONTROLS = {r"\0": 0, r"\b": 8, r"\v": 11}
_LOOK_AROUND = frozenset({"(?=", "(?!", "(?<=", "(?<!"})


class PatternError(ValueError):
    """The pattern cannot be used; the text says why, for the administrator."""


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` occurs in `text`. Raises PatternError."""
    try:
        return _compiled(pattern).search(text) is not None
    except UnicodeEncodeError:
        return False  # a lone surrogate is not a character and matches no pattern


def check(pattern: str, *, max_memory: int = _MAX_MEMORY) -> None:
    """Checks that a pattern can be used. Raises PatternError.

    A caller that checks an agent's text allows less memory, because RE2's module caches the last
    128 patterns.
    """
    _compile(pattern, max_memory)


@functools.lru_cache(maxsize=100)
def _compiled(pattern: str) -> Any:
    return _compile(pattern, _MAX_MEMORY)


def _compile(pattern: str, max_memory: int) -> Any:
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"the pattern is longer than {MAX_LENGTH} characters")
    options = re2.Options()
    options.max_mem = max_memory
    options.log_errors = False
    try:
        return re2.compile(_translated(pattern), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "unknown"
        raise PatternError(f"the pattern does not compile: {reason}") from error
    except UnicodeEncodeError as error:
        raise PatternError("the pattern does not compile: it has a lone surrogate") from error


def _translated(pattern: str) -> str:
    """The same pattern in RE2's syntax."""
    parts, in_class = [], False
    for piece in _PIECE.findall(pattern):
        if piece.startswith("\\"):
            parts.append(_escape(piece, in_class=in_class))
        elif in_class:
            # RE2 reads [[:alpha:]] as a POSIX class.
            parts.append(piece.replace("[", r"\["))
            in_class = not piece.endswith("]")
        else:
            parts.append(_plain(piece))
            in_class = piece.startswith("[")
    return "".join(parts)


def _plain(piece: str) -> str:
    if piece in _LOOK_AROUND:
        raise PatternError(f"look-around ({piece}...) is not supported")
    if piece == "(?":
        raise PatternError("(? must start a group (?:...) or (?<name>...)")
    if piece.startswith("[") and piece.endswith("]"):
        raise PatternError(f"the class {piece} is empty; write \\] for a bracket in a class")
    if piece.startswith("{") and any(int(times) > _MAX_REPEAT for times in re.findall(r"[0-9]+", piece)):
        # RE2 reads a larger quantifier as plain text
        raise PatternError(f"{piece} repeats more than {_MAX_REPEAT} times")
    if piece.startswith("(?<"):
        return "("  # the group's name does not affect matching
    return {"$": r"\z", ".": r"[^\n\r\x{2028}\x{2029}]"}.get(piece, piece)


def _escape(piece: str, *, in_class: bool) -> str:
    kind = piece[1:2]
    if piece in _SAME or (piece in _BOUNDARIES and not in_class):
        return piece
    if piece in {r"\s", r"\S"}:
        members = _SPACE if piece == r"\s" else _NO_SPACE
        return members if in_class else f"[{members}]"
    if piece[:3] in {r"\p{", r"\P{"}:
        return _PROPERTY.sub(r"\1", piece)
    if kind in {"k", *"123456789"}:
        raise PatternError(f"back-references ({piece}) are not supported")
    return f"\\x{{{_code_point(piece, kind):x}}}"


def _code_point(piece: str, kind: str) -> int:
    if kind in {"u", "x"} and len(piece) > 2:
        return _hexadecimal(piece)
    if kind == "c" and len(piece) == 3:
        return ord(piece[2]) % 32
    if piece in _CONTROLS:
        return _CONTROLS[piece]
    if not kind or (kind.isascii() and kind.isalnum()):
        raise PatternError(f"{piece} is not an escape of ECMA-262")
    return ord(kind)


def _hexadecimal(piece: str) -> int:
    code, *low = [int(digits, 16) for digits in re.findall(r"[0-9a-fA-F]+", piece)]
    if low:
        return 0x10000 + ((code - 0xD800) << 10) + low[0] - 0xDC00
    if 0xD800 <= code <= 0xDFFF:
        raise PatternError(f"{piece} is half of a surrogate pair")
    return code
