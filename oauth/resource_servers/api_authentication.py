"""The credential of a resource server, for DRF views and their description at /v1/schema."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from oauth.resource_servers.authentication import authenticate_resource
from operations.models import Resource


class ResourceCredential(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Resource, None]:
        """Raises InvalidClient."""
        return authenticate_resource(request._request), None


# drf-spectacular finds it by its base class.
class ResourceCredentialDescription(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = ResourceCredential
    name = "resource_credential"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "basic",
            "description": "The resource's id and its generated secret. An administrator issues the secret.",
        }
