"""What the serializers of /v1 are built from: strict fields, request bodies and the error body.

/v1/schema is generated from the serializers, so a field says once what it takes. A view calls
`read` and `to_representation` of one serializer that serves all requests: they keep no state, and
building the fields of a serializer takes longer than using them.
"""

from datetime import datetime
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from drf_spectacular.extensions import OpenApiSerializerExtension
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from foundation.errors import InvalidRequest

_WRONG = ("invalid", "max_length", "min_length", "max_value", "min_value", "invalid_choice")
_ABSENT = ("required", "null")
_CHARACTER_CHECKS = (ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)


def _messages(wanted: str) -> dict[str, Any]:
    """Predicates: RequestBody puts the field's name in front."""
    return dict.fromkeys(_WRONG, f"must be {wanted}") | dict.fromkeys(_ABSENT, "is missing")


class TextField(serializers.CharField):
    """A string, exactly as it was sent: never trimmed, and never made from a number.

    `wanted` completes "must be …" in the error. `pattern` must match the whole string.
    """

    def __init__(self, *, wanted: str = "a string", pattern: str | None = None, **options: Any) -> None:
        super().__init__(**options, error_messages=_messages(wanted))
        # parse_json has refused the characters that cannot be stored.
        self.validators = [one for one in self.validators if not isinstance(one, _CHARACTER_CHECKS)]
        if pattern is not None:
            self.validators.append(RegexValidator(rf"\A{pattern}\Z", self.error_messages["invalid"]))

    def run_validation(self, data: Any = empty) -> Any:
        return serializers.Field.run_validation(self, data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class SecondsField(serializers.IntegerField):
    """A whole number of seconds within bounds: not a string of digits, not true, not 1.5."""

    def __init__(self, *, min_value: int, max_value: int, **options: Any) -> None:
        wanted = f"a whole number of seconds from {min_value} to {max_value}"
        super().__init__(min_value=min_value, max_value=max_value, **options, error_messages=_messages(wanted))

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class OneOfField(serializers.ChoiceField):
    """One of a few strings."""

    def __init__(self, choices: list[str], **options: Any) -> None:
        super().__init__(choices, **options, error_messages=_messages(" or ".join(choices)))


class TimeField(serializers.DateTimeField):
    """A time in an answer, with its offset from UTC, as everywhere in this server: 2026-11-24T10:00:00+00:00."""

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


class RequestBody(serializers.Serializer[Any]):
    """The JSON object of a request. Unknown members are ignored."""

    def read(self, unverified_body: Any) -> dict[str, Any]:
        """The members of a parsed body. Raises InvalidRequest, which names a member and what is wanted."""
        if not isinstance(unverified_body, dict):
            raise InvalidRequest("the body must be a JSON object")
        try:
            members: dict[str, Any] = self.run_validation(unverified_body)
        except serializers.ValidationError as error:
            details: Any = error.detail
            name, problems = next(iter(details.items()))
            raise InvalidRequest(f"{name} {problems[0]}") from error
        return members


class ClosedRequestBody(RequestBody):
    """The JSON object of a request that may have no other members than those of the serializer."""

    def read(self, unverified_body: Any) -> dict[str, Any]:
        unknown = sorted(set(unverified_body) - self.fields.keys()) if isinstance(unverified_body, dict) else []
        if unknown:
            known = ", ".join(self.fields)
            raise InvalidRequest(f"the body has an unknown member: {unknown[0][:50]} (known: {known})")
        return super().read(unverified_body)


# drf-spectacular finds it by its base class.
class ClosedRequestBodyDescription(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = ClosedRequestBody
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        described: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**described, "additionalProperties": False}


class ErrorSerializer(serializers.Serializer[Any]):
    """The body of every error."""

    error = serializers.CharField(help_text="The code. docs/errors.md lists all codes.")
    error_description = serializers.CharField(
        required=False, help_text="A sentence for the developer of the caller. It may change; compare codes only."
    )
