"""POST /oauth/token: one pipeline, and one module per grant type.

Owns: the phases of a token request, long polls, and the grant types authorization_code,
refresh_token and client_credentials. Does not own: the CIBA grant type (ciba/token_grant.py), and
issuing tokens (oauth/tokens).

endpoints.py            the pipeline and the table from grant_type to handler (RFC 6749 3.2)
long_poll.py            the response to a client that sends `Prefer: wait` (RFC 7240)
authorization_code.py, refresh_token.py, client_credentials.py   one module per grant type
redemption.py           whether a code or refresh token may be redeemed (pure)
"""
