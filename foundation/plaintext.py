"""Text from outside that a person will read: what may not be in it (UTR 36, UTS 39).

Right-to-left overrides, invisible characters and stacked combining marks let an attacker show a person
something else than what is sent; such text is refused, never repaired.
"""

import re
import unicodedata

# Cc control, Cf format (bidi controls, zero width, tags), Co private, Cs surrogate, Cn unassigned,
# Zl and Zp line and paragraph separators.
REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
MAX_COMBINING_MARKS = 2
# Look like spaces or like nothing at all, in categories that are otherwise wanted.
BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")

# Cyrillic, Greek and Armenian letters that pass for Latin ones. UTS 39 lists more; these are drawn alike in most fonts.
LOOK_ALIKES = frozenset("АВЕЅІЈКМНОРСТУХҮҺԌԚԜаеѕіјорсухүһԁԛԝӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϲοՕՍօսհոց")
_LOOK_ALIKE_NAMES = ("CHEROKEE", "LISU", "ROMAN NUMERAL", "SMALL ROMAN NUMERAL")
_WORD = re.compile(r"\w+")


def problem_with(text: str, *, most: int, newlines: bool = False) -> str | None:
    """Why `text` cannot be shown as it stands (a short reason in ASCII), or None where it can.

    `most` is in characters. The text must be in Normalization Form C.
    """
    if len(text) > most:
        return f"longer than {most} characters"
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
        return "has a word of Latin letters and of others that look like them"
    return None


def _is_disguised(word: str) -> bool:
    """Latin letters, and otherwise nothing but look-alikes of them. A word that shows its mixture is fine: kΩ."""
    names = {character: unicodedata.name(character, "") for character in word if not character.isdecimal()}
    others = [character for character, name in names.items() if not name.startswith("LATIN")]
    return 0 < len(others) < len(names) and all(
        character in LOOK_ALIKES or names[character].startswith(_LOOK_ALIKE_NAMES) for character in others
    )
