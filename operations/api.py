"""GET /v1/operation-types: the operation types, machine-readable."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from operations.models import OperationType

OperationTypeShape = inline_serializer(
    "OperationType",
    {
        "type": serializers.CharField(),
        "version": serializers.IntegerField(),
        "resource": serializers.CharField(help_text="The resource identifier: `aud` of the tokens."),
        "title": serializers.CharField(),
        "summary": serializers.CharField(),
        "risk": serializers.ChoiceField(["routine", "sensitive", "critical"]),
        "assurance": serializers.ChoiceField(["session", "number", "passkey"]),
        "uses": serializers.IntegerField(help_text="How many uses one approval buys."),
        "lifetime": serializers.IntegerField(help_text="Seconds that a grant of this type lives."),
        "schema": serializers.JSONField(help_text="JSON Schema 2020-12 of the object without its `type`."),
    },
    many=True,
)


class OperationTypes(APIView):
    """The active operation types. Public: it says what may be asked, not who may ask."""

    @extend_schema(operation_id="operation_types", responses=OperationTypeShape)
    def get(self, _request: Request) -> Response:
        active = OperationType.objects.filter(is_active=True, resource__is_active=True, current__isnull=False)
        types = active.select_related("resource", "current").order_by("name")
        return Response([_shape(one) for one in types], headers={"Cache-Control": "public, max-age=60"})


def _shape(operation_type: OperationType) -> dict[str, Any]:
    version = operation_type.current
    assert version is not None  # noqa: S101 - the query selects types that have a version
    return {
        "type": operation_type.name,
        "version": version.number,
        "resource": operation_type.resource.identifier,
        "title": version.title,
        "summary": version.summary,
        "risk": version.risk,
        "assurance": version.assurance,
        "uses": version.uses,
        "lifetime": version.lifetime,
        "schema": version.schema,
    }
