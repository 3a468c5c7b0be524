"""What a profile demands of an agent: one table, asked when an agent is saved and at each of its requests. Pure.

`ciba` is CIBA Core and OAuth as they stand. `fapi-ciba-id1` is FAPI-CIBA Implementer's Draft 1, which builds on
FAPI 1.0 Advanced; `fapi2-ciba` is FAPI-CIBA upon the FAPI 2.0 Security Profile. A profile only ever adds to what
this server demands of everybody.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from clients import keys


class Profile(StrEnum):
    CIBA = "ciba"
    FAPI_CIBA_ID1 = "fapi-ciba-id1"
    FAPI2_CIBA = "fapi2-ciba"


class Constraint(StrEnum):
    """How a token is kept to its agent."""

    DPOP = "DPoP"
    MUTUAL_TLS = "mutual TLS"


STRONG_METHODS = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")


@dataclass(frozen=True)
class Demands:
    auth_methods: Collection[str] | None = None  # None: any that this server offers
    signing_algorithms: tuple[str, ...] = keys.ASSERTION_ALGORITHMS  # of its assertions and signed requests
    id_token_algorithms: tuple[str, ...] = ("ES256", "RS256", "PS256")  # of what we sign for it
    assertions_for_issuer: bool = False  # and for no endpoint
    audience_arrays: bool = True  # an assertion's `aud` may be an array that holds the issuer
    constraints: Collection[Constraint] = ()  # every token has one of these
    delivery_modes: Collection[str] = ("poll", "ping", "push")
    signed_requests: bool = False
    signed_requests_or_details: bool = False
    context: bool = False  # each request says what it is about, so that no two look alike
    pkce: bool = False  # no administrator may switch it off
    rotates_refresh_tokens: bool = True


DEMANDS: dict[Profile, Demands] = {
    Profile.CIBA: Demands(),
    Profile.FAPI_CIBA_ID1: Demands(
        auth_methods=STRONG_METHODS,
        signing_algorithms=("PS256", "ES256"),  # FAPI 1.0 Advanced 8.6
        id_token_algorithms=("ES256", "PS256"),
        audience_arrays=False,
        constraints=(Constraint.MUTUAL_TLS,),  # FAPI 1.0 Advanced 5.2.2
        delivery_modes=("poll", "ping"),
        signed_requests=True,
        context=True,
        pkce=True,
    ),
    Profile.FAPI2_CIBA: Demands(
        auth_methods=STRONG_METHODS,
        signing_algorithms=keys.SIGNING_ALGORITHMS,  # FAPI 2.0 5.4.1
        id_token_algorithms=("ES256", "PS256"),
        audience_arrays=False,
        assertions_for_issuer=True,  # FAPI 2.0 5.3.2.1
        constraints=(Constraint.DPOP, Constraint.MUTUAL_TLS),
        delivery_modes=("poll", "ping"),
        signed_requests_or_details=True,
        context=True,
        pkce=True,  # FAPI 2.0 5.3.2.2
        rotates_refresh_tokens=False,  # FAPI 2.0 5.3.2.1
    ),
}


@dataclass(frozen=True)
class Registered:
    """What an agent is registered with."""

    auth_method: str
    constraints: Collection[Constraint]  # its own demands: *_bound_access_tokens
    delivery_mode: str
    request_signing_algorithm: str  # empty: none is registered
    id_token_algorithm: str  # of what we sign for it


def problem_with(registered: Registered, profile: Profile) -> str | None:
    """Why an agent cannot be registered like this, or None."""
    demands = DEMANDS[profile]
    if demands.auth_methods is not None and registered.auth_method not in demands.auth_methods:
        return f"{profile} allows client authentication by {', '.join(demands.auth_methods)}"
    if len(registered.constraints) > 1:
        return "tokens are bound by DPoP or by mutual TLS: demand one of them"
    if demands.constraints and not set(demands.constraints) & set(registered.constraints):
        return f"{profile} demands tokens bound by {' or '.join(demands.constraints)}"
    if registered.delivery_mode == "push" and registered.constraints:
        # CIBA Core 10.3.1: the tokens are sent without being asked for.
        return "push brings tokens without a request in which the agent could prove its key: use poll or ping"
    if registered.delivery_mode not in demands.delivery_modes:
        return f"{profile} allows the delivery modes {', '.join(demands.delivery_modes)}"
    if registered.request_signing_algorithm not in ("", *demands.signing_algorithms):
        return f"{profile} allows signing with {', '.join(demands.signing_algorithms)}"
    if registered.id_token_algorithm not in demands.id_token_algorithms:
        return f"{profile} allows ID tokens signed with {', '.join(demands.id_token_algorithms)}"
    return None


@dataclass(frozen=True)
class Asking:
    """A backchannel authentication request."""

    is_signed: bool
    has_details: bool
    has_binding_message: bool


def problem_with_asking(asking: Asking, profile: Profile) -> str | None:
    """Why an agent of this profile may not ask like this, or None."""
    demands = DEMANDS[profile]
    if demands.signed_requests and not asking.is_signed:
        return "this agent's requests must be signed: send `request`"
    if demands.signed_requests_or_details and not (asking.is_signed or asking.has_details):
        return "this agent's requests must be signed, or say in authorization_details what they are about"
    if demands.context and not (asking.has_details or asking.has_binding_message):
        return "say what the request is about: in authorization_details, or in a binding_message"
    return None
