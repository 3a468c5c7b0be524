"""Nonces for DPoP proofs (RFC 9449 8), made by the clock and a key alone. Pure.

One nonce per window of time, the same for everybody: it proves when a proof was made, not by whom. Every
process that has the key agrees on it, and nothing is stored.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from foundation.handles import b64url

WINDOW = 60  # seconds
# The one before, for a nonce on its way; the one after, for a neighbour whose clock is ahead.
ACCEPTED = (0, -1, 1)


def current_nonce(keys: Sequence[bytes], now: datetime) -> str:
    """What the next proof must carry: 128 bits that nobody without the key can tell in advance."""
    return _nonce(keys[0], _window(now))


def is_fresh(unverified_nonce: str, keys: Sequence[bytes], now: datetime) -> bool:
    """Made by one of these keys, one to two minutes ago at most."""
    accepted = [_nonce(key, _window(now) + step) for key in keys for step in ACCEPTED]
    return any(hmac.compare_digest(one.encode(), unverified_nonce.encode()) for one in accepted)


def _window(now: datetime) -> int:
    return int(now.timestamp()) // WINDOW


def _nonce(key: bytes, window: int) -> str:
    return b64url(hmac.new(key, str(window).encode(), hashlib.sha256).digest()[:16])
