"""What every other package needs. It knows no domain.

keyring.py                       encryption at rest, under rotatable key-encryption keys
sealed_columns.py                which columns are encrypted, and their re-encryption under a new key
handles.py                       random values and their digests
generated_secrets.py             client secrets that the server generates
attempts.py                      one counter of attempts: wrong passwords, codes and secrets, registrations
attempt_limits.py                a limit on attempts (pure)
canonical.py, plaintext.py       canonical JSON (RFC 8785); which text is safe to show (pure)
errors.py, forms.py, endpoint.py protocol errors, request bodies, what protocol endpoints share
protocol_paths.py                the exact paths of the protocol endpoints
trace_context.py                 the caller's trace: the header traceparent (W3C Trace Context)
serializers.py, api_errors.py    strict fields and request bodies of /v1; errors of every /v1 endpoint
api_description.py               how a /v1 endpoint describes its id and errors at /v1/schema
idempotency.py, cross_origin.py  the Idempotency-Key header; which endpoints allow CORS
jws.py, certificates.py          signed JSON from outside; certificates from a proxy (pure)
networks.py                      which addresses count as one sender (pure)
outbox.py, models.py             work that must reach somebody outside, and its table
outbound.py                      the only way to make outbound HTTP calls, and the limit of calls per host
remote_jwks.py                   the one reader of JWK Sets that others publish
backoff.py                       the pause before the next attempt
transactions.py                  whether a transaction is open: required for some calls, refused for others
volatile.py, poll_throttle.py    access to Redis; the poll throttle
pending_answers.py, wakeups.py   answers that a client may wait for, and what wakes them
state_machine.py                 allowed moves of a state, and the one UPDATE that makes a move (pure)
compiled_queries.py              queries that are compiled to SQL once
compiled_moves.py                the moves of a state machine, compiled likewise
inserts.py                       INSERT of whole rows
changed_columns.py               UPDATE of the columns that a form or file changed
prepared_statements.py           statements that PostgreSQL plans once per connection
database_connections.py          the connections on which it does
process_cache.py                 values that a process reads once per period, and not once per request
keyset.py                        pages of a large table by the key of a row
large_lists.py, list_filters.py  the administration's lists of large tables, and their filters
parties.py                       agents and users by what an administrator types
metrics.py, admin.py             counters; what the admin classes share
rows.py                          a form field whose value is a list of rows
settings_fields.py               a typed description of settings, and its JSON Schema (pure)
settings_form.py                 the inputs of a form that such a description makes
key_inputs.py                    public keys as an input of a form
"""
