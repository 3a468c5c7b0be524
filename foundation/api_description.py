"""How an endpoint describes at /v1/schema what its serializers do not say: its id, its errors and their headers."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.fields import empty

from foundation.api_errors import ServerFailed
from foundation.errors import BodyTooLarge, InvalidRequest, ProtocolError, TemporarilyUnavailable
from foundation.serializers import ErrorSerializer

ErrorClass = type[ProtocolError]
View = TypeVar("View", bound=Callable[..., Any])

# Every address answers with these: an address with a NUL character, a large body, a failure, an overload.
_EVERYWHERE: tuple[ErrorClass, ...] = (InvalidRequest, BodyTooLarge, ServerFailed, TemporarilyUnavailable)
_RETRY_AFTER = OpenApiParameter(
    "Retry-After",
    int,
    OpenApiParameter.HEADER,
    response=[429, 503],
    description="Seconds to wait before the next call.",
)


def describe(
    operation_id: str,
    responses: Mapping[Any, Any],
    *errors: ErrorClass,
    request: Any = empty,
    parameters: tuple[OpenApiParameter, ...] = (),
    error_bodies: Mapping[int, Any] | None = None,
) -> Callable[[View], View]:
    """Decorates a view's method.

    `responses` are the serializers of successes by status, or by status and content type.
    `error_bodies` are those of errors that have more members than ErrorSerializer, by status.
    """
    described = {**responses, **_error_responses(errors, error_bodies or {})}
    has_retries = any(status in described for status in (429, 503))
    headers = (_RETRY_AFTER,) if has_retries else ()
    return extend_schema(operation_id, [*parameters, *headers], request=request, responses=described)


def _error_responses(errors: tuple[ErrorClass, ...], bodies: Mapping[int, Any]) -> dict[int, OpenApiResponse]:
    by_status: dict[int, list[ErrorClass]] = defaultdict(list)
    for kind in dict.fromkeys((*errors, *_EVERYWHERE)):
        by_status[int(kind.status)].append(kind)
    return {
        status: OpenApiResponse(
            bodies.get(status, ErrorSerializer),
            "\n".join(f"- `{kind.code}`: {_meaning(kind)}" for kind in kinds),
            None if status in bodies else [_example(kind) for kind in kinds],
        )
        for status, kinds in sorted(by_status.items())
    }


def write_null_as_a_type(result: Any, **_context: Any) -> Any:
    """A hook of drf-spectacular, which writes members of a TypedDict that may be null as OpenAPI 3.0 does."""
    if isinstance(result, dict):
        if result.pop("nullable", False):
            result["type"] = [result["type"], "null"]
        for part in result.values():
            write_null_as_a_type(part)
    elif isinstance(result, list):
        for part in result:
            write_null_as_a_type(part)
    return result


def _meaning(kind: ErrorClass) -> str:
    return " ".join((kind.__doc__ or "").split())


def _example(kind: ErrorClass) -> OpenApiExample:
    body = {"error": kind.code} | ({"error_description": kind.default_description} if kind.default_description else {})
    return OpenApiExample(kind.__name__, body, response_only=True)
