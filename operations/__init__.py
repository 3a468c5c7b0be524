"""What an agent may ask for: resources, scopes and operation types.

Owns: Resource (an API that accepts our tokens; its identifier is the token's `aud`), Scope, and
OperationType with its versions. A version has a JSON Schema for the `authorization_details` type
(RFC 9396), a risk, a required assurance, a number of uses per approval, and a wording. Does not
own: which agent may ask for it (clients), and the requests (ciba, oauth).

models.py        the tables; an edit creates a new version, and a version never changes
identifiers.py   which URIs identify a resource, and which two are the same (pure)
lifetimes.py     the longest lifetime of a token, a lease and an operation type (pure)
risk.py          risk and assurance, in order (pure)
schemas.py       which JSON Schemas are accepted, and checking a value against one (pure)
patterns.py, formats.py   `pattern` and `format` in schemas (pure)
mismatches.py    the message about a value that does not match its schema (pure)
wording.py       `{field|formatter}` text, rendered by the server (pure)
listed_types.py  which operation types may be requested, cached in each process
lifecycle.py     saving all of these; a new version of an operation type; a resource's credential
api.py, serializers.py   GET /v1/operation-types, and what it answers
admin.py         resources, scopes and operation types in the administration
"""
