"""Tokens: issuing, signing and verifying them, and binding them to keys.

Owns: access tokens, ID tokens, signing keys, DPoP and certificate binding. Does not own: the
decision to issue a token (oauth/token_endpoint), and refresh tokens, which are rows (oauth/grants).

issuance.py             access tokens (RFC 9068) and ID tokens (OpenID Connect Core 2)
signing_keys.py         creating, choosing, publishing and withdrawing keys
token_verification.py   verifying our own tokens: introspection, uses, id_token_hint
sender_constraint.py    which key the sender of a request proves (RFC 9449, RFC 8705)
dpop.py, nonces.py, key_binding.py   the rules for proofs, nonces and bound tokens (pure)
"""
