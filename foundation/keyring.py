"""Encryption at rest: AES-256-GCM under a key-encryption key with an id, so that keys can be rotated.

A sealed value is: 1 byte version (1), 1 byte length of the key id, the key id (ASCII), 12 bytes nonce,
ciphertext with its 16-byte tag. The place where a value lives (`table:column:primary key`) is
authenticated with it: a value copied to another row does not open there.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from foundation.handles import random_bytes

VERSION = 1
NONCE_BYTES = 12


class KeyringError(Exception):
    """A sealed value cannot be opened: unknown key id, another place, or changed bytes."""


def _keys() -> dict[str, bytes]:
    keys: dict[str, bytes] = settings.KEY_ENCRYPTION_KEYS
    if not keys:
        raise KeyringError("no key-encryption key is configured (KEY_ENCRYPTION_KEYS_FILE)")
    return keys


def seal(plaintext: bytes, *, place: str) -> bytes:
    """Encrypts under the first key of the file. `place` is `table:column:primary key`."""
    key_id, key = next(iter(_keys().items()))
    header = bytes([VERSION, len(key_id)]) + key_id.encode()
    nonce = random_bytes(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + place.encode())


def open_sealed(sealed: bytes, *, place: str) -> bytes:
    """Decrypts what `seal` made for the same place. Raises KeyringError."""
    key_id = sealed_under(sealed)
    key = _keys().get(key_id)
    if key is None:
        raise KeyringError(f"sealed under key {key_id}, which is not in KEY_ENCRYPTION_KEYS_FILE")
    end = 2 + len(key_id)
    header, nonce, ciphertext = sealed[:end], sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, header + place.encode())
    except (InvalidTag, ValueError) as error:
        raise KeyringError(f"the sealed value does not belong to {place}, or was changed") from error


def sealed_under(sealed: bytes) -> str:
    """The id of the key that a sealed value was encrypted under. Raises KeyringError."""
    if len(sealed) < 2 or sealed[0] != VERSION or len(sealed) < 2 + sealed[1]:
        raise KeyringError("not a sealed value")
    return sealed[2 : 2 + sealed[1]].decode("ascii", errors="replace")


def derive_keys(purpose: str) -> list[bytes]:
    """32 bytes for one purpose from each key-encryption key, in the file's order (RFC 5869).

    Make with the first and accept all: so every process agrees, and a rotation is not seen by anybody.
    """
    return [HKDF(SHA256(), 32, None, purpose.encode()).derive(key) for key in _keys().values()]
