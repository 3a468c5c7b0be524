"""Which resource server sends this request? HTTP Basic with the resource's id and its generated secret."""

from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from clients.authentication import parse_basic
from foundation.errors import InvalidClient
from foundation.handles import digest
from foundation.prepared import Given, Rows
from operations.models import Resource, ResourceSecret


def is_from_resource(request: HttpRequest) -> bool:
    """Does it come with what resources have, and no agent: a user name that is a UUID?"""
    try:
        UUID(parse_basic(request.headers.get("Authorization", "")).unverified_id)
    except (InvalidClient, ValueError):
        return False
    return True


def by_secret() -> QuerySet[Resource]:
    """The active resource whose credential is given."""
    secret = ResourceSecret.objects.filter(
        resource=OuterRef("pk"), secret_digest=Given("secret_digest"), revoked_at=None
    )
    return Resource.objects.filter(Exists(secret), pk=Given("resource"), is_active=True)


_BY_SECRET = Rows(by_secret)


def authenticate_resource(request: HttpRequest, find: Rows[Resource] = _BY_SECRET, **given: Any) -> Resource:
    """The active resource whose credential this is, in one query. Raises InvalidClient.

    `find` is `by_secret` with more that the endpoint wants answered by the same query, about what is `given`.
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
