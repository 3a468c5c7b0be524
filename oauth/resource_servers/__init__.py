"""The endpoints of resource servers, and endpoints of ours that accept access tokens.

Owns: the authentication of resource servers, introspection, spending a use, /userinfo. Does not
own: the rule for a use and its transaction (oauth/grants).

authentication.py   which resource server sends a request
introspection.py    POST /oauth/introspect (RFC 7662, RFC 9701)
api.py              POST /v1/uses
api_authentication.py   the same authentication, for DRF and /v1/schema
access.py           verifying the access token of a call to us (RFC 6750, RFC 9449 7)
userinfo.py         /userinfo (OpenID Connect Core 5.3)
"""
