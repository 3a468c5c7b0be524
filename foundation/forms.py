"""Parsing of request bodies: form parameters by the rules of RFC 6749, and bounded JSON."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.http import HttpRequest

from foundation.errors import BodyTooLarge, InvalidRequest

MAX_PARAMETERS = 100
MAX_JSON_DEPTH = 12
# RFC 7493 2.2: two parsers may read a larger number differently. The limit holds for floats too,
# because PostgreSQL returns 1e16 as an integer.
MAX_NUMBER = 2**53
# PostgreSQL cannot store U+0000, and a lone surrogate has no UTF-8 encoding.
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def read_body(request: HttpRequest, content_type: str) -> bytes:
    """The body of a POST. Raises InvalidRequest for another content type, BodyTooLarge beyond MAX_BODY_BYTES."""
    if request.content_type != content_type:
        raise InvalidRequest(f"the content type must be {content_type}")
    body = request.read(settings.MAX_BODY_BYTES + 1)
    if len(body) > settings.MAX_BODY_BYTES:
        raise BodyTooLarge()
    return bytes(body)


def parse_form(request: HttpRequest) -> dict[str, str]:
    """The parameters of an application/x-www-form-urlencoded body in UTF-8.

    RFC 6749 3.1 and 3.2: a parameter without a value counts as absent, and no parameter may be
    repeated. Unknown parameters are returned too; callers ignore them. Raises InvalidRequest.
    """
    body = read_body(request, "application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:  # includes UnicodeDecodeError
        raise InvalidRequest("the body is not a form in UTF-8", detail=str(error)) from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if "\x00" in value or "\x00" in name:
            raise InvalidRequest("a parameter has a NUL character")
        if name in parameters:
            raise InvalidRequest("a parameter is repeated")
        parameters[name] = value
    return {name: value for name, value in parameters.items() if value}


def parse_json(text: str | bytes, what: str, *, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """Parses JSON without repeated names, NaN, NUL, lone surrogates or numbers of 2**53 and beyond,
    and with bounded depth.

    `what` names the value in the error. Raises InvalidRequest.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_repeated_names, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} is not JSON that this server accepts") from error
    _check_shape(value, what, max_depth)
    return value


def _no_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers of a repeated name may read two different operations.
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name is repeated")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_shape(value: Any, what: str, depth_left: int) -> None:
    if depth_left == 0:
        raise InvalidRequest(f"{what} is nested too deeply")
    if isinstance(value, str):
        if NOT_STORABLE.search(value):
            raise InvalidRequest(f"{what} has a character that cannot be stored")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_shape(name, what, depth_left)
            _check_shape(item, what, depth_left - 1)
    elif isinstance(value, list):
        for item in value:
            _check_shape(item, what, depth_left - 1)
    elif isinstance(value, int | float) and not abs(value) < MAX_NUMBER:
        raise InvalidRequest(f"{what} has a number that is too large")
