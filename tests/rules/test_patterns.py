"""Patterns: what is refused and why, what is accepted, and that they mean what ECMA-262 says."""

import time

import pytest

from operations.patterns import PatternError, check, matches
from operations.schemas import first_mismatch, problems_with


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (r"(a)\1", "back-references"),
        (r"(?<x>a)\k<x>", "back-references"),
        (r"(?=a)b", "look-around"),
        (r"(?!a)b", "look-around"),
        (r"(?<=a)b", "look-around"),
        (r"(?<!a)b", "look-around"),
        (r"(?P<x>a)", "must start a group"),
        (r"(?i)a", "must start a group"),
        (r"a\Z", "not an escape"),
        (r"\Aa", "not an escape"),
        (r"\Qa", "not an escape"),
        (r"\x4", "not an escape"),
        ("a\\", "not an escape"),
        (r"\07", "not an escape"),
        (r"\ud800", "half of a surrogate pair"),
        ("\ud800", "lone surrogate"),
        (r"\u{110000}", "does not compile"),
        (r"\p{Nonsense}", "does not compile"),
        ("[]a]", "is empty"),
        ("[^]", "is empty"),
        ("(", "does not compile"),
        ("[z-a]", "does not compile"),
        ("a**", "does not compile"),
        ("a{1001}", "more than 1000 times"),
        ("a{2,99999999999999999999}", "more than 1000 times"),
        ("(?:a{1,100}){1,100}", "does not compile"),
        (r"(?:\p{L}|\p{N}|\p{S}){900}", "too large"),
        ("(" * 200, "does not compile"),
        ("a" * 201, "longer than 200"),
    ],
)
def test_patterns_that_are_not_accepted(pattern: str, problem: str) -> None:
    with pytest.raises(PatternError, match=problem):
        check(pattern)
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"type": "string", "pattern": pattern}},
    }
    assert any(problem in found and found.startswith("/a: ") for found in problems_with(schema))


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^[0-9]+$", "12", True),
        (r"^[0-9]+$", "12\n", False),  # Python's own $ lets a last line break through
        (r"^\d+$", "12", True),
        (r"^\d+$", "١٢", False),  # ECMA-262's \d is 0 to 9
        (r"^\w+$", "naïve", False),
        (r"^[$]+$", "$$", True),
        (r"^\$[0-9]$", "$5", True),
        (r"^a$|^b$", "b", True),
        (r"^a$|^b$", "b\n", False),
        (r"^.$", "\n", False),
        (r"^.$", "\r", False),
        (r"^.$", "\u2028", False),
        (r"^.$", "é", True),
        (r"^.$", "\U0001f600", True),
        (r"^\s$", "\u3000", True),
        (r"^\s$", "\v", True),
        (r"^\S$", "\ufeff", False),
        (r"^[\S]$", "\ufeff", False),
        (r"^[\s\d]$", "\u00a0", True),
        (r"^\u00e9\x41\u{1F600}$", "éA\U0001f600", True),
        (r"^\ud83d\ude00$", "\U0001f600", True),
        (r"^\cI\0\v$", "\t\x00\v", True),
        (r"^[\b]$", "\b", True),
        (r"\bb", "a b", True),
        (r"^[[:alpha:]]$", "b]", False),
        (r"^[[:alpha:]]$", "a]", True),  # a class of seven characters, and a bracket
        (r"^a{,5}$", "aaa", False),
        (r"^a{,5}$", "a{,5}", True),
        (r"^\p{L}+$", "Ünal", True),
        (r"^\p{Script=Greek}+$", "αβγ", True),
        (r"^\p{sc=Greek}$", "a", False),
        (r"^(?<year2000>\d{4})-(?:\d\d)$", "2026-11", True),
        (r"^\-\/\@\ $", "-/@ ", True),
        (r"^[\w.\-]+$", "a-b.c", True),
        ("a", "\ud800a", False),
    ],
)
def test_patterns_mean_what_ecma_262_says(pattern: str, text: str, *, fits: bool) -> None:
    assert matches(pattern, text) == fits


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^(a+)+$", "a" * 8000 + "!"),
        (r"(?:(a*)b?)*c", "ab" * 4000),
        (r"^(a|a)*$", "a" * 8000 + "!"),
        (r"^(a|aa)+$", "a" * 8000 + "!"),
        (r"^(a?){300}a{300}$", "a" * 299),
        (r"^([^@ ]+)+@([^@ ]+)+$", "a" * 8000),
        # Its automaton has two to the power of 900 states: RE2's cache of them does not fit, and it goes on without.
        (r"[ab]*a[ab]{900}c", "abbab" * 1600),
        (r"(?:\p{L}|\p{N}|\p{S}){30}!", "aé1" * 2600),
    ],
)
def test_no_pattern_runs_for_ever(pattern: str, text: str) -> None:
    check(pattern)
    start = time.process_time()
    assert not matches(pattern, text)
    assert time.process_time() - start < 5, "of this process's own time, which others on the machine do not lengthen"


def test_what_does_not_fit_the_caches_is_still_matched_rightly() -> None:
    assert matches(r"[ab]*a[ab]{900}c", "b" * 3000 + "a" + "ab" * 450 + "c")


def test_a_stored_schema_whose_pattern_no_longer_compiles_refuses_and_says_why() -> None:
    stored = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"type": "string", "pattern": r"(?i)^(a)\1$"}},
    }
    assert "no longer supports" in str(first_mismatch(stored, {"a": "aa"}))
