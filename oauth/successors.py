"""Derives a refresh token's successor by HMAC, so that it can be returned again although it is not
stored.

The HMAC needs three parts from three places: the old token (its holder), the salt (the database)
and a sub-key of a key-encryption key (the server). So neither a stolen token nor a copy of the
database is enough to compute the next token.
"""

import hashlib
import hmac
from collections.abc import Iterator

from foundation.handles import b64url
from foundation.keyring import derive_keys

PURPOSE = "refresh token successor"
SALT_BYTES = 32


def derive_successors(token: str, salt: bytes) -> Iterator[str]:
    """One candidate for each key-encryption key. The first one is used for a new successor."""
    for key in derive_keys(PURPOSE):
        yield b64url(hmac.digest(key, salt + token.encode(), hashlib.sha256))
