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
schema_rows.py   the fields of an operation as rows, and their JSON Schema (pure)
tightening.py    a common JSON Schema as this server accepts it, and what was changed (pure)
api_documents.py operations in OpenAPI documents and MCP tools (pure)
examples.py      example values for the preview of a prompt (pure)
versions.py      the differences between two versions (pure)
lifecycle.py     saving all of these; a new version of an operation type; a resource's credential
api.py, serializers.py   GET /v1/operation-types, and what it answers
type_form.py     the form of an operation type: rows, wording, risk and limits
preview_form.py  a form with the preview of the prompt beside it
type_pages.py    its versions and the import of a document, in the administration
admin.py         resources, scopes and operation types in the administration
"""
