"""Which resource a token is for: `aud` is the resource of the granted scopes and operations (RFC
8707, RFC 9068 3). Pure.
"""

from collections.abc import Collection

from foundation.errors import InvalidScope, InvalidTarget, ProtocolError
from operations.identifiers import is_same_resource


def judge_audience(owners: Collection[str], requested: str | None) -> str | ProtocolError | None:
    """The resource identifier, None if nothing belongs to a resource, or the refusal.

    `owners` are the identifiers of the resources that the requested scopes and operations belong
    to. `requested` is the request's `resource`, in any equivalent spelling. A token is for one
    resource. Scopes of another resource are refused and not dropped, because the user approves all
    of the request or nothing.
    """
    resources = set(owners)
    if requested is not None and not (resources and all(is_same_resource(one, requested) for one in resources)):
        return InvalidTarget("the scopes and authorization_details belong to another resource")
    if len(resources) > 1:
        return InvalidScope(
            "the scopes and authorization_details belong to several resources: request one resource at a time"
        )
    return next(iter(resources), None)
