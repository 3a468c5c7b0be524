"""The OAuth 2.0 and OpenID Connect protocol.

Owns: grants and their uses, consent in the browser, the token endpoint, tokens and signing keys,
introspection, revocation, metadata. Only oauth/tokens/issuance.py issues tokens. Does not own:
agents and their authentication (clients), what an agent may ask for (operations), asking a user on
another device (ciba).

requests/           scopes, operations and resource of a request; signed requests
authorization/      GET and POST /authorize, the consent page, /oidc/logout
token_endpoint/     POST /oauth/token: the pipeline, and one module per grant type
tokens/             access tokens, ID tokens, signing keys, DPoP, certificate binding
grants/             consent, grants, uses, codes and refresh tokens; POST /oauth/revoke
resource_servers/   POST /oauth/introspect, POST /v1/uses, /userinfo
models.py           Grant, Use, SigningKey; codes and refresh tokens, in the swapped tables of
                    django-oauth-toolkit
metadata.py         discovery (OpenID Connect Discovery, RFC 8414) and JWKS
successors.py       deriving a refresh token's successor, so that the server can return it again
errors.py, admin.py errors; grants, uses and signing keys in the administration
"""
