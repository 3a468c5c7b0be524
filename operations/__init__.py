"""What may be asked.

Owns: Resource (an API that trusts our tokens; identifier = `aud`), Scope, OperationType and its
versions: the schema of an `authorization_details` type (RFC 9396), its risk, the assurance that a yes
needs, how many uses one approval buys, and the wording that a person reads. Does not own: who may ask
for it (clients) or the asking (ciba, oauth).

models.py      the tables; a version is never changed, an edit makes the next one
identifiers.py   which URIs identify a resource, and which two name the same (pure)
risk.py        risk and assurance, in order (pure)
schemas.py     which JSON Schemas we accept, and checking a value against one (pure)
wording.py     `{field|formatter}` text, rendered by the server (pure)
lifecycle.py   a new version, a resource's credential
views.py       GET /v1/operation-types
"""
