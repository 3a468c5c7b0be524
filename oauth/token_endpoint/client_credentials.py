"""The client_credentials grant (RFC 6749 4.4): an agent's own routine work, without approval."""

from datetime import datetime, timedelta

from django.conf import settings

from foundation.errors import InvalidAuthorizationDetails, InvalidScope
from oauth.grants.lifecycle import make_unasked_grant
from oauth.requests.requested_access import RequestedAccess, find_requested_access
from oauth.token_endpoint.endpoints import GrantHandler, TokenRequest, Verdict
from oauth.tokens.issuance import Issue


def _prepare(token_request: TokenRequest, _now: datetime) -> RequestedAccess:
    requested = find_requested_access(token_request.agent, token_request.parameters, has_default=True)
    if not requested.scopes and not requested.authorization_details:
        raise InvalidScope("request scopes or authorization_details of a resource")
    if requested.identity_scopes:
        raise InvalidScope("client_credentials has no user: leave out openid, profile and email")
    if not all(scope.runs_unasked for scope in requested.scopes):
        raise InvalidScope("a scope that is not routine needs a user's approval: use CIBA")
    if not all(version.runs_unasked for version in requested.versions):
        raise InvalidAuthorizationDetails("an operation that is not routine needs a user's approval: use CIBA")
    return requested


def _decide(token_request: TokenRequest, requested: RequestedAccess, now: datetime) -> Verdict:
    lifetime = min([settings.ACCESS_TOKEN_LIFETIME, *(version.lifetime for version in requested.versions)])
    expires_at = now + timedelta(seconds=lifetime)
    grant = None
    if requested.authorization_details:
        grant = make_unasked_grant(token_request.agent, requested, now, expires_at)
    return Issue(
        agent=token_request.agent,
        scopes=requested.scope_names,
        resource=requested.resource.identifier if requested.resource else None,
        expires_at=expires_at,
        grant=grant,
    )


def _look(token_request: TokenRequest, requested: RequestedAccess, now: datetime) -> Verdict | RequestedAccess:
    """A token for scopes alone has no grant, so its event is all that is written."""
    return requested if requested.authorization_details else _decide(token_request, requested, now)


HANDLER = GrantHandler(_prepare, _decide, look=_look)
