"""Authenticates a resource server: HTTP Basic with the resource's id and its generated secret."""

from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest

from clients.authentication import parse_basic
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter
from foundation.errors import InvalidClient
from foundation.handles import digest
from operations.models import Resource, ResourceSecret


def is_from_resource(request: HttpRequest) -> bool:
    """Whether the user name is a UUID, as for resources and never for agents."""
    try:
        UUID(parse_basic(request.headers.get("Authorization", "")).unverified_id)
    except (InvalidClient, ValueError):
        return False
    return True


def by_secret() -> QuerySet[Resource]:
    """The active resource that has the given credential."""
    return Resource.objects.filter(
        ExistsByKey(ResourceSecret.valid(OuterRef("pk"))), pk=Parameter("resource"), is_active=True
    )


_BY_SECRET = CompiledQuery(by_secret)


def authenticate_resource(request: HttpRequest, find: CompiledQuery[Resource] = _BY_SECRET, **given: Any) -> Resource:
    """The active resource that has this credential, in one query.

    Raises InvalidClient.

    `find` is `by_secret` with further annotations that the endpoint needs from the same query;
    `given` are their parameters.
    """
    header = request.headers.get("Authorization", "")
    if not header:
        raise InvalidClient(detail="no client authentication")
    credentials = parse_basic(header)
    try:
        resource_id = UUID(credentials.unverified_id)
    except ValueError as error:
        raise InvalidClient(detail="unknown resource") from error
    resource = find.first(resource=resource_id, secret_digest=digest(credentials.unverified_secret), **given)
    if resource is None:
        raise InvalidClient(detail="unknown resource or wrong secret")
    return resource
