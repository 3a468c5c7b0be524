"""The value of a refresh token's successor: an HMAC, so that it can be given again although it is not stored.

It takes three parts that no one place holds: the old token (its holder), the salt (the database) and a sub-key of a
key-encryption key (the server). So neither a stolen token nor a copy of the database leads to the next token.
"""

import hashlib
import hmac
from collections.abc import Iterator

from foundation.handles import b64url
from foundation.keyring import derive_keys

PURPOSE = "refresh token successor"
SALT_BYTES = 32


def derive_successors(token: str, salt: bytes) -> Iterator[str]:
    """One candidate by each key-encryption key; the first is the one for a new successor."""
    for key in derive_keys(PURPOSE):
        yield b64url(hmac.digest(key, salt + token.encode(), hashlib.sha256))
