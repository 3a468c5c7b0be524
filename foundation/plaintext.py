"""Characters that are refused in text from outside that a user will read (UTR 36, UTS 39).

With right-to-left overrides, invisible characters and stacked combining marks, an attacker can show
a user another text than the one that is sent. Such text is refused and never repaired.
"""

import re
import unicodedata

# Cc control, Cf format (bidi controls, zero width, tags), Co private, Cs surrogate, Cn unassigned,
# Zl and Zp line and paragraph separators.
REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
MAX_COMBINING_MARKS = 2
# Characters that look like a space or like nothing, in categories that are otherwise allowed.
BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")

# Cyrillic, Greek and Armenian letters that look like Latin ones in most fonts. UTS 39 lists more.
LOOK_ALIKES = frozenset("АВЕЅІЈКМНОРСТУХҮҺԌԚԜаеѕіјорсухүһԁԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϲοՕՍօսհոց")
_LOOK_ALIKE_NAMES = ("CHEROKEE", "LISU", "ROMAN NUMERAL", "SMALL ROMAN NUMERAL")
_WORD = re.compile(r"\w+")


def problem_with(text: str, *, max_length: int, newlines: bool = False) -> str | None:
    """A short reason in ASCII why `text` cannot be displayed unchanged, or None.

    `max_length` is in characters. The text must be in Normalization Form C.
    """
    if len(text) > max_length:
        return f"longer than {max_length} characters"
    marks = 0
    for character in text:
        if newlines and character == "\n":
            marks = 0
            continue
        if unicodedata.category(character) in REFUSED_CATEGORIES or character in BLANK_LETTERS:
            return f"has the character U+{ord(character):04X}, which cannot be shown"
        if 0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF:
            return "has a variation selector, which cannot be shown"
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_COMBINING_MARKS:
            return "has too many combining marks on one character"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode Normalization Form C"
    if not text.isascii() and any(map(_is_disguised, _WORD.findall(text))):
        return "has a word that mixes Latin letters with letters that look like them"
    return None


def _is_disguised(word: str) -> bool:
    """Whether a word mixes Latin letters with look-alikes only. A visible mixture such as kΩ is allowed."""
    names = {character: unicodedata.name(character, "") for character in word if not character.isdecimal()}
    others = [character for character, name in names.items() if not name.startswith("LATIN")]
    return 0 < len(others) < len(names) and all(
        character in LOOK_ALIKES or names[character].startswith(_LOOK_ALIKE_NAMES) for character in others
    )
