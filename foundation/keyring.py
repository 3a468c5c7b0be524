"""Encryption at rest: AES-256-GCM under a key-encryption key that has an id, so that keys can be rotated.

A sealed value is: 1 byte version (1), 1 byte length of the key id, the key id (ASCII), 12 bytes
nonce, ciphertext with its 16-byte tag. The associated data includes the value's place
(`table:column:primary key`), so that a value copied to another row cannot be decrypted there.
"""

from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from foundation.handles import random_bytes

FORMAT_VERSION = 1
NONCE_BYTES = 12


class KeyringError(Exception):
    """A sealed value cannot be decrypted: unknown key id, another place, or changed bytes."""


def _keys() -> dict[str, bytes]:
    keys: dict[str, bytes] = settings.KEY_ENCRYPTION_KEYS
    if not keys:
        raise KeyringError("no key-encryption key is configured (KEY_ENCRYPTION_KEYS_FILE)")
    return keys


def seal(plaintext: bytes, *, place: str) -> bytes:
    """Encrypts under the first key of the file. `place` is `table:column:primary key`."""
    key_id, key = next(iter(_keys().items()))
    header = bytes([FORMAT_VERSION, len(key_id)]) + key_id.encode()
    nonce = random_bytes(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + place.encode())


def open_sealed(sealed: bytes, *, place: str, keys: Mapping[str, bytes] | None = None) -> bytes:
    """Decrypts a value that `seal` encrypted for the same place. `keys` replace this server's own.

    Raises KeyringError.
    """
    key_id = sealed_under(sealed)
    key = (_keys() if keys is None else keys).get(key_id)
    if key is None:
        raise KeyringError(f"sealed under key {key_id}, which is not in KEY_ENCRYPTION_KEYS_FILE")
    end = 2 + len(key_id)
    header, nonce, ciphertext = sealed[:end], sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, header + place.encode())
    except (InvalidTag, ValueError) as error:
        raise KeyringError(f"the sealed value does not belong to {place}, or was changed") from error


def sealed_under(sealed: bytes) -> str:
    """The id of the key that encrypted this value. Raises KeyringError."""
    if len(sealed) < 2 or sealed[0] != FORMAT_VERSION or len(sealed) < 2 + sealed[1]:
        raise KeyringError("not a sealed value")
    return sealed[2 : 2 + sealed[1]].decode("ascii", errors="replace")


def derive_keys(purpose: str) -> list[bytes]:
    """32 bytes for one purpose from each key-encryption key, in the order of the file (RFC 5869).

    Sign or encrypt with the first key and accept all of them. Then all processes agree, and a
    rotation interrupts no one.
    """
    return [HKDF(SHA256(), 32, None, purpose.encode()).derive(key) for key in _keys().values()]
