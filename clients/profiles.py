"""The demands of each profile on an agent, in one table. Pure.

A registration is judged when the agent is saved, and again when the demands have changed
(Agent.save, clients/lifecycle.py). A request is judged when it arrives.

`ciba` is CIBA Core and OAuth as they stand. `fapi-ciba-id1` is FAPI-CIBA Implementer's Draft 1,
which builds on FAPI 1.0 Advanced. `fapi2-ciba` is FAPI-CIBA on top of the FAPI 2.0 Security
Profile. A profile only adds demands to those on every agent.
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
    """How a token is bound to its agent."""

    DPOP = "DPoP"
    MUTUAL_TLS = "mutual TLS"


STRONG_METHODS = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")


@dataclass(frozen=True)
class Demands:
    auth_methods: Collection[str] | None = None  # None: any method that this server offers
    signing_algorithms: tuple[str, ...] = keys.ASSERTION_ALGORITHMS  # for its assertions and signed requests
    id_token_algorithms: tuple[str, ...] = ("ES256", "RS256", "PS256")  # for the ID tokens that we sign
    assertions_for_issuer: bool = False  # `aud` must be the issuer, not an endpoint
    audience_arrays: bool = True  # an assertion's `aud` may be an array that contains the issuer
    constraints: Collection[Constraint] = ()  # every token has one of these
    delivery_modes: Collection[str] = ("poll", "ping", "push")
    signed_requests: bool = False
    signed_requests_or_details: bool = False
    context: bool = False  # each request describes its purpose, so that no two look alike
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


# Raise it with every change of DEMANDS or of `problem_with`: every registration is then judged again.
DEMANDS_VERSION = 1


@dataclass(frozen=True)
class RegisteredTraits:
    """The registered properties of an agent that a profile judges."""

    auth_method: str
    constraints: Collection[Constraint]  # the agent's own: *_bound_access_tokens
    delivery_mode: str
    request_signing_algorithm: str  # empty: none is registered
    id_token_algorithm: str  # for the ID tokens that we sign
    key_algorithms: Collection[str] | None = None  # of its registered keys; None: it signs nothing, or publishes them


def problem_with(registered: RegisteredTraits, profile: Profile) -> str | None:
    """Why an agent cannot be registered with these properties, or None."""
    if problem := problem_with_keys(registered, profile):
        return problem
    demands = DEMANDS[profile]
    if demands.auth_methods is not None and registered.auth_method not in demands.auth_methods:
        return f"{profile} allows only the client authentication methods {', '.join(demands.auth_methods)}"
    if len(registered.constraints) > 1:
        return "tokens are bound by DPoP or by mutual TLS: require only one of them"
    if demands.constraints and not set(demands.constraints) & set(registered.constraints):
        return f"{profile} requires tokens bound by {' or '.join(demands.constraints)}"
    if registered.delivery_mode == "push" and registered.constraints:
        # CIBA Core 10.3.1: push sends the tokens without a token request.
        return "with push, the agent cannot prove its key: use poll or ping"
    if registered.delivery_mode not in demands.delivery_modes:
        return f"{profile} allows only the delivery modes {', '.join(demands.delivery_modes)}"
    if registered.request_signing_algorithm not in ("", *demands.signing_algorithms):
        return f"{profile} allows only signatures with {', '.join(demands.signing_algorithms)}"
    if registered.id_token_algorithm not in demands.id_token_algorithms:
        return f"{profile} allows only ID tokens signed with {', '.join(demands.id_token_algorithms)}"
    return None


def problem_with_keys(registered: RegisteredTraits, profile: Profile) -> str | None:
    """Why the agent cannot sign with its keys, or None."""
    allowed = DEMANDS[profile].signing_algorithms
    if registered.key_algorithms is None or set(registered.key_algorithms) & set(allowed):
        return None
    return f"{profile} needs a key for one of {', '.join(allowed)}"


@dataclass(frozen=True)
class RequestTraits:
    """The properties of a backchannel authentication request that a profile judges."""

    is_signed: bool
    has_details: bool
    has_binding_message: bool


def problem_with_request(traits: RequestTraits, profile: Profile) -> str | None:
    """Why this profile refuses the request, or None."""
    demands = DEMANDS[profile]
    if demands.signed_requests and not traits.is_signed:
        return "this agent must sign its requests: send `request`"
    if demands.signed_requests_or_details and not (traits.is_signed or traits.has_details):
        return "this agent must sign its requests, or send authorization_details"
    if demands.context and not (traits.has_details or traits.has_binding_message):
        return "send authorization_details or a binding_message"
    return None
