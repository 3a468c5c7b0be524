"""The access that a request asks for, checked against what the agent may ask for.

Owns: scopes, authorization_details and resource of a request; signed requests. Does not own: the
other parameters of an authorization request (oauth/authorization) or a CIBA request (ciba).

requested_access.py   scope, authorization_details and resource, checked against the agent
registered_agent.py   whether the agent's registration meets its profile, so that it may ask at all
request_objects.py    signed requests (CIBA Core 7.1.1, RFC 9101)
audience.py           which resource a token is for (RFC 8707; pure)
"""
