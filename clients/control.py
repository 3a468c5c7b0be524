"""What decides who can pass for an agent, and where its codes and tokens go; and what a change adds to it. Pure.

A registration access token manages a registration. It does not prove who the agent is: that is the agent's key,
certificate or secret. So a change of what is here needs that proof too (clients/authentication.py: prove_key), or
everything that the agent was trusted with before ends (clients/lifecycle.py: reset).
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Control:
    """Field → what is registered. Whoever holds one of `keys` or `certificate` is the agent."""

    token_endpoint_auth_method: str
    keys: frozenset[str]  # RFC 7638 thumbprints: another `kid` makes no other key
    jwks_uri: str
    certificate: frozenset[tuple[str, str]]  # kind and name (RFC 8705 2.1.2)
    redirect_uris: frozenset[str]
    notification_endpoint: str
    delivery_mode: str


def added(before: Control, after: Control) -> list[str]:
    """The fields by which somebody else could be the agent, or get its codes or tokens.

    One more key or redirect URI beside the old ones counts; leaving some of them out does not.
    """
    return [field.name for field in fields(Control) if _adds(getattr(before, field.name), getattr(after, field.name))]


def _adds(before: object, after: object) -> bool:
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        return not after <= before
    return before != after
