"""The parameters of an authorization request (RFC 6749 4.1.1, OpenID Connect Core 3.1.2.1, RFC 7636). Pure.

A parameter that a specification gives a meaning is honoured or refused, never dropped: whoever sent it
relies on it. Unknown ones are ignored (RFC 6749 3.1), and so are the hints about display and language,
which may not cause an error (OpenID Connect Core 3.1.2.1).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import MAX_PARAMETERS, parse_json
from oauth.errors import (
    RegistrationNotSupported,
    RequestNotSupported,
    RequestUriNotSupported,
    UnmetAuthenticationRequirements,
    UnsupportedResponseType,
)

MAX_QUERY = 16_384  # characters
MAX_AGE_MOST = 10**9  # seconds
PROMPTS = ("none", "login", "consent", "select_account")
CHALLENGE_METHOD = "S256"
RESPONSE_TYPE = "code"
RESPONSE_MODE = "query"
_CHALLENGE = _THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of a SHA-256
MAX_NONCE = 255

# About display and language. Nothing is decided by them, and nothing in them breaks a request.
HINTS = frozenset({"display", "ui_locales", "claims_locales"})
# Parameters of specifications that we do not offer here: refused by the code that theirs names.
NOT_OFFERED: dict[str, ProtocolError] = {
    "request": RequestNotSupported(),
    "request_uri": RequestUriNotSupported(),
    "registration": RegistrationNotSupported(),
    "authorization_details": InvalidRequest("an operation is not granted in the browser: ask for it by CIBA"),
}


@dataclass(frozen=True)
class Query:
    """The request's pairs, read; nothing is checked yet."""

    parameters: dict[str, str]
    repeated: frozenset[str]


@dataclass(frozen=True)
class Asked:
    """A well-formed request. `wanted_acr` is empty where any will do."""

    prompts: frozenset[str]
    max_age: int | None  # seconds
    nonce: str
    code_challenge: str  # empty: none, which check_challenge judges
    dpop_jkt: str  # empty: none
    unverified_id_token_hint: str | None
    wanted_sub: str | None
    wanted_acr: tuple[str, ...]
    acr_is_essential: bool


def parse_query(text: str) -> Query:
    """The first value of each parameter, and which were repeated. Raises InvalidRequest.

    A parameter without a value counts as absent (RFC 6749 3.1).
    """
    if len(text) > MAX_QUERY:
        raise InvalidRequest("the request is too long")
    try:
        pairs = parse_qsl(text, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidRequest("the request is not UTF-8") from error
    if any("\x00" in name + value for name, value in pairs):
        raise InvalidRequest("a parameter has a NUL character")
    names = [name for name, _ in pairs]
    return Query(dict(reversed(pairs)), frozenset(name for name in names if names.count(name) > 1))


def parse_asked(query: Query) -> Asked:
    """Checks what does not need to know the agent or the person. Raises a ProtocolError, for a redirect."""
    parameters = query.parameters
    if query.repeated - HINTS:
        raise InvalidRequest("a parameter is repeated")
    for name, refusal in NOT_OFFERED.items():
        if name in parameters:
            raise type(refusal)(refusal.description)
    _check_response(parameters)
    challenge = _parse_challenge(parameters)
    claims = _parse_claims(parameters.get("claims"))
    acr, is_essential = _wanted_acr(parameters, claims)
    return Asked(
        prompts=_parse_prompts(parameters.get("prompt", "")),
        max_age=_parse_max_age(parameters.get("max_age")),
        nonce=_parse_nonce(parameters.get("nonce", "")),
        code_challenge=challenge,
        dpop_jkt=_parse_jkt(parameters.get("dpop_jkt", "")),
        unverified_id_token_hint=parameters.get("id_token_hint"),
        wanted_sub=_wanted_sub(claims),
        wanted_acr=acr,
        acr_is_essential=is_essential,
    )


def _check_response(parameters: Mapping[str, str]) -> None:
    if "response_type" not in parameters:
        raise InvalidRequest("response_type is missing")
    if parameters["response_type"] != RESPONSE_TYPE:
        raise UnsupportedResponseType("response_type is code here")
    if parameters.get("response_mode", RESPONSE_MODE) != RESPONSE_MODE:
        raise InvalidRequest("response_mode is query here")


def _parse_challenge(parameters: Mapping[str, str]) -> str:
    """RFC 7636 4.3. A missing method would mean `plain`, which whoever sees the request can redeem."""
    challenge = parameters.get("code_challenge", "")
    if not challenge and "code_challenge_method" not in parameters:
        return ""
    if not challenge:
        raise InvalidRequest("code_challenge is missing, and code_challenge_method is there")
    if parameters.get("code_challenge_method") != CHALLENGE_METHOD:
        raise InvalidRequest("code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequest("code_challenge is not what S256 makes")
    return challenge


def check_challenge(asked: Asked, scope: str, *, may_omit: bool) -> None:
    """PKCE is required. OAuth 2.1 7.5.1: where an administrator lets this confidential agent omit it (`may_omit`), the
    nonce of OpenID Connect protects the code instead, so `openid` and a nonce must be there. Raises InvalidRequest."""
    if asked.code_challenge:
        return
    if not may_omit:
        raise InvalidRequest("code_challenge is missing: PKCE with S256 is required")
    if not asked.nonce or "openid" not in scope.split(" "):
        raise InvalidRequest("code_challenge is missing: this agent may omit it only with openid and a nonce")


def _parse_jkt(text: str) -> str:
    """RFC 9449 10: whoever steals the code needs this key too."""
    if text and not _THUMBPRINT.fullmatch(text):
        raise InvalidRequest("dpop_jkt is not the thumbprint of a key (RFC 7638, SHA-256)")
    return text


def _parse_prompts(text: str) -> frozenset[str]:
    prompts = frozenset(text.split(" ")) if text else frozenset()
    if not prompts <= set(PROMPTS):
        raise InvalidRequest("prompt has a value that is not offered here")
    if "none" in prompts and len(prompts) > 1:
        raise InvalidRequest("prompt=none does not go with others")
    return prompts


def _parse_max_age(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InvalidRequest("max_age is a whole number of seconds")
    return min(int(text), MAX_AGE_MOST)


def _parse_nonce(text: str) -> str:
    if len(text) > MAX_NONCE:
        raise InvalidRequest(f"nonce is longer than {MAX_NONCE} characters")
    return text


def _parse_claims(text: str | None) -> dict[str, Any]:
    """OpenID Connect Core 5.5. Which claims are given is settled by scopes; what must hold is enforced."""
    if text is None:
        return {}
    claims = parse_json(text, "claims")
    parts: list[Any] = [claims] if isinstance(claims, dict) else [None]
    parts += [claims.get(name) or {} for name in ("id_token", "userinfo")] if parts[0] is not None else []
    if not all(isinstance(part, dict) for part in parts):
        raise InvalidRequest("claims is an object with objects id_token and userinfo")
    wishes = [wish for part in parts[1:] for wish in part.values()]
    if not all(wish is None or isinstance(wish, dict) for wish in wishes):
        raise InvalidRequest("a claim of claims is null or an object")
    return dict(claims)


def _wishes(claims: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """What id_token and userinfo say about one claim."""
    return [wish for part in ("id_token", "userinfo") if (wish := (claims.get(part) or {}).get(name))]


def _wanted_sub(claims: Mapping[str, Any]) -> str | None:
    """OpenID Connect Core 5.5.1 and 3.1.2.2: this very person, or nobody."""
    wanted = [wish["value"] for wish in _wishes(claims, "sub") if "value" in wish]
    if not all(isinstance(value, str) for value in wanted) or len(set(wanted)) > 1:
        raise InvalidRequest("claims wants a sub that nobody has")
    return wanted[0] if wanted else None


def _wanted_acr(parameters: Mapping[str, str], claims: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """acr_values is a wish; an essential acr of `claims` is a condition (OpenID Connect Core 5.5.1.1)."""
    values: list[Any] = []
    for wish in _wishes(claims, "acr"):
        given = wish.get("values", [wish["value"]] if "value" in wish else [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise InvalidRequest("claims has acr values that are not texts")
        if wish.get("essential") is True and given:
            return tuple(given), True
        values += given
    return tuple(values or parameters.get("acr_values", "").split()), False


def check_acr(asked: Asked, available: frozenset[str]) -> bool:
    """Does the request want one of `available`? Raises UnmetAuthenticationRequirements for a condition."""
    if set(asked.wanted_acr) & available:
        return True
    if asked.acr_is_essential:
        raise UnmetAuthenticationRequirements()
    return False
