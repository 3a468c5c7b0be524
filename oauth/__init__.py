"""The protocol: one file per specification, and the single place where tokens are minted.

Owns: grants and their uses, signing keys, the token endpoint's pipeline, introspection, metadata.
Does not own: who the agent is (clients), what may be asked (operations), asking a person (ciba).

models.py               Grant, Use, SigningKey; django-oauth-toolkit's swapped tables
requesting.py           scope, authorization_details and resource of a request, checked against the agent
request_objects.py      signed requests (CIBA Core 7.1.1, RFC 9101)
audience.py             which resource a token is for (RFC 8707; pure)
token_endpoint.py       POST /oauth/token: one table from grant_type to handler (RFC 6749 3.2)
sender_constraint.py    which key the sender proves to hold (RFC 9449), for the token endpoint and access.py
dpop.py, nonces.py, binding.py   its rules (pure)
access.py               whose call is this, at endpoints that take our access tokens (RFC 6750, RFC 9449 7)
client_credentials.py   routine work, unasked (RFC 6749 4.4)
minting.py              access tokens (RFC 9068) and ID tokens (OpenID Connect Core 2)
signing_keys.py         making, choosing, listing and withdrawing keys
verifying.py            tokens of ours that come back: introspection, uses, id_token_hint
introspection.py        POST /oauth/introspect (RFC 7662)
uses.py, spending.py    POST /v1/uses, and its rule (pure)
lifecycle.py            make, revoke and spend grants
metadata.py             discovery (OpenID Connect Discovery, RFC 8414) and JWKS
resources.py            which resource server sends this request
"""
