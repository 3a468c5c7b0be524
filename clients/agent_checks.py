"""Whether an agent's registration is complete and consistent. Agent.clean calls `check`, which raises
ValidationError.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ValidationError

from clients import certificates, keys, profiles, redirects
from foundation import outbound

if TYPE_CHECKING:
    from clients.models import Agent


def check(agent: "Agent") -> None:
    _check_keys(agent)
    _check_mutual_tls(agent)
    if agent.backchannel_token_delivery_mode != agent.DeliveryMode.POLL:
        _check_notification_endpoint(agent)
    for field in ("redirect_uris", "post_logout_redirect_uris"):
        if problem := redirects.problem_with_list(getattr(agent, field).split(), agent.private_use_schemes):
            raise ValidationError({field: problem})
    _check_grant_types(agent)
    _check_pkce(agent)
    if problem := agent.find_registration_problem():
        raise ValidationError(f"{problem}.")


def _check_keys(agent: "Agent") -> None:
    if agent.client_jwks_uri:
        _check_jwks_uri(agent)
    elif agent.token_endpoint_auth_method == agent.AuthMethod.PRIVATE_KEY_JWT and not agent.client_jwks:
        raise ValidationError({"client_jwks": "private_key_jwt needs the agent's public keys or their address."})
    elif agent.must_sign_requests and not agent.client_jwks:
        raise ValidationError({"client_jwks": "Signed requests need the agent's public keys or their address."})
    elif problem := profiles.problem_with_keys(agent.registered, profiles.Profile(agent.profile)):
        raise ValidationError({"client_jwks": f"{problem}."})


def _check_jwks_uri(agent: "Agent") -> None:
    if agent.client_jwks is not None:  # RFC 7591 2: never both
        raise ValidationError({"client_jwks_uri": "Enter the keys or their address, not both."})
    _check_address(agent, "client_jwks_uri")


def _check_grant_types(agent: "Agent") -> None:
    if agent.allows_grant_type(agent.GrantType.AUTHORIZATION_CODE) and not agent.redirect_uris.split():
        raise ValidationError({"redirect_uris": "authorization_code needs a redirect URI."})
    if agent.is_public and agent.allows_grant_type(agent.GrantType.CIBA, agent.GrantType.CLIENT_CREDENTIALS):
        raise ValidationError({"grant_types": "A public client may only use authorization_code and refresh_token."})


def _check_pkce(agent: "Agent") -> None:
    """OAuth 2.1 7.5.1: a confidential client may use OpenID Connect's nonce instead of PKCE."""
    problems = {
        "A public client": agent.is_public,
        f"The profile {agent.profile}": agent.demands.pkce,
        "An agent without the identity scope openid": "openid" not in agent.identity_scopes,
    }
    problem = next((who for who, needs_it in problems.items() if needs_it), None)
    if problem and agent.pkce_exempt:
        raise ValidationError({"pkce_exempt": f"{problem} always needs PKCE."})


def _check_notification_endpoint(agent: "Agent") -> None:
    """CIBA Core 4: required for ping and push, and https."""
    field = "backchannel_client_notification_endpoint"
    if not agent.backchannel_client_notification_endpoint.startswith("https://"):
        raise ValidationError({field: "Ping and push need an https address."})
    _check_address(agent, field)


def _check_address(agent: "Agent", field: str) -> None:
    try:
        outbound.check_url(getattr(agent, field), outbound.Trust.SUPPLIED)
    except outbound.OutboundRefused as error:
        raise ValidationError({field: f"Countersign does not call this address: {error}."}) from error


def _check_mutual_tls(agent: "Agent") -> None:
    """RFC 8705 2: mutual TLS needs MTLS_URL, and either a certificate name or a registered certificate."""
    needs_it = agent.uses_mutual_tls or agent.tls_client_certificate_bound_access_tokens
    if needs_it and not settings.MTLS_URL:
        raise ValidationError("Mutual TLS is not set up on this server (MTLS_URL).")
    method = agent.token_endpoint_auth_method
    if method == agent.AuthMethod.TLS_CLIENT_AUTH and (
        problem := certificates.problem_with_names(agent.tls_client_auth_names)
    ):
        raise ValidationError(f"{problem}.")
    is_self_signed = method == agent.AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH and not agent.client_jwks_uri
    if is_self_signed and not keys.registered_certificates(agent.client_jwks):
        raise ValidationError({"client_jwks": "self_signed_tls_client_auth needs a key with its certificate (x5c)."})
