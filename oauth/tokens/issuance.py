"""Mints all tokens: access tokens (RFC 9068) and ID tokens (OpenID Connect Core 2).

No other module does.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from joserfc import jws

from accounts.models import User
from clients.models import Agent
from foundation.canonical import canonical_json
from foundation.handles import b64url, new_handle
from oauth.models import Grant
from oauth.tokens.key_binding import Binding
from oauth.tokens.signing_keys import LoadedKey, signing_key

RT_HASH_CLAIM = "urn:openid:params:jwt:claim:rt_hash"


@dataclass(frozen=True)
class UserAuthentication:
    """How the user was authenticated. It becomes claims of the ID token."""

    auth_time: datetime
    amr: list[str]
    acr: str  # empty: no named level
    extra_claims: dict[str, Any] = field(default_factory=dict)
    binds_refresh_token: bool = False  # rt_hash, which CIBA Core 10.3.1 requires in a push


@dataclass(frozen=True)
class Issue:
    """A handler's verdict to issue these tokens.

    The endpoint mints them in the same transaction.
    """

    agent: Agent
    scopes: list[str]
    resource: str | None  # identifier; None: only identity scopes
    expires_at: datetime
    user: User | None = None
    grant: Grant | None = None
    authentication: UserAuthentication | None = None  # only with `openid`
    refresh_token: str | None = None


def sign(claims: dict[str, Any], key: LoadedKey, typ: str) -> str:
    header = {"alg": key.algorithm, "kid": key.kid, "typ": typ}
    return jws.serialize_compact(header, canonical_json(claims), key.key, algorithms=[key.algorithm])


def mint(issue: Issue, binding: Binding, now: datetime) -> tuple[dict[str, Any], str]:
    """The token response (RFC 6749 5.1), and the access token's `jti` for the audit event."""
    claims = access_token_claims(issue, binding, now)
    access_token = sign(claims, signing_key("ES256", now), "at+jwt")
    response: dict[str, Any] = {
        "access_token": access_token,
        "token_type": binding.token_type,
        "expires_in": claims["exp"] - claims["iat"],
    }
    if issue.refresh_token:
        response["refresh_token"] = issue.refresh_token
    if issue.scopes:
        response["scope"] = " ".join(issue.scopes)
    if issue.grant and issue.grant.authorization_details:
        response["authorization_details"] = issue.grant.authorization_details  # RFC 9396 7
    if issue.user and issue.authentication and "openid" in issue.scopes:
        response["id_token"] = _id_token(issue, issue.user, issue.authentication, access_token, now)
    return response, claims["jti"]


def access_token_claims(issue: Issue, binding: Binding, now: datetime) -> dict[str, Any]:
    """RFC 9068 2.2, with authorization_details (RFC 9396 9.1), `act` (RFC 8693 4.1) and `cnf` (RFC 7800 3)."""
    issuer = settings.ISSUER_URL
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": issue.user.sub if issue.user else issue.agent.client_id,
        "aud": issue.resource or f"{issuer}/userinfo",
        "client_id": issue.agent.client_id,
        "iat": int(now.timestamp()),
        "exp": int(issue.expires_at.timestamp()),
        "jti": new_handle(),
    }
    if issue.scopes:
        claims["scope"] = " ".join(issue.scopes)
    if issue.user:
        claims["act"] = {"sub": issue.agent.client_id}
    if binding.cnf:
        claims["cnf"] = binding.cnf
    if issue.grant:
        claims["grant_id"] = str(issue.grant.id)
        if issue.grant.authorization_details:
            claims["authorization_details"] = issue.grant.authorization_details
            claims["operation_digest"] = issue.grant.operation_digest
    return claims


def _id_token(issue: Issue, user: User, authentication: UserAuthentication, access_token: str, now: datetime) -> str:
    key = signing_key(issue.agent.id_token_signed_response_alg, now)
    issued_at = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": settings.ISSUER_URL,
        "sub": user.sub,
        "aud": issue.agent.client_id,
        "iat": issued_at,
        "exp": issued_at + settings.ACCESS_TOKEN_LIFETIME,
        "auth_time": int(authentication.auth_time.timestamp()),
        "amr": authentication.amr,
        "at_hash": half_hash(access_token),
        **authentication.extra_claims,
    }
    if issue.refresh_token and authentication.binds_refresh_token:
        claims[RT_HASH_CLAIM] = half_hash(issue.refresh_token)
    if authentication.acr:
        claims["acr"] = authentication.acr
    return sign(claims | user_claims(user, issue.scopes), key, "JWT")


def user_claims(user: User, scopes: Collection[str]) -> dict[str, Any]:
    """The claims of the profile and email scopes (OpenID Connect Core 5.4), for the ID token and
    userinfo.
    """
    claims = {}
    if "profile" in scopes and user.name:
        claims["name"] = user.name
    if "email" in scopes:
        claims["email"] = user.email
    return claims


def half_hash(value: str) -> str:
    """`at_hash` and similar hashes: the left half of SHA-256, base64url (OpenID Connect Core
    3.1.3.6).
    """
    return b64url(hashlib.sha256(value.encode("ascii")).digest()[:16])
