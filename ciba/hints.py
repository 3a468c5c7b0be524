"""Whom a hint names: an address, a phone number, or a subject (CIBA Core 7.1, RFC 9493). Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundation.errors import InvalidRequest
from foundation.forms import parse_json

_SEPARATORS = re.compile(r"[-.() ]")  # RFC 3966 3: for readers only
_PHONE = re.compile(r"\+[0-9]+")


class By(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    SUB = "pk"


@dataclass(frozen=True)
class Named:
    """What the person is looked up by, as it is stored."""

    by: By
    value: str


def parse_login_hint(hint: str, issuer: str) -> Named | None:
    """An e-mail address, tel:+…, +…, a `sub` of ours, or a subject identifier in JSON. None: of another issuer.

    Raises InvalidRequest.
    """
    text = hint.strip()
    if text.startswith("{"):
        return parse_subject(parse_json(text, "login_hint"), issuer)
    number = _SEPARATORS.sub("", text.removeprefix("tel:"))
    if text.startswith("tel:") or _PHONE.fullmatch(number):
        return Named(By.PHONE, number)
    if "@" in text:
        return Named(By.EMAIL, text.lower())
    return Named(By.SUB, text)


def parse_subject(identifier: Any, issuer: str) -> Named | None:
    """A subject identifier (RFC 9493 3.2). None where it is another issuer's subject. Raises InvalidRequest."""
    members = identifier if isinstance(identifier, dict) else {}
    texts = {name: value.strip() for name, value in members.items() if isinstance(value, str)}
    match texts:
        case {"format": "email", "email": email}:
            return Named(By.EMAIL, email.lower())
        # CIBA Core's own example says "phone" for what RFC 9493 calls "phone_number".
        case {"format": "phone_number", "phone_number": number} | {"format": "phone", "phone": number}:
            return Named(By.PHONE, _SEPARATORS.sub("", number.removeprefix("tel:")))
        case {"format": "iss_sub", "iss": iss, "sub": sub}:
            return Named(By.SUB, sub) if iss.rstrip("/") == issuer.rstrip("/") else None
    raise InvalidRequest(
        "the subject identifier is of a format that this server does not read: email, phone_number, iss_sub"
    )
