"""The parameters of an authorization request (RFC 6749 4.1.1, OpenID Connect Core 3.1.2.1, RFC
7636). Pure.

A parameter that a specification defines is honoured or refused, never dropped, because its sender
relies on it. Unknown parameters are ignored (RFC 6749 3.1). The hints about display and language
are ignored too: they may not cause an error (OpenID Connect Core 3.1.2.1).
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
MAX_MAX_AGE_S = 10**9  # seconds
PROMPTS = ("none", "login", "consent", "select_account")
CHALLENGE_METHOD = "S256"
RESPONSE_TYPE = "code"
RESPONSE_MODE = "query"
_CHALLENGE = _THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of a SHA-256
MAX_NONCE = 255

# Hints about display and language. They decide nothing and cause no error.
HINTS = frozenset({"display", "ui_locales", "claims_locales"})
# Parameters of specifications that this server does not offer. Each is refused with the code of its
# own specification.
NOT_OFFERED: dict[str, ProtocolError] = {
    "request": RequestNotSupported(),
    "request_uri": RequestUriNotSupported(),
    "registration": RegistrationNotSupported(),
    "authorization_details": InvalidRequest("an operation cannot be granted in the browser: use CIBA"),
}


@dataclass(frozen=True)
class Query:
    """The request's pairs, decoded but not validated."""

    parameters: dict[str, str]
    repeated: frozenset[str]


@dataclass(frozen=True)
class AuthorizationParameters:
    """A well-formed request. `requested_acr` is empty if any acr is acceptable."""

    prompts: frozenset[str]
    max_age: int | None  # seconds
    nonce: str
    code_challenge: str  # empty: not sent; check_challenge decides whether that is allowed
    dpop_jkt: str  # empty: not sent
    unverified_id_token_hint: str | None
    requested_sub: str | None
    requested_acr: tuple[str, ...]
    acr_is_essential: bool


def parse_query(text: str) -> Query:
    """The first value of each parameter, and the names of repeated parameters.

    Raises InvalidRequest.

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


def parse_parameters(query: Query) -> AuthorizationParameters:
    """Validates everything that depends on neither the agent nor the user.

    Raises a ProtocolError that is sent by redirect.
    """
    parameters = query.parameters
    if query.repeated - HINTS:
        raise InvalidRequest("a parameter is repeated")
    for name, refusal in NOT_OFFERED.items():
        if name in parameters:
            raise type(refusal)(refusal.description)
    _check_response(parameters)
    challenge = _parse_challenge(parameters)
    claims = _parse_claims(parameters.get("claims"))
    acr, is_essential = _requested_acr(parameters, claims)
    return AuthorizationParameters(
        prompts=_parse_prompts(parameters.get("prompt", "")),
        max_age=_parse_max_age(parameters.get("max_age")),
        nonce=_parse_nonce(parameters.get("nonce", "")),
        code_challenge=challenge,
        dpop_jkt=_parse_jkt(parameters.get("dpop_jkt", "")),
        unverified_id_token_hint=parameters.get("id_token_hint"),
        requested_sub=_requested_sub(claims),
        requested_acr=acr,
        acr_is_essential=is_essential,
    )


def _check_response(parameters: Mapping[str, str]) -> None:
    if "response_type" not in parameters:
        raise InvalidRequest("response_type is missing")
    if parameters["response_type"] != RESPONSE_TYPE:
        raise UnsupportedResponseType("response_type must be code")
    if parameters.get("response_mode", RESPONSE_MODE) != RESPONSE_MODE:
        raise InvalidRequest("response_mode must be query")


def _parse_challenge(parameters: Mapping[str, str]) -> str:
    """Parses the challenge (RFC 7636 4.3).

    A missing method would mean `plain`, which lets anyone who sees the request redeem the code.
    """
    challenge = parameters.get("code_challenge", "")
    if not challenge and "code_challenge_method" not in parameters:
        return ""
    if not challenge:
        raise InvalidRequest("code_challenge_method is present, but code_challenge is missing")
    if parameters.get("code_challenge_method") != CHALLENGE_METHOD:
        raise InvalidRequest("code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequest("code_challenge is not an S256 value")
    return challenge


def check_challenge(parsed: AuthorizationParameters, scope: str, *, may_omit: bool) -> None:
    """Requires PKCE. Raises InvalidRequest.

    OAuth 2.1 7.5.1: an administrator may allow a confidential agent to omit PKCE (`may_omit`). The
    nonce of OpenID Connect then protects the code, so the request needs `openid` and a nonce.
    """
    if parsed.code_challenge:
        return
    if not may_omit:
        raise InvalidRequest("code_challenge is missing: PKCE with S256 is required")
    if not parsed.nonce or "openid" not in scope.split(" "):
        raise InvalidRequest("code_challenge is missing: this agent may omit it only with openid and a nonce")


def _parse_jkt(text: str) -> str:
    """Parses dpop_jkt (RFC 9449 10): a stolen code is useless without this key."""
    if text and not _THUMBPRINT.fullmatch(text):
        raise InvalidRequest("dpop_jkt must be the thumbprint of a key (RFC 7638, SHA-256)")
    return text


def _parse_prompts(text: str) -> frozenset[str]:
    prompts = frozenset(text.split(" ")) if text else frozenset()
    if not prompts <= set(PROMPTS):
        raise InvalidRequest("prompt has a value that this server does not support")
    if "none" in prompts and len(prompts) > 1:
        raise InvalidRequest("prompt=none must be the only value")
    return prompts


def _parse_max_age(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InvalidRequest("max_age must be a whole number of seconds")
    return min(int(text), MAX_MAX_AGE_S)


def _parse_nonce(text: str) -> str:
    if len(text) > MAX_NONCE:
        raise InvalidRequest(f"nonce is longer than {MAX_NONCE} characters")
    return text


def _parse_claims(text: str | None) -> dict[str, Any]:
    """Parses `claims` (OpenID Connect Core 5.5).

    Scopes decide which claims are returned; conditions on values are enforced.
    """
    if text is None:
        return {}
    claims = parse_json(text, "claims")
    parts: list[Any] = [claims] if isinstance(claims, dict) else [None]
    parts += [claims.get(name) or {} for name in ("id_token", "userinfo")] if parts[0] is not None else []
    if not all(isinstance(part, dict) for part in parts):
        raise InvalidRequest("claims must be an object with the objects id_token and userinfo")
    claim_requests = [claim_request for part in parts[1:] for claim_request in part.values()]
    if not all(claim_request is None or isinstance(claim_request, dict) for claim_request in claim_requests):
        raise InvalidRequest("each claim of claims must be null or an object")
    return dict(claims)


def _claim_requests(claims: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The requests for one claim, from the `id_token` and `userinfo` members."""
    return [claim_request for part in ("id_token", "userinfo") if (claim_request := (claims.get(part) or {}).get(name))]


def _requested_sub(claims: Mapping[str, Any]) -> str | None:
    """The `sub` that the request requires (OpenID Connect Core 5.5.1 and 3.1.2.2).

    The request fails for any other user.
    """
    subs = [claim_request["value"] for claim_request in _claim_requests(claims, "sub") if "value" in claim_request]
    if not all(isinstance(value, str) for value in subs) or len(set(subs)) > 1:
        raise InvalidRequest("claims requests contradictory sub values")
    return subs[0] if subs else None


def _requested_acr(parameters: Mapping[str, str], claims: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """The requested acr values, and whether one of them is required.

    acr_values is a preference; an essential acr in `claims` is a condition (OpenID Connect Core
    5.5.1.1).
    """
    values: list[Any] = []
    for claim_request in _claim_requests(claims, "acr"):
        listed = claim_request.get("values", [claim_request["value"]] if "value" in claim_request else [])
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise InvalidRequest("claims has acr values that are not strings")
        if claim_request.get("essential") is True and listed:
            return tuple(listed), True
        values += listed
    return tuple(values or parameters.get("acr_values", "").split()), False


def check_acr(parsed: AuthorizationParameters, available: frozenset[str]) -> bool:
    """Whether the request names one of the `available` acr values.

    Raises UnmetAuthenticationRequirements if that is a condition and fails.
    """
    if set(parsed.requested_acr) & available:
        return True
    if parsed.acr_is_essential:
        raise UnmetAuthenticationRequirements()
    return False
