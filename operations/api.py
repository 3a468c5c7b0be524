"""GET /v1/operation-types: the operation types, machine-readable."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api_description import describe
from foundation.api_errors import NotAcceptable
from operations.models import OperationType
from operations.serializers import OperationTypeSerializer


class OperationTypes(APIView):
    @describe("operation_types", {200: OperationTypeSerializer(many=True)}, NotAcceptable)
    def get(self, _request: Request) -> Response:
        """Lists the active operation types: what an agent may ask for in `authorization_details`, by name.

        For everybody, without authentication. The list does not say which agents may ask for a type.
        """
        active = OperationType.objects.filter(is_active=True, resource__is_active=True, current__isnull=False)
        types = active.select_related("resource", "current").order_by("name")
        return Response(OperationTypeSerializer(types, many=True).data, headers={"Cache-Control": "public, max-age=60"})
