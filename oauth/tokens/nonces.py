"""Nonces for DPoP proofs (RFC 9449 8), derived from the clock and a key.

Pure.

There is one nonce per window of time for all clients: it proves when a proof was made, not who made
it. Every process that has the key computes the same nonce, and nothing is stored.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from foundation.handles import b64url

NONCE_WINDOW_S = 60  # seconds
# The previous window, for a nonce in transit; the next one, for a server whose clock is ahead.
ACCEPTED_WINDOWS = (0, -1, 1)


def current_nonce(keys: Sequence[bytes], now: datetime) -> str:
    """The nonce that the next proof must carry: 128 bits that cannot be predicted without the key."""
    return _nonce(keys[0], _window(now))


def is_fresh(unverified_nonce: str, keys: Sequence[bytes], now: datetime) -> bool:
    """Whether one of these keys made the nonce, at most one to two minutes ago."""
    accepted = [_nonce(key, _window(now) + step) for key in keys for step in ACCEPTED_WINDOWS]
    return any(hmac.compare_digest(one.encode(), unverified_nonce.encode()) for one in accepted)


def _window(now: datetime) -> int:
    return int(now.timestamp()) // NONCE_WINDOW_S


def _nonce(key: bytes, window: int) -> str:
    return b64url(hmac.new(key, str(window).encode(), hashlib.sha256).digest()[:16])
