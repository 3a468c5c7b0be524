"""SCRAM verifiers in PostgreSQL's format, so that no password is sent to the server."""

import hashlib
import hmac
from base64 import b64encode

from foundation.handles import random_bytes

_ITERATIONS = 4096  # RFC 7677's minimum and PostgreSQL's default; 256 random bits need no more


def verifier(password: str) -> str:
    """A SCRAM verifier in the server's format (RFC 5803).

    Our passwords are ASCII, which SASLprep does not change.

    libpq computes the same in three times the time.
    """
    salt = random_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    parts = [b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
