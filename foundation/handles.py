"""Random values and their digests. All randomness of the product comes from here."""

import hashlib
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode


def new_handle() -> str:
    """An opaque bearer value: 256 random bits in 43 characters of A-Z a-z 0-9 - _.

    CIBA Core 7.3 asks 128 bits and recommends 160; these characters are the ones it allows.
    """
    return secrets.token_urlsafe(32)


def random_bytes(count: int) -> bytes:
    return secrets.token_bytes(count)


def new_id() -> uuid.UUID:
    return uuid.uuid4()


def digest(value: str) -> bytes:
    """SHA-256. Values that are only compared are stored like this, and looked up by it."""
    return hashlib.sha256(value.encode()).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compares in constant time."""
    return secrets.compare_digest(left, right)


def b64url(value: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def from_b64url(value: str) -> bytes:
    """The bytes of unpadded base64url. Raises ValueError, also for characters outside the alphabet."""
    if not value.isascii() or not all(c.isalnum() or c in "-_" for c in value):
        raise ValueError("not base64url")
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))
