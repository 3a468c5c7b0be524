"""Which resource a token is for: `aud` is the Resource of what was granted (RFC 8707, RFC 9068 3). Pure."""

from collections.abc import Collection

from foundation.errors import InvalidScope, InvalidTarget, ProtocolError
from operations.identifiers import is_same_resource


def judge_audience(owners: Collection[str], asked: str | None) -> str | ProtocolError | None:
    """The resource identifier, None where nothing belongs to one, or the refusal.

    `owners` are the identifiers of the resources that the asked scopes and operations belong to; `asked` is the
    request's `resource`, in any spelling of it. One token is for one resource: what belongs elsewhere is refused and
    not dropped, because the user is asked for all of it or for nothing.
    """
    resources = set(owners)
    if asked is not None and not (resources and all(is_same_resource(one, asked) for one in resources)):
        return InvalidTarget("resource is not the one that these scopes and authorization_details belong to")
    if len(resources) > 1:
        return InvalidScope("these scopes and authorization_details belong to several resources: ask one at a time")
    return next(iter(resources), None)
