"""The longest lifetime of anything that is issued. Pure."""

from datetime import timedelta

# Of a token, hence of an operation type and of a lease: a working day. A signing key stays listed
# this long after it signed last, and a grant's page shows tokens that were issued this long ago.
MAX_TOKEN_LIFETIME = timedelta(days=1)
MAX_TOKEN_LIFETIME_S = int(MAX_TOKEN_LIFETIME.total_seconds())
