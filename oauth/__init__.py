"""The protocol: one file per specification, and the single place where tokens are minted.

Owns: grants and their uses, consent in the browser, signing keys, the token endpoint's pipeline, introspection,
revocation, metadata. Does not own: who the agent is (clients), what may be asked (operations), asking a person on
another device (ciba).

models.py               Grant, Use, SigningKey; codes and refresh tokens, in django-oauth-toolkit's swapped tables
authorize.py            GET and POST /authorize, and the consent page (RFC 6749 4.1, OpenID Connect Core 3.1.2)
authorization_request.py, interaction.py   its parameters, and what it needs of the person (pure)
consent_page.py, redirecting.py   what the page says; how the browser goes back (RFC 9207)
requesting.py           scope, authorization_details and resource of a request, checked against the agent
request_objects.py      signed requests (CIBA Core 7.1.1, RFC 9101)
audience.py             which resource a token is for (RFC 8707; pure)
token_endpoint.py       POST /oauth/token: one table from grant_type to handler (RFC 6749 3.2)
holding.py              an answer of it that is held back for a client that prefers to wait (RFC 7240)
sender_constraint.py    which key the sender proves to hold (RFC 9449), for the token endpoint and access.py
dpop.py, nonces.py, binding.py   its rules (pure)
access.py               whose call is this, at endpoints that take our access tokens (RFC 6750, RFC 9449 7)
authorization_code.py, refresh_token.py, redeeming.py   what a code and a refresh token buy, and the rule (pure)
successors.py           a refresh token's successor, derived so that it can be given again
client_credentials.py   routine work, unasked (RFC 6749 4.4)
minting.py              access tokens (RFC 9068) and ID tokens (OpenID Connect Core 2)
signing_keys.py         making, choosing, listing and withdrawing keys
verifying.py            tokens of ours that come back: introspection, uses, id_token_hint
introspection.py        POST /oauth/introspect (RFC 7662, RFC 9701)
userinfo.py, logout.py  /userinfo (OpenID Connect Core 5.3), /oidc/logout (RP-Initiated Logout 1.0)
revocation.py           POST /oauth/revoke: one table from the kind of token to what ends it (RFC 7009)
uses.py, spending.py    POST /v1/uses, and its rule (pure)
tree.py, grant_pages.py what hangs on a grant, shown and ended branch by branch
lifecycle.py            consent; make, revoke and spend grants; use codes and refresh tokens up
metadata.py             discovery (OpenID Connect Discovery, RFC 8414) and JWKS
resources.py            which resource server sends this request
"""
