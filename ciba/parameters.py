"""The parameters of a backchannel authentication request (CIBA Core 7.1). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ciba.errors import InvalidBindingMessage
from foundation.errors import InvalidRequest, InvalidScope
from foundation.plaintext import problem_with

MAX_BINDING_MESSAGE = 120  # characters: "relatively short" (CIBA Core 7.1)
MAX_HINT = 4096
MAX_ACR_VALUES = 20
HINTS = ("login_hint", "id_token_hint", "login_hint_token")
# Every parameter that this server reads. A signed request has all of them inside the JWT (CIBA Core
# 7.1.1).
NAMES = frozenset(HINTS) | {
    "scope", "authorization_details", "resource", "acr_values", "binding_message", "user_code", "requested_expiry",
    "client_notification_token",
}  # fmt: skip
MAX_NOTIFICATION_TOKEN = 1024  # characters (CIBA Core 7.1)
MIN_NOTIFICATION_TOKEN = 22  # characters: fewer cannot hold 128 bits
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LINK = re.compile(r"://|\bwww\.", re.IGNORECASE)


@dataclass(frozen=True)
class BackchannelParameters:
    """A well-formed request whose values are not verified."""

    hint_name: str = ""  # one of HINTS
    unverified_hint: str = ""
    binding_message: str = ""
    requested_expiry: int | None = None  # seconds
    client_notification_token: str = ""  # empty: the agent uses poll
    acr_values: tuple[str, ...] = ()
    unverified_user_code: str | None = None


def parse_parameters(parameters: Mapping[str, str], *, is_called_back: bool) -> BackchannelParameters:
    """Parses the parameters. Raises InvalidRequest, InvalidScope or InvalidBindingMessage."""
    _check_scope(parameters)
    hints = [name for name in HINTS if name in parameters]
    if len(hints) != 1:
        raise InvalidRequest(f"give exactly one of {', '.join(HINTS)}")
    if len(parameters[hints[0]]) > MAX_HINT:
        raise InvalidRequest(f"{hints[0]} is too long")
    return BackchannelParameters(
        hint_name=hints[0],
        unverified_hint=parameters[hints[0]],
        binding_message=_parse_binding_message(parameters.get("binding_message", "")),
        requested_expiry=_parse_expiry(parameters.get("requested_expiry")),
        client_notification_token=_parse_token(parameters) if is_called_back else "",
        acr_values=_parse_acr_values(parameters.get("acr_values", "")),
        unverified_user_code=parameters.get("user_code"),
    )


def _check_scope(parameters: Mapping[str, str]) -> None:
    if "scope" not in parameters:
        raise InvalidRequest("scope is missing")
    if "openid" not in parameters["scope"].split(" "):
        raise InvalidScope("scope must contain openid")


def _parse_binding_message(text: str) -> str:
    """Plain text without links: the prompt shows the agent's words apart, and they must not lead
    the user anywhere.
    """
    if problem := problem_with(text, max_length=MAX_BINDING_MESSAGE):
        raise InvalidBindingMessage(f"binding_message {problem}")
    if _LINK.search(text):
        raise InvalidBindingMessage("binding_message has a link")
    return text


def _parse_acr_values(text: str) -> tuple[str, ...]:
    """The requested acr values.

    They are a preference and never cause an error (CIBA Core 7.1); values beyond the limit are
    ignored.
    """
    return tuple(text.split()[:MAX_ACR_VALUES])


def _parse_token(parameters: Mapping[str, str]) -> str:
    """The notification token (CIBA Core 7.1): required for ping and push, a bearer token (RFC 6750
    2.1) of at least 128 bits.
    """
    token = parameters.get("client_notification_token")
    if token is None:
        raise InvalidRequest("client_notification_token is missing: this agent uses ping or push")
    if not MIN_NOTIFICATION_TOKEN <= len(token) <= MAX_NOTIFICATION_TOKEN or not _BEARER.fullmatch(token):
        raise InvalidRequest(
            f"client_notification_token must be a bearer token of {MIN_NOTIFICATION_TOKEN} to"
            f" {MAX_NOTIFICATION_TOKEN} characters"
        )
    return token


def _parse_expiry(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise InvalidRequest("requested_expiry must be a positive whole number of seconds")
    return int(text)
