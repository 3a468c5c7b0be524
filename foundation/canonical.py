"""Canonical JSON (RFC 8785) and the digest that binds a yes to one operation."""

import hashlib
from typing import Any

import rfc8785

from foundation.handles import b64url


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes. Raises ValueError for what it cannot express (NaN, integers beyond 2**53 - 1)."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def operation_digest(
    *, authorization_details: list[dict[str, Any]], client_id: str, resource: str | None, sub: str
) -> str:
    """base64url SHA-256 over the operation as granted: who asks, for whom, where, and what exactly.

    The same value is in the token, at introspection, in each use and in the audit record; a resource
    server computes it from the call that it is about to carry out (docs/guides/resource-servers.md).
    """
    operation = {
        "authorization_details": authorization_details,
        "client_id": client_id,
        "resource": resource,
        "sub": sub,
    }
    return b64url(hashlib.sha256(canonical_json(operation)).digest())
