from django.urls import path, re_path

from foundation.protocol_paths import protocol_path
from oauth.authorization.endpoints import authorize, consent, resume
from oauth.authorization.logout import confirm, logout
from oauth.grants.endpoints import revoke
from oauth.grants.pages import end_branch, end_grant, grant
from oauth.metadata import jwks, metadata
from oauth.resource_servers.api import uses
from oauth.resource_servers.introspection import introspect
from oauth.resource_servers.userinfo import userinfo
from oauth.token_endpoint.endpoints import token

urlpatterns = [
    re_path(r"^authorize/?$", authorize, name="authorize"),
    path("authorize/resume", resume, name="authorize-resume"),
    re_path(r"^consents/(?P<handle>[A-Za-z0-9_-]{43})$", consent, name="consent"),
    protocol_path("oauth/token", token, name="token"),
    protocol_path("oauth/introspect", introspect, name="introspect"),
    protocol_path("userinfo", userinfo, name="userinfo"),
    re_path(r"^oidc/logout/?$", logout, name="rp-logout"),
    path("oidc/logout/confirm", confirm, name="rp-logout-confirm"),
    protocol_path("oauth/revoke", revoke, name="revoke"),
    protocol_path("v1/uses", uses, name="uses"),
    protocol_path(".well-known/openid-configuration", metadata, name="openid-configuration"),
    protocol_path(".well-known/oauth-authorization-server", metadata, name="oauth-authorization-server"),
    protocol_path(".well-known/jwks.json", jwks, name="jwks"),
    path("grants/<uuid:grant_id>", grant, name="grant"),
    path("grants/<uuid:grant_id>/end", end_grant, name="end-grant"),
    path("grants/<uuid:grant_id>/<slug:kind>/<str:branch>/end", end_branch, name="end-branch"),
]
