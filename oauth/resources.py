"""Which resource server sends this request? HTTP Basic with the resource's id and its generated secret."""

from uuid import UUID

from django.db.models import Exists, OuterRef, Subquery, Value
from django.http import HttpRequest

from clients.authentication import parse_basic
from foundation.errors import InvalidClient
from foundation.handles import digest
from foundation.metrics import UNAUTHENTICATED
from operations.models import Resource, ResourceSecret

Fact = Exists | Subquery | Value


def is_from_resource(request: HttpRequest) -> bool:
    """Does it come with what resources have, and no agent: a user name that is a UUID?"""
    try:
        UUID(parse_basic(request.headers.get("Authorization", "")).unverified_id)
    except (InvalidClient, ValueError):
        return False
    return True


def authenticate_resource(request: HttpRequest, **facts: Fact) -> Resource:
    """The active resource whose credential this is, in one query. Raises InvalidClient.

    `facts` are expressions that the endpoint wants answered by the same query; they become its attributes.
    """
    try:
        return _authenticate(request.headers.get("Authorization", ""), facts)
    except InvalidClient as error:
        UNAUTHENTICATED.labels(request.path, error.detail).inc()
        raise


def _authenticate(header: str, facts: dict[str, Fact]) -> Resource:
    if not header:
        raise InvalidClient(detail="no client authentication")
    credentials = parse_basic(header)
    try:
        resource_id = UUID(credentials.unverified_id)
    except ValueError as error:
        raise InvalidClient(detail="unknown resource") from error
    secret = ResourceSecret.objects.filter(
        resource=OuterRef("pk"), secret_digest=digest(credentials.unverified_secret), revoked_at=None
    )
    resource = Resource.objects.filter(Exists(secret), pk=resource_id, is_active=True).annotate(**facts).first()
    if resource is None:
        raise InvalidClient(detail="unknown resource or wrong secret")
    return resource
