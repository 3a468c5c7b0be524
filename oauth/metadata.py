"""Discovery (OpenID Connect Discovery 1.0 3, RFC 8414 2) and the JWKS. They announce only what
works.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from clients import keys, registration
from clients.models import Agent
from foundation.endpoint import protocol_endpoint
from foundation.metrics import ANSWERS
from foundation.pending_answers import Repeat, repeat
from oauth.authorization.parameters import CHALLENGE_METHOD, PROMPTS, RESPONSE_MODE, RESPONSE_TYPE
from oauth.resource_servers import introspection
from oauth.token_endpoint.endpoints import HANDLERS
from oauth.tokens.signing_keys import ALGORITHMS, key_list
from operations.listed_types import listed_type_names
from operations.models import LISTED_SCOPES

# Fields that an upper package adds; filled by authserver/wiring.py. A value that starts with / is a
# path of this server.
EXTRA_FIELDS: dict[str, Any] = {}
# Endpoints without a mutual-TLS alias: the user's browser would ask for a certificate, or a
# certificate is useless there.
FOR_BROWSERS = {"authorization_endpoint", "end_session_endpoint", "registration_endpoint"}
REPEAT_S = 1.0  # seconds
METADATA_MAX_AGE_S = 300  # seconds; a new signing key is listed for longer than this before it signs


@protocol_endpoint("metadata", "GET", "HEAD", cross_origin=True)
def metadata(_request: HttpRequest) -> HttpResponse:
    """One document for both specifications; their fields do not conflict."""
    return _public("metadata", serialized_metadata(listed_type_names(timezone.now())))


@protocol_endpoint("jwks", "GET", "HEAD", cross_origin=True)
def jwks(_request: HttpRequest) -> HttpResponse:
    """RFC 7517 5: every key that signs, will sign, or signed something that may still be valid."""
    return _public("jwks", key_list(timezone.now()).jwks)


def _public(endpoint: str, body: bytes) -> HttpResponse:
    headers = {"Cache-Control": f"public, max-age={METADATA_MAX_AGE_S}"}
    response = HttpResponse(body, content_type="application/json", headers=headers)
    return repeat(response, Repeat(REPEAT_S, ANSWERS.labels(endpoint, HTTPStatus.OK).inc))


@lru_cache(maxsize=1)
def serialized_metadata(type_names: tuple[str, ...]) -> bytes:
    """The settings do not change while a process runs, so only the operation types can change the document."""
    return json.dumps(server_metadata(type_names)).encode()


def server_metadata(type_names: Sequence[str]) -> dict[str, Any]:
    issuer = settings.ISSUER_URL
    methods = [method.value for method in Agent.AuthMethod if settings.MTLS_URL or method not in Agent.MUTUAL_TLS]
    proving = [method for method in methods if method != Agent.AuthMethod.NONE]
    document: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": list(keys.ASSERTION_ALGORITHMS),
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": proving,
        "introspection_endpoint_auth_signing_alg_values_supported": list(keys.ASSERTION_ALGORITHMS),
        "introspection_signing_alg_values_supported": [introspection.ALGORITHM],  # RFC 9701 7
        "userinfo_endpoint": f"{issuer}/userinfo",
        "end_session_endpoint": f"{issuer}/oidc/logout",
        "grant_types_supported": sorted(HANDLERS),
        "response_types_supported": [RESPONSE_TYPE],
        "response_modes_supported": [RESPONSE_MODE],
        "code_challenge_methods_supported": [CHALLENGE_METHOD],
        "authorization_response_iss_parameter_supported": True,
        "prompt_values_supported": list(PROMPTS),
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "claims_parameter_supported": False,
        "subject_types_supported": ["public"],
        "scopes_supported": list(LISTED_SCOPES),
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "acr",
            "amr",
            "at_hash",
            "nonce",
            "name",
            "email",
        ],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(keys.ASSERTION_ALGORITHMS),
        "dpop_signing_alg_values_supported": list(keys.SIGNING_ALGORITHMS),  # RFC 9449 5.1
        "authorization_details_types_supported": list(type_names),
    }
    if settings.REGISTRATION != registration.REGISTRATION_CLOSED:
        document["registration_endpoint"] = f"{issuer}/oidc/register"
    if settings.METADATA_DOCUMENT_HOSTS:
        document["client_id_metadata_document_supported"] = True
    for name, value in EXTRA_FIELDS.items():
        document[name] = f"{issuer}{value}" if isinstance(value, str) and value.startswith("/") else value
    if settings.MTLS_URL:  # RFC 8705 3.3, 5
        document["tls_client_certificate_bound_access_tokens"] = True
        document["mtls_endpoint_aliases"] = {
            name: value.replace(issuer, settings.MTLS_URL, 1)
            for name, value in document.items()
            if name.endswith("_endpoint") and name not in FOR_BROWSERS
        }
    return document
