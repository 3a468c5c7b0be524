"""The authorization code flow in the browser: /authorize, the consent page and /oidc/logout.

Owns: the parameters of an authorization request, the decision between sign-in and consent, the way
back to the agent. Does not own: the grant and the code (oauth/grants), and sign-in (accounts).

endpoints.py               GET and POST /authorize, and the consent page (RFC 6749 4.1,
                           OpenID Connect Core 3.1.2)
parameters.py              the parameters of an authorization request (pure)
interaction.py             what the request needs: sign-in, consent, or nothing (pure)
consent_page.py            the content of the consent page
authorization_response.py  the response that returns the browser to the agent (RFC 9207)
logout.py                  /oidc/logout (RP-Initiated Logout 1.0)
"""
