"""The fields that decide who controls an agent and where its codes and tokens go. Pure.

A registration access token lets its holder manage a registration, but does not prove that the
holder is the agent. The agent's key, certificate or secret proves that. So a change that adds to
these fields needs such a proof too (clients/authentication.py: prove_key). Without it, everything
that the agent had before ends (clients/lifecycle.py: reset).
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Control:
    """Field → its registered values. The holder of one of `keys` or of `certificate` is the agent."""

    token_endpoint_auth_method: str
    keys: frozenset[str]  # RFC 7638 thumbprints: another `kid` does not make another key
    jwks_uri: str
    certificate: frozenset[tuple[str, str]]  # kind and name (RFC 8705 2.1.2)
    redirect_uris: frozenset[str]
    notification_endpoint: str
    delivery_mode: str


def added(before: Control, after: Control) -> list[str]:
    """The fields through which another party could become the agent, or receive its codes or tokens.

    An additional key or redirect URI counts. Removing one does not.
    """
    return [field.name for field in fields(Control) if _adds(getattr(before, field.name), getattr(after, field.name))]


def _adds(before: object, after: object) -> bool:
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        return not after <= before
    return before != after
