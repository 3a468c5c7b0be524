"""The keys that a token is bound to, and whether its sender proves to hold them (RFC 9449, RFC
8705). Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foundation.errors import InvalidRequest, ProtocolError
from oauth.errors import InvalidDpopProof

JKT = "jkt"
X5T = "x5t#S256"


@dataclass(frozen=True)
class Binding:
    """The keys that the sender of a request proved to hold."""

    jkt: str | None = None  # RFC 7638 thumbprint of the DPoP key
    x5t: str | None = None  # SHA-256 of the TLS client certificate, base64url

    @property
    def cnf(self) -> dict[str, str]:
        """The `cnf` claim (RFC 7800 3); empty for a bearer token."""
        return {name: value for name, value in ((JKT, self.jkt), (X5T, self.x5t)) if value}

    @property
    def token_type(self) -> str:
        return token_type(self.cnf)

    def proves(self, cnf: Mapping[str, Any]) -> bool:
        """Whether this sender holds every key that `cnf` names.

        A key of an unknown kind counts as not held.
        """
        own = self.cnf
        return all(name in own and own[name] == value for name, value in cnf.items())


UNBOUND = Binding()


def token_type(cnf: Mapping[str, Any]) -> str:
    """How a token with this `cnf` is presented (RFC 9449 7.1; RFC 8705 3 keeps Bearer)."""
    return "DPoP" if JKT in cnf else "Bearer"


def refresh_cnf(binding: Binding, *, is_public: bool) -> dict[str, str]:
    """The keys that a refresh token is bound to: a public client's has no other protection (RFC
    9449 5, RFC 8705 7.1).

    An agent that authenticates is bound by its authentication and may change its key (RFC 9449 5).
    """
    return binding.cnf if is_public else {}


@dataclass(frozen=True)
class Demand:
    """The sender constraints that an agent or its profile requires of its tokens."""

    dpop: bool  # dpop_bound_access_tokens
    mutual_tls: bool  # tls_client_certificate_bound_access_tokens
    something: bool = False  # either of the two; the agent's registration decides which


def judge_binding(proved: Binding, demand: Demand) -> Binding | ProtocolError:
    """The keys that the new token is bound to.

    An agent that registered a constraint never gets a token without it.
    """
    if demand.dpop and proved.jkt is None:
        return InvalidDpopProof("this agent's tokens are bound to a key: send a DPoP proof")
    if demand.mutual_tls and proved.x5t is None:
        return InvalidRequest("this agent's tokens are bound to its certificate: connect with mutual TLS")
    # A client sends a proof in order to bind the token. It shows its certificate to every server,
    # so a certificate binds only if the agent requires it.
    bound = Binding(proved.jkt, proved.x5t if demand.mutual_tls else None)
    if demand.something and not bound.cnf:
        return InvalidRequest("this agent's tokens must be bound to a key, by DPoP or by mutual TLS")
    return bound
