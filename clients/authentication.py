"""Client authentication: which agent sent this request? (RFC 6749 2.3, RFC 7523 3, OpenID Connect Core 9)

With private_key_jwt the agent signs a short-lived assertion with a key that never leaves it. Static
secrets can be enabled for single agents, for clients that support nothing else.
"""

from base64 import b64decode
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from django.conf import settings
from django.http import HttpRequest

from clients import keys
from clients.certificates import problem_with_chained, problem_with_self_signed
from clients.lifecycle import note_first_use
from clients.lookup import find_agent
from clients.models import Agent
from clients.mutual_tls import certificate_of
from clients.published_keys import published_jwks
from clients.replay import CLOCK_SKEW, spend
from foundation.certificates import ClientCertificate
from foundation.errors import InvalidClient, InvalidRequest
from foundation.jws import BadJws, UnverifiedJws, find_key, read_jws, verify_jws

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_ASSERTION = 8192  # characters
MAX_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True)
class BasicCredentials:
    """The content of an Authorization: Basic header, unverified."""

    unverified_id: str
    unverified_secret: str


def parse_basic(header: str) -> BasicCredentials:
    """Parses a Basic header. RFC 6749 2.3.1: both parts are form-encoded, then base64. Raises InvalidClient."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient(detail="the Authorization scheme is not Basic")
    try:
        name, found, secret = b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
        name, secret = unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError as error:  # not base64, not ASCII, or not UTF-8 inside
        raise InvalidClient(detail="the Basic credentials cannot be read") from error
    if not found or not name or "\x00" in name + secret:
        raise InvalidClient(detail="the Basic credentials cannot be read")
    return BasicCredentials(name, secret)


def authenticate_agent(
    request: HttpRequest, parameters: dict[str, str], *, endpoint_url: str, now: datetime, public: bool = False
) -> Agent:
    """The active agent that sent this request. Raises InvalidClient, or InvalidRequest for two methods at once.

    A verified assertion's `jti` is spent when this returns, even if the request fails later. With
    `public`, a public client needs only its client_id (RFC 6749 3.2.1), so the endpoint must
    require more than the client_id for every action.
    """
    agent = _authenticate(request, parameters, endpoint_url, now, public)
    if not agent.is_public and not note_first_use(agent, now):
        raise InvalidClient(detail="unknown client")
    return agent


def _authenticate(
    request: HttpRequest, parameters: dict[str, str], endpoint_url: str, now: datetime, public: bool
) -> Agent:
    header = request.headers.get("Authorization", "")
    assertion = parameters.get("client_assertion", "")
    secret = parameters.get("client_secret", "")
    caller = request.META["REMOTE_ADDR"]
    if sum(map(bool, (header, assertion, secret))) > 1:
        raise InvalidRequest("use only one method of client authentication")  # RFC 6749 2.3
    if assertion:
        return _by_assertion(assertion, parameters, endpoint_url, caller, now)
    if header:
        credentials = parse_basic(header)
        if parameters.get("client_id", credentials.unverified_id) != credentials.unverified_id:
            raise InvalidClient(detail="client_id differs from the Basic user name")
        return _by_secret(credentials, Agent.AuthMethod.CLIENT_SECRET_BASIC, caller, now)
    if secret:
        credentials = BasicCredentials(parameters.get("client_id", ""), secret)
        return _by_secret(credentials, Agent.AuthMethod.CLIENT_SECRET_POST, caller, now)
    if "client_id" in parameters:
        return _by_name(parameters["client_id"], certificate_of(request), caller, now, public=public)
    raise InvalidClient(detail="the request has no client authentication")


def _find(
    unverified_client_id: str, methods: Collection[str], caller: str, now: datetime, secret: str | None = None
) -> Agent:
    agent = find_agent(unverified_client_id, caller, now, unverified_secret=secret)
    if agent is None:
        raise InvalidClient(detail="unknown client")
    if agent.token_endpoint_auth_method not in methods:
        raise InvalidClient(detail=f"not the registered method: {agent.client_id} sent {next(iter(methods))}")
    return agent


def _active(agent: Agent) -> Agent:
    if not agent.is_active:
        raise InvalidClient(detail=f"suspended agent: {agent.client_id}")
    return agent


def _by_secret(credentials: BasicCredentials, method: str, caller: str, now: datetime) -> Agent:
    agent = _find(credentials.unverified_id, [method], caller, now, credentials.unverified_secret)
    if not getattr(agent, "has_secret", False):  # an annotation of find_agent
        raise InvalidClient(detail=f"wrong secret: {agent.client_id}")
    return _active(agent)


def _by_name(
    unverified_id: str, certificate: ClientCertificate | None, caller: str, now: datetime, *, public: bool
) -> Agent:
    """The request has only a client_id: the agent is proved by its certificate (RFC 8705 2) or is a public client."""
    methods = [*Agent.MUTUAL_TLS] if certificate else []
    methods += [Agent.AuthMethod.NONE] if public else []
    if not methods:
        raise InvalidClient(detail="the request has no client authentication")
    agent = _find(unverified_id, methods, caller, now)
    if certificate and agent.uses_mutual_tls and (problem := _certificate_problem(certificate, agent, now)):
        raise InvalidClient(detail=f"{problem}: {agent.client_id}")
    return _active(agent)


def _certificate_problem(certificate: ClientCertificate, agent: Agent, now: datetime) -> str | None:
    """Checks that the certificate belongs to the agent. The TLS handshake has proved the private key already."""
    if agent.token_endpoint_auth_method == Agent.AuthMethod.TLS_CLIENT_AUTH:
        return problem_with_chained(certificate, agent.tls_client_auth_names, now)
    jwks = _jwks_of(agent, lambda known: problem_with_self_signed(certificate, known, now) is None, now)
    return problem_with_self_signed(certificate, jwks, now)


def _by_assertion(assertion: str, parameters: dict[str, str], endpoint_url: str, caller: str, now: datetime) -> Agent:
    if parameters.get("client_assertion_type") != JWT_BEARER:
        raise InvalidClient(detail="client_assertion_type is not jwt-bearer")
    try:
        unverified = read_jws(assertion, max_length=MAX_ASSERTION)
    except BadJws as error:
        raise InvalidClient(detail="assertion cannot be read") from error
    unverified_id = _unverified_issuer(unverified)
    if parameters.get("client_id", unverified_id) != unverified_id:
        raise InvalidClient(detail="client_id differs from the assertion's issuer")
    agent = _find(unverified_id, [Agent.AuthMethod.PRIVATE_KEY_JWT], caller, now)
    try:
        claims = verified_claims(unverified, agent, now, agent.demands.signing_algorithms)
    except BadJws as error:
        raise InvalidClient(detail=f"assertion not verified: {agent.client_id}") from error
    if problem := claims_problem(claims, agent, endpoint_url, now):
        raise InvalidClient(detail=f"{problem}: {agent.client_id}")
    _active(agent)
    if not spend(agent.client_id, claims["jti"], claims["exp"]):
        raise InvalidClient(detail=f"replayed assertion: {agent.client_id}")
    return agent


def prove_key(
    agent: Agent, assertion: str, assertion_type: str, *, endpoint_url: str, caller: str, now: datetime
) -> None:
    """Checks that the sender of this assertion holds a registered key of the agent, and spends its `jti`.

    Raises InvalidClient.
    """
    parameters = {"client_assertion_type": assertion_type, "client_id": agent.client_id}
    _by_assertion(assertion, parameters, endpoint_url, caller, now)


def prove_certificate(agent: Agent, certificate: ClientCertificate, now: datetime) -> None:
    """Checks that this client certificate is the agent's. Raises InvalidClient."""
    if problem := _certificate_problem(certificate, agent, now):
        raise InvalidClient(detail=f"{problem}: {agent.client_id}")


def _unverified_issuer(unverified: UnverifiedJws) -> str:
    """The unverified issuer of the assertion. Use it only to find the key that must verify the assertion."""
    issuer = unverified.claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        raise InvalidClient(detail="assertion has no iss")
    return issuer


def verified_claims(
    unverified: UnverifiedJws, agent: Agent, now: datetime, algorithms: Collection[str]
) -> dict[str, Any]:
    """The claims of an assertion or request object that one of this agent's keys has signed. Raises BadJws."""

    def has_key(jwks: dict[str, Any]) -> bool:
        try:
            return bool(find_key(keys.load(jwks).keys, unverified, algorithms))
        except BadJws:
            return False

    jwks = _jwks_of(agent, has_key, now)
    key = find_key(keys.load(jwks).keys if jwks else [], unverified, algorithms)
    return verify_jws(unverified, key, algorithms)


def _jwks_of(agent: Agent, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> dict[str, Any] | None:
    """The agent's keys. Published keys are fetched again if the stored ones are not enough."""
    return published_jwks(agent, is_enough, now) if agent.client_jwks_uri else agent.client_jwks


def accepted_audiences(agent: Agent, endpoint_url: str) -> Collection[str]:
    """The accepted `aud` values: those of CIBA Core 7.1 and OpenID Connect Core 9; for FAPI 2.0 only the issuer."""
    issuer: str = settings.ISSUER_URL
    if agent.assertion_audience == Agent.AssertionAudience.ISSUER or agent.demands.assertions_for_issuer:
        return (issuer,)
    own = [f"{issuer}/oauth/token", endpoint_url]
    # RFC 8705 5: the separate URLs for mutual TLS, if there are any, name the same endpoints.
    return (issuer, *own, *(url.replace(issuer, settings.MTLS_URL, 1) for url in own if settings.MTLS_URL))


def _is_for_us(audience: object, agent: Agent, endpoint_url: str) -> bool:
    """Whether the audience is this server: an accepted value, or an array that contains the issuer itself.

    Arrays are refused for an agent that must name the issuer alone or whose profile forbids them. An
    array with only an endpoint of this server is not enough: it could have been made for another
    server (RFC 7523 3).
    """
    if isinstance(audience, list):
        is_strict = agent.assertion_audience == Agent.AssertionAudience.ISSUER or not agent.demands.audience_arrays
        return not is_strict and settings.ISSUER_URL in audience
    return isinstance(audience, str) and audience in accepted_audiences(agent, endpoint_url)


def claims_problem(claims: dict[str, Any], agent: Agent, endpoint_url: str, now: datetime) -> str | None:
    """Why a verified assertion does not authenticate this agent at this endpoint now (RFC 7523 3), or None."""
    if claims.get("iss") != agent.client_id or claims.get("sub") != agent.client_id:
        return "iss and sub are not both the client_id"
    if not _is_for_us(claims.get("aud"), agent, endpoint_url):
        return "wrong audience"
    if not isinstance(claims.get("jti"), str) or not 1 <= len(claims["jti"]) <= 255:
        return "no jti"
    return times_problem(claims, now.timestamp())


def times_problem(claims: dict[str, Any], at: float) -> str | None:
    """Why a token with these times is not valid now (RFC 7519 4.1), or None. `at` is in seconds."""
    times = {name: claims.get(name) for name in ("exp", "nbf", "iat")}
    submitted = {name: value for name, value in times.items() if value is not None}
    if not all(type(value) in (int, float) and 0 < value < 2**40 for value in submitted.values()):
        return "a time is not a number"
    skew = CLOCK_SKEW.total_seconds()
    if "exp" not in submitted or submitted["exp"] <= at - skew:
        return "expired"
    if submitted["exp"] > at + MAX_LIFETIME.total_seconds() + skew:
        return "its lifetime is too long"
    if any(submitted.get(name, at) > at + skew for name in ("nbf", "iat")):
        return "not yet valid"
    return None
