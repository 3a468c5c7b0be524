"""Random values, digests and base64url. All randomness of the product comes from this module."""

import hashlib
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode


def new_handle() -> str:
    """An opaque bearer value: 256 random bits in 43 characters of A-Z a-z 0-9 - _.

    CIBA Core 7.3 requires 128 bits, recommends 160, and allows exactly these characters.
    """
    return secrets.token_urlsafe(32)


def random_bytes(count: int) -> bytes:
    return secrets.token_bytes(count)


def new_id() -> uuid.UUID:
    return uuid.uuid4()


def digest(value: str) -> bytes:
    """The SHA-256 of `value`. Values that are only compared are stored and looked up by this digest."""
    return hashlib.sha256(value.encode()).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compares two values in constant time."""
    return secrets.compare_digest(left, right)


def b64url(value: bytes) -> str:
    """Encodes base64url without padding (RFC 7515 2)."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def from_b64url(value: str) -> bytes:
    """Decodes unpadded base64url. Raises ValueError, also for characters outside the alphabet."""
    if not value.isascii() or not all(c.isalnum() or c in "-_" for c in value):
        raise ValueError("not base64url")
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))
