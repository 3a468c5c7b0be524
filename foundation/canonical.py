"""Canonical JSON (RFC 8785), and the digest that binds an approval to one operation."""

import hashlib
from typing import Any

import rfc8785

from foundation.handles import b64url


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 bytes of `value`. Raises ValueError for NaN and for integers beyond 2**53 - 1."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def is_same_json(one: Any, other: Any) -> bool:
    """Whether both are the same JSON: 1 and 1.0 are, 1 and true are not, although Python calls them equal."""
    return canonical_json(one) == canonical_json(other)


def operation_digest(
    *, authorization_details: list[dict[str, Any]], client_id: str, resource: str | None, sub: str
) -> str:
    """base64url SHA-256 of the granted operation: client, user, resource and authorization_details.

    The token, introspection, each use and the audit events carry the same value. A resource server
    computes it from the call that it is about to execute (docs/guides/resource-servers.md).
    """
    operation = {
        "authorization_details": authorization_details,
        "client_id": client_id,
        "resource": resource,
        "sub": sub,
    }
    return b64url(hashlib.sha256(canonical_json(operation)).digest())
