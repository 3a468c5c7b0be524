"""What every other package stands on; it knows no domain.

Owns: encryption at rest (keyring), random values and digests (handles), credentials that we generate
(secrets), canonical JSON and text that is safe to show (canonical, plaintext), protocol errors and
parameters of a form (errors, forms), signed JSON from outside (jws), what pages of other origins may
call (cross_origin), pacing in Redis (pacing), answers that may be waited for and what wakes them
(waiting, wakeups), work owed to the outside (outbox, and its table), queries that are put into SQL once
(prepared).
"""
