# ruff: noqa: RUF001 - letters that look alike are what this is about
"""Names of agents as a user reads them: which look alike, and which imitate this server. Pure.

The names of users are not refused, because a refusal would tell strangers who exists. The name of
an administrator's agent is not refused either; pages mark self-registered agents (Agent.mark).
"""

import unicodedata

OUR_NAME = "countersign"
# Letters of other scripts, digits and signs that look like these Latin letters in most fonts.
# Unicode's compatibility forms (wide, circled, mathematical) and accents are removed before. UTS 39
# lists more. A skeleton is only compared, never displayed.
_LOOK_ALIKES = {
    "a": "аαɑ@4",
    "b": "ьв8",
    "c": "сϲᴄƈȼ¢ⲥꮯᏟ©",
    "d": "ԁɗ",
    "e": "еєεҽᴇǝəɛ℮ꭼᎬ€3ⲉ",
    "g": "ɡɢցǥԍᶃɠᏀꮐ69",
    "h": "һհ",
    "i": "іιıɩɪӏlⅼ1|!Ꭵꭵⲓוاߊ",
    "j": "јյ",
    "k": "кκ",
    "m": "мᴍ",
    "n": "пηոռɴиŋƞɲɳⲛո",
    "o": "оοօᴏøɵө0ⲟ〇○ⵔ°ዐ",
    "p": "рρ",
    "r": "гʀᴦяɾɼɽⲅᎡꭱ®",
    "s": "ѕꜱʂƨᏚꮪ5$§",
    "t": "тτᴛŧƭ†+7Ꭲꭲⲧ",
    "u": "υսᴜʋ∪ц",
    "v": "ѵν",
    "w": "ԝω",
    "x": "хχ×",
    "y": "уγү",
}
_LETTER = {sign: letter for letter, signs in _LOOK_ALIKES.items() for sign in signs}


def skeleton(name: str) -> str:
    """Equal for names that look alike: ignores case, width, accents, spaces, marks and doubled letters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    letters = [_letter(character) for character in folded]
    letters = [letter for letter in letters if letter]
    plain = "".join(letter for index, letter in enumerate(letters) if index == 0 or letter != letters[index - 1])
    return plain.replace("rn", "m") or folded


def _letter(character: str) -> str:
    if character in _LETTER:
        return _LETTER[character]
    if unicodedata.digit(character, -1) == 0:  # a zero of any script is a circle
        return "o"
    return character if character.isalnum() else ""


_OUR_SKELETON = skeleton(OUR_NAME)


def passes_for_us(name: str, issuer_host: str) -> bool:
    """Whether a user may take this name for Countersign's, or for the host under which users know this server."""
    plain = skeleton(name)
    if _OUR_SKELETON in plain or "." not in issuer_host:  # localhost is nobody's name
        return _OUR_SKELETON in plain
    # The skeleton of 10.0.0.5 is `ios`: what looks like the digits of an address says nothing.
    is_address = issuer_host.rpartition(".")[2].isdigit()
    return issuer_host in name if is_address else skeleton(issuer_host) in plain
