"""Which resource server sends this request? HTTP Basic with the resource's id and its generated secret."""

from uuid import UUID

from django.http import HttpRequest

from clients.authentication import parse_basic
from foundation.errors import InvalidClient
from foundation.metrics import UNAUTHENTICATED
from operations.models import Resource, ResourceSecret


def authenticate_resource(request: HttpRequest) -> Resource:
    """The active resource whose credential this is. Raises InvalidClient."""
    try:
        return _authenticate(request.headers.get("Authorization", ""))
    except InvalidClient as error:
        UNAUTHENTICATED.labels(request.path, error.detail).inc()
        raise


def _authenticate(header: str) -> Resource:
    if not header:
        raise InvalidClient(detail="no client authentication")
    credentials = parse_basic(header)
    try:
        resource_id = UUID(credentials.unverified_id)
    except ValueError as error:
        raise InvalidClient(detail="unknown resource") from error
    secret = ResourceSecret.find(credentials.unverified_secret, resource_id)
    resource = Resource.objects.filter(pk=resource_id, is_active=True).first() if secret else None
    if resource is None:
        raise InvalidClient(detail="unknown resource or wrong secret")
    return resource
