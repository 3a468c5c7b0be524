"""What a client says of itself, read and judged (RFC 7591 2, OpenID Connect Registration 2, CIBA Core 4). Pure.

The same for a registration and for a Client ID Metadata Document. What we do not know is ignored (RFC 7591 2);
what would protect the client and is not done here is refused: it must not believe itself safer than it is.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clients import certificates, keys, uris
from clients.errors import InvalidClientMetadata, InvalidRedirectUri
from clients.profiles import Constraint, Profile, Registered
from clients.profiles import problem_with as problem_together
from foundation.errors import ProtocolError
from foundation.plaintext import problem_with

AUTHORIZATION_CODE = "authorization_code"
PRIVATE_KEY_JWT, TLS_CLIENT_AUTH, NONE = "private_key_jwt", "tls_client_auth", "none"
DPOP, MUTUAL_TLS = Constraint.DPOP, Constraint.MUTUAL_TLS
PUBLIC_GRANTS = frozenset({AUTHORIZATION_CODE, "refresh_token"})  # what a client without a key or secret may use
MAX_NAME = 60
MAX_URIS = 10
MAX_CONTACTS = 10
MAX_TEXT = 200

_ADDRESSES = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
_TEXTS = ("software_id", "software_version")
# name → the values under which nothing is lost where we do not do it. Any other is refused, unless offered.
_PROTECTIONS: dict[str, tuple[Any, ...]] = {
    "subject_type": ("public",),
    "sector_identifier_uri": (),
    "require_signed_request_object": (False,),
    "require_pushed_authorization_requests": (False,),
    "dpop_bound_access_tokens": (False,),
    "tls_client_certificate_bound_access_tokens": (False,),
    "id_token_encrypted_response_alg": (),
    "userinfo_encrypted_response_alg": (),
    "userinfo_signed_response_alg": (),
    "request_object_signing_alg": (),
    "authorization_signed_response_alg": (),
    "backchannel_authentication_request_signing_alg": (),
    "backchannel_user_code_parameter": (False,),
    "default_acr_values": (),
    "require_auth_time": (False,),
    "default_max_age": (),
}


@dataclass(frozen=True)
class Offer:
    """What this server lets a client register as. `choices`: name of an Agent's field → its values, the first by
    default."""

    grant_types: Collection[str]
    auth_methods: Collection[str]
    choices: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class ClientMetadata:
    name: str
    application_type: str
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    grant_types: list[str]
    token_endpoint_auth_method: str
    jwks: dict[str, Any] | None
    jwks_uri: str
    notification_endpoint: str  # of CIBA's ping and push
    certificate_names: dict[str, str]  # kind → tls_client_auth_<kind>, of tls_client_auth alone
    choices: dict[str, Any]
    self_description: dict[str, Any]  # about the client, for administrators to read; nothing is decided by it


def parse_metadata(unverified: Any, offer: Offer) -> ClientMetadata:
    """Raises InvalidClientMetadata or InvalidRedirectUri."""
    if not isinstance(unverified, dict):
        raise InvalidClientMetadata("client metadata is a JSON object")
    # null and "" stand for "not given": real clients send them so.
    given = {name: value for name, value in unverified.items() if value not in (None, "")}
    _check_protections(given, offer)
    redirects = _texts(given, "redirect_uris", MAX_URIS, InvalidRedirectUri)
    application_type = _application_type(given, redirects)
    _check_redirects(redirects, native=application_type == "native")
    jwks, jwks_uri = _keys(given)
    method = _auth_method(given, offer, has_keys=bool(jwks or jwks_uri))
    grant_types = _grant_types(given, offer)
    _check_together(grant_types, method, redirects, has_keys=bool(jwks or jwks_uri))
    _check_response_types(given, grant_types)
    post_logout = _texts(given, "post_logout_redirect_uris", MAX_URIS)
    _check_redirects(post_logout, native=application_type == "native")
    return ClientMetadata(
        name=_name(given, redirects),
        application_type=application_type,
        redirect_uris=redirects,
        post_logout_redirect_uris=post_logout,
        grant_types=grant_types,
        token_endpoint_auth_method=method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        notification_endpoint=_notification_endpoint(given),
        certificate_names=_certificate_names(given, method),
        choices=_choices(given, offer, method),
        self_description=_self_description(given),
    )


def _check_protections(given: dict[str, Any], offer: Offer) -> None:
    for name, harmless in _PROTECTIONS.items():
        if name in given and name not in offer.choices and given[name] not in harmless:
            raise InvalidClientMetadata(f"{name} is not offered here as asked for")


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise InvalidClientMetadata(f"{name} is a text")
    return value


def _texts(
    given: dict[str, Any], name: str, most: int, error: type[ProtocolError] = InvalidClientMetadata
) -> list[str]:
    values = given.get(name, [])
    if not isinstance(values, list) or len(values) > most or not all(isinstance(value, str) for value in values):
        raise error(f"{name} is an array of at most {most} texts")
    return list(dict.fromkeys(values))


def _application_type(given: dict[str, Any], redirects: list[str]) -> str:
    """OpenID Connect says web where nothing is said; a redirect to the person's own machine says native."""
    inferred = "native" if any(not uri.startswith("https://") for uri in redirects) else "web"
    kind = _text(given, "application_type") or inferred
    if kind not in ("web", "native"):
        raise InvalidClientMetadata("application_type is web or native")
    return kind


def _check_redirects(redirects: list[str], *, native: bool) -> None:
    for uri in redirects:
        if problem := uris.problem_with_redirect(uri, native=native):
            raise InvalidRedirectUri(f"a redirect URI {problem}")


def _keys(given: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    jwks, jwks_uri = given.get("jwks"), _text(given, "jwks_uri")
    if jwks is not None and jwks_uri:  # RFC 7591 2
        raise InvalidClientMetadata("jwks and jwks_uri exclude each other")
    if jwks is not None and (problem := keys.problem_with(jwks)):
        raise InvalidClientMetadata(f"jwks: {problem}")
    if jwks_uri and (problem := uris.problem_with_address(jwks_uri)):
        raise InvalidClientMetadata(f"jwks_uri {problem}")
    return jwks, jwks_uri


def _notification_endpoint(given: dict[str, Any]) -> str:
    """CIBA Core 4: required for ping and push."""
    endpoint = _text(given, "backchannel_client_notification_endpoint")
    if endpoint and (problem := uris.problem_with_address(endpoint)):
        raise InvalidClientMetadata(f"backchannel_client_notification_endpoint {problem}")
    if not endpoint and given.get("backchannel_token_delivery_mode", "poll") != "poll":
        raise InvalidClientMetadata("ping and push need backchannel_client_notification_endpoint")
    return endpoint


def _auth_method(given: dict[str, Any], offer: Offer, *, has_keys: bool) -> str:
    """Not given: by its keys where there are keys, else as a public client. Never a secret that nobody asked for."""
    method = _text(given, "token_endpoint_auth_method") or (PRIVATE_KEY_JWT if has_keys else NONE)
    if method not in offer.auth_methods:
        raise InvalidClientMetadata(f"token_endpoint_auth_method is one of {', '.join(sorted(offer.auth_methods))}")
    return method


def _grant_types(given: dict[str, Any], offer: Offer) -> list[str]:
    """Those of the asked ones that are offered; real clients list what some other server has too."""
    asked = _texts(given, "grant_types", MAX_URIS) or [AUTHORIZATION_CODE]
    taken = [grant_type for grant_type in asked if grant_type in offer.grant_types]
    if not taken:
        raise InvalidClientMetadata("grant_types has none that is offered here")
    return taken


def _check_together(grant_types: list[str], method: str, redirects: list[str], *, has_keys: bool) -> None:
    if AUTHORIZATION_CODE in grant_types and not redirects:
        raise InvalidRedirectUri("authorization_code needs redirect_uris")
    if method == NONE and not PUBLIC_GRANTS.issuperset(grant_types):
        raise InvalidClientMetadata("without client authentication there are authorization_code and refresh_token only")
    if method == PRIVATE_KEY_JWT and not has_keys:
        raise InvalidClientMetadata("private_key_jwt needs jwks or jwks_uri")


def _check_response_types(given: dict[str, Any], grant_types: list[str]) -> None:
    """`code` is the only one here; others in the list are left out of the answer."""
    asked = _texts(given, "response_types", MAX_URIS)
    if asked and AUTHORIZATION_CODE in grant_types and "code" not in asked:
        raise InvalidClientMetadata("response_types: only code is offered here")


def _name(given: dict[str, Any], redirects: list[str]) -> str:
    """A client without a name is called by the host that its answers go to."""
    name = _text(given, "client_name").strip()
    if not name:
        hosts = [host for uri in redirects if (host := uris.host_of(uri)) and not uris.is_loopback(uri)]
        return hosts[0][:MAX_NAME] if hosts else "Unnamed agent"
    if problem := problem_with(name, most=MAX_NAME):
        raise InvalidClientMetadata(f"client_name {problem}")
    return name


def _certificate_names(given: dict[str, Any], method: str) -> dict[str, str]:
    if method != TLS_CLIENT_AUTH:
        return {}
    names = {kind: _text(given, f"tls_client_auth_{kind}") for kind in certificates.KINDS}
    if problem := certificates.problem_with_names(names):
        raise InvalidClientMetadata(problem)
    return {kind: name for kind, name in names.items() if name}


def _choices(given: dict[str, Any], offer: Offer, method: str) -> dict[str, Any]:
    chosen = {name: _choice(given, name, values) for name, values in offer.choices.items()}
    bound = {"dpop_bound_access_tokens": DPOP, "tls_client_certificate_bound_access_tokens": MUTUAL_TLS}
    together = Registered(
        auth_method=method,
        constraints=[constraint for name, constraint in bound.items() if chosen.get(name)],
        delivery_mode=chosen.get("backchannel_token_delivery_mode", "poll"),
        request_signing_algorithm=chosen.get("backchannel_authentication_request_signing_alg", ""),
        id_token_algorithm=chosen.get("id_token_signed_response_alg", "RS256"),
    )
    if problem := problem_together(together, Profile.CIBA):
        raise InvalidClientMetadata(problem)
    return chosen


def _choice(given: dict[str, Any], name: str, values: tuple[Any, ...]) -> Any:
    value = given.get(name, values[0])
    # By type too: 1 equals True, and a list cannot be looked up.
    if not any(type(value) is type(offered) and value == offered for offered in values):
        raise InvalidClientMetadata(f"{name} is one of {', '.join(map(json.dumps, values))}")
    return value


def _self_description(given: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in _ADDRESSES:
        if uri := _text(given, name):
            if problem := uris.problem_with_address(uri):
                raise InvalidClientMetadata(f"{name} {problem}")
            described[name] = uri
    for name in _TEXTS:
        if text := _text(given, name):
            if problem := problem_with(text, most=MAX_TEXT):
                raise InvalidClientMetadata(f"{name} {problem}")
            described[name] = text
    if contacts := _texts(given, "contacts", MAX_CONTACTS):
        if any(problem_with(contact, most=MAX_TEXT) for contact in contacts):
            raise InvalidClientMetadata("one of contacts cannot be shown")
        described["contacts"] = contacts
    return described


def document_problem(url: str, unverified: Any) -> str | None:
    """Why a document at `url` is not a Client ID Metadata Document of this very client, or None (its section 4)."""
    if not isinstance(unverified, dict) or unverified.get("client_id") != url:
        return "its client_id is not its own address"
    if "client_secret" in unverified or "client_secret_expires_at" in unverified:
        return "it holds a client secret"
    return None


def host_of_document(client_id: str) -> str:
    """The host that vouches for a client whose client_id is the address of its document."""
    return urlsplit(client_id).hostname or ""
