"""Parses a hint: an e-mail address, a phone number, or a subject (CIBA Core 7.1, RFC 9493).

Pure.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundation.errors import InvalidRequest
from foundation.forms import parse_json

_SEPARATORS = re.compile(r"[-.() ]")  # RFC 3966 3: visual separators
_PHONE = re.compile(r"\+[0-9]+")


class HintKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    SUB = "pk"


@dataclass(frozen=True)
class HintedSubject:
    """The value that the user is looked up by, in its stored form."""

    by: HintKind
    value: str


def parse_login_hint(hint: str, issuer: str) -> HintedSubject | None:
    """Parses an e-mail address, tel:+…, +…, a `sub` of this server, or a subject identifier in
    JSON.

    None for a subject of another issuer. Raises InvalidRequest.
    """
    text = hint.strip()
    if text.startswith("{"):
        return parse_subject(parse_json(text, "login_hint"), issuer)
    number = _SEPARATORS.sub("", text.removeprefix("tel:"))
    if text.startswith("tel:") or _PHONE.fullmatch(number):
        return HintedSubject(HintKind.PHONE, number)
    if "@" in text:
        return HintedSubject(HintKind.EMAIL, text.lower())
    return HintedSubject(HintKind.SUB, text)


def parse_subject(identifier: Any, issuer: str) -> HintedSubject | None:
    """Parses a subject identifier (RFC 9493 3.2).

    None for a subject of another issuer. Raises InvalidRequest.
    """
    members = identifier if isinstance(identifier, dict) else {}
    texts = {name: value.strip() for name, value in members.items() if isinstance(value, str)}
    match texts:
        case {"format": "email", "email": email}:
            return HintedSubject(HintKind.EMAIL, email.lower())
        # CIBA Core's own example has "phone" where RFC 9493 has "phone_number".
        case {"format": "phone_number", "phone_number": number} | {"format": "phone", "phone": number}:
            return HintedSubject(HintKind.PHONE, _SEPARATORS.sub("", number.removeprefix("tel:")))
        case {"format": "iss_sub", "iss": iss, "sub": sub}:
            return HintedSubject(HintKind.SUB, sub) if iss.rstrip("/") == issuer.rstrip("/") else None
    raise InvalidRequest(
        "the subject identifier is of a format that this server does not read: email, phone_number, iss_sub"
    )
