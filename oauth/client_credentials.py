"""The client_credentials grant (RFC 6749 4.4): an agent's own routine work, unasked."""

from datetime import datetime, timedelta

from django.conf import settings

from foundation.errors import InvalidAuthorizationDetails, InvalidScope
from oauth.lifecycle import make_unasked_grant
from oauth.minting import Issue
from oauth.requesting import Requested, find_requested
from oauth.token_endpoint import GrantHandler, TokenRequest, Verdict


def _prepare(asked: TokenRequest, now: datetime) -> Requested:
    requested = find_requested(asked.agent, asked.parameters, has_default=True)
    if not requested.scopes and not requested.authorization_details:
        raise InvalidScope("ask for scopes or authorization_details of a resource")
    if requested.identity_scopes:
        raise InvalidScope("there is no person here: leave out openid, profile and email")
    if not all(scope.runs_unasked for scope in requested.scopes):
        raise InvalidScope("a scope that is not routine needs a person's approval: ask by CIBA")
    if not all(version.runs_unasked for version in requested.versions):
        raise InvalidAuthorizationDetails("an operation that is not routine needs a person's approval: ask by CIBA")
    return requested


def _decide(asked: TokenRequest, requested: Requested, now: datetime) -> Verdict:
    lifetime = min([settings.ACCESS_TOKEN_LIFETIME, *(version.lifetime for version in requested.versions)])
    expires_at = now + timedelta(seconds=lifetime)
    grant = None
    if requested.authorization_details:
        grant = make_unasked_grant(asked.agent, requested, now, expires_at)
    return Issue(
        agent=asked.agent,
        scopes=requested.scope_names,
        resource=requested.resource.identifier if requested.resource else None,
        expires_at=expires_at,
        grant=grant,
    )


HANDLER = GrantHandler(_prepare, _decide)
