"""Parsing of client metadata (RFC 7591 2, OpenID Connect Registration 2, CIBA Core 4). Pure.

Registrations and Client ID Metadata Documents share these rules. Unknown members are ignored (RFC
7591 2). An optional part that cannot be used is dropped, and the answer leaves it out (RFC 7591
3.2.1). Two kinds of metadata are refused: metadata that leaves the client without anything usable,
and a requested protection that this server does not offer, because the client must not believe that
it is safer than it is.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clients import certificates, keys, uris
from clients.errors import InvalidClientMetadata, InvalidRedirectUri
from clients.profiles import Constraint, Profile, RegisteredTraits
from clients.profiles import problem_with as problem_together
from foundation.plaintext import problem_with

AUTHORIZATION_CODE, REFRESH_TOKEN = "authorization_code", "refresh_token"
CIBA = "urn:openid:params:grant-type:ciba"
PRIVATE_KEY_JWT, TLS_CLIENT_AUTH, NONE = "private_key_jwt", "tls_client_auth", "none"
BY_KEY = (PRIVATE_KEY_JWT, "self_signed_tls_client_auth")  # methods that authenticate with registered keys
DPOP, MUTUAL_TLS = Constraint.DPOP, Constraint.MUTUAL_TLS
PUBLIC_GRANTS = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN})  # the grants of a client without a key or secret
MAX_NAME = 60
MAX_URIS = 10
MAX_CONTACTS = 10
MAX_TEXT = 200

_ADDRESSES = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
_TEXTS = ("software_id", "software_version")
# name → values that request no protection. Any other value is refused unless this server offers it.
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
    "require_auth_time": (False, True),  # every ID token has auth_time
    "default_max_age": (),
}
# Choices that fall back to the default if the requested value is not supported. The answer shows
# the value used.
_REPLACED = frozenset({"id_token_signed_response_alg"})


@dataclass(frozen=True)
class Offer:
    """What a client may register as. `choices` maps an Agent's field to its allowed values, with the default first."""

    grant_types: Collection[str]
    auth_methods: Collection[str]
    choices: Mapping[str, tuple[Any, ...]]
    # authentication methods whose clients are registered as public clients instead
    public_instead: Collection[str] = ()
    schemes: Collection[str] = ()  # private-use schemes without a dot, for native public clients


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
    notification_endpoint: str  # for CIBA's ping and push
    certificate_names: dict[str, str]  # kind → tls_client_auth_<kind>, for tls_client_auth only
    choices: dict[str, Any]
    self_description: dict[str, Any]  # the client's own description, for administrators only; no decision uses it


def parse_metadata(unverified: Any, offer: Offer) -> ClientMetadata:
    """Parses unverified client metadata. Raises InvalidClientMetadata or InvalidRedirectUri."""
    if not isinstance(unverified, dict):
        raise InvalidClientMetadata("client metadata must be a JSON object")
    # null and "" count as absent, because real clients send them that way.
    submitted = {name: value for name, value in unverified.items() if value not in (None, "")}
    _check_protections(submitted, offer)
    method = _auth_method(submitted, offer)
    jwks, jwks_uri = _keys(submitted, method)
    kind, allowed = _application_type(submitted), offer.schemes if method == NONE else ()
    redirects = _redirects(submitted, "redirect_uris", kind, allowed)
    grant_types = _grant_types(submitted, offer, method)
    if AUTHORIZATION_CODE in grant_types and not redirects:
        raise InvalidRedirectUri(_problem_with_redirects(submitted, kind, allowed))
    _check_response_types(submitted, grant_types)
    delivery_mode = submitted.get("backchannel_token_delivery_mode", "poll") if CIBA in grant_types else "poll"
    return ClientMetadata(
        name=_name(submitted, redirects),
        application_type=kind or _inferred_type(redirects),
        redirect_uris=redirects,
        post_logout_redirect_uris=_redirects(submitted, "post_logout_redirect_uris", kind, allowed),
        grant_types=grant_types,
        token_endpoint_auth_method=method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        notification_endpoint=_notification_endpoint(submitted, delivery_mode),
        certificate_names=_certificate_names(submitted, method),
        choices=_choices(submitted, offer, method, delivery_mode),
        self_description=_self_description(submitted),
    )


def _check_protections(submitted: dict[str, Any], offer: Offer) -> None:
    for name, harmless in _PROTECTIONS.items():
        if name in submitted and name not in offer.choices and submitted[name] not in harmless:
            raise InvalidClientMetadata(f"this server does not offer the requested {name}")


def _text(submitted: dict[str, Any], name: str) -> str:
    value = submitted.get(name, "")
    if not isinstance(value, str):
        raise InvalidClientMetadata(f"{name} must be a string")
    return value


def _optional_text(submitted: dict[str, Any], name: str) -> str:
    value = submitted.get(name, "")
    return value if isinstance(value, str) else ""


def _texts(submitted: dict[str, Any], name: str) -> list[str]:
    """The strings of the list without duplicates; empty if the value is not a list."""
    values = submitted.get(name, [])
    return list(dict.fromkeys(one for one in values if isinstance(one, str))) if isinstance(values, list) else []


def _application_type(submitted: dict[str, Any]) -> str:
    """The requested application type; empty if the client names none."""
    kind = _optional_text(submitted, "application_type")
    return kind if kind in ("web", "native") else ""


def _inferred_type(redirects: list[str]) -> str:
    """The application type of a client that names none.

    OpenID Connect's default is web; a loopback redirect URI means native.
    """
    return "native" if any(not uri.startswith("https://") for uri in redirects) else "web"


def _redirects(submitted: dict[str, Any], name: str, kind: str, schemes: Collection[str]) -> list[str]:
    """The usable redirect URIs of the list. Raises InvalidRedirectUri for more than MAX_URIS.

    The server does not choose among them: the client has to.
    """
    usable = [
        uri
        for uri in _texts(submitted, name)
        if uris.problem_with_redirect(uri, native=kind != "web", schemes=schemes) is None
    ]
    if len(usable) > MAX_URIS:
        raise InvalidRedirectUri(f"{name} has more than {MAX_URIS} addresses")
    return usable


def _problem_with_redirects(submitted: dict[str, Any], kind: str, schemes: Collection[str]) -> str:
    for uri in _texts(submitted, "redirect_uris"):
        return f"a redirect URI {uris.problem_with_redirect(uri, native=kind != 'web', schemes=schemes)}"
    return "authorization_code needs redirect_uris"


def _keys(submitted: dict[str, Any], method: str) -> tuple[dict[str, Any] | None, str]:
    """The usable keys, or their URL. Refuses a client that authenticates by keys and has none."""
    unverified, jwks_uri = submitted.get("jwks"), _optional_text(submitted, "jwks_uri")
    if unverified is not None and jwks_uri:  # RFC 7591 2
        raise InvalidClientMetadata("jwks and jwks_uri exclude each other")
    if unverified is not None and keys.holds_private_key(unverified):
        raise InvalidClientMetadata("jwks has a private or symmetric key: keep it secret, and send the public key")
    problem, jwks = "", None
    if unverified is not None:
        try:
            jwks = keys.usable(unverified)
        except ValueError as error:
            problem = f"jwks: {error}"
    elif jwks_uri and (found := uris.problem_with_address(jwks_uri)):
        problem, jwks_uri = f"jwks_uri {found}", ""
    if method in BY_KEY and not jwks and not jwks_uri:
        raise InvalidClientMetadata(problem or f"{method} needs jwks or jwks_uri")
    return jwks, jwks_uri


def _notification_endpoint(submitted: dict[str, Any], delivery_mode: Any) -> str:
    """The notification endpoint. CIBA Core 4 requires it for ping and push."""
    endpoint = _optional_text(submitted, "backchannel_client_notification_endpoint")
    problem = uris.problem_with_address(endpoint) if endpoint else "is required for ping and push"
    if problem and delivery_mode != "poll":
        raise InvalidClientMetadata(f"backchannel_client_notification_endpoint {problem}")
    return "" if problem else endpoint


def _auth_method(submitted: dict[str, Any], offer: Offer) -> str:
    """The authentication method. Without a request: by keys if the client has keys, otherwise as a public client.

    A client that requests no method never gets a secret.
    """
    has_keys = bool({"jwks", "jwks_uri"} & submitted.keys())
    method = _text(submitted, "token_endpoint_auth_method") or (PRIVATE_KEY_JWT if has_keys else NONE)
    if method in offer.public_instead:
        return NONE
    if method not in offer.auth_methods:
        raise InvalidClientMetadata(
            f"token_endpoint_auth_method must be one of {', '.join(sorted(offer.auth_methods))}"
        )
    # Refuse the algorithm now, because this server would later refuse the client's assertions.
    algorithm = submitted.get("token_endpoint_auth_signing_alg")
    if method == PRIVATE_KEY_JWT and algorithm is not None and algorithm not in keys.ASSERTION_ALGORITHMS:
        allowed = ", ".join(keys.ASSERTION_ALGORITHMS)
        raise InvalidClientMetadata(f"token_endpoint_auth_signing_alg must be one of {allowed}")
    return method


def _grant_types(submitted: dict[str, Any], offer: Offer, method: str) -> list[str]:
    """The requested grant types that such a client may have.

    Real clients also list types that only other servers have.
    """
    requested = _texts(submitted, "grant_types") if submitted.get("grant_types") else [AUTHORIZATION_CODE]
    offered = [grant_type for grant_type in requested if grant_type in offer.grant_types]
    accepted = [grant_type for grant_type in offered if method != NONE or grant_type in PUBLIC_GRANTS]
    if not set(accepted) - {REFRESH_TOKEN}:
        if len(accepted) < len(offered):
            raise InvalidClientMetadata(
                "without client authentication, an agent may only use authorization_code and refresh_token: "
                "use private_key_jwt"
            )
        raise InvalidClientMetadata("this server offers none of the grant_types")
    return accepted


def _check_response_types(submitted: dict[str, Any], grant_types: list[str]) -> None:
    """`code` is the only supported response type; the answer leaves out the others of the list."""
    requested = _texts(submitted, "response_types")
    if requested and AUTHORIZATION_CODE in grant_types and "code" not in requested:
        raise InvalidClientMetadata("response_types: this server offers only code")


def _name(submitted: dict[str, Any], redirects: list[str]) -> str:
    """The client's name. If it has no displayable name, its name is the host of its first redirect URI."""
    name = _optional_text(submitted, "client_name").strip()
    if name and problem_with(name, max_length=MAX_NAME) is None:
        return name
    hosts = [host for uri in redirects if (host := uris.host_of(uri)) and not uris.is_loopback(uri)]
    return hosts[0][:MAX_NAME] if hosts else "Unnamed agent"


def _certificate_names(submitted: dict[str, Any], method: str) -> dict[str, str]:
    if method != TLS_CLIENT_AUTH:
        return {}
    names = {kind: _text(submitted, f"tls_client_auth_{kind}") for kind in certificates.SUBJECT_KINDS}
    if problem := certificates.problem_with_names(names):
        raise InvalidClientMetadata(problem)
    return {kind: name for kind, name in names.items() if name}


def _choices(submitted: dict[str, Any], offer: Offer, method: str, delivery_mode: Any) -> dict[str, Any]:
    wanted = submitted | {"backchannel_token_delivery_mode": delivery_mode}
    chosen = {name: _choice(wanted, name, values) for name, values in offer.choices.items()}
    bound = {"dpop_bound_access_tokens": DPOP, "tls_client_certificate_bound_access_tokens": MUTUAL_TLS}
    together = RegisteredTraits(
        auth_method=method,
        constraints=[constraint for name, constraint in bound.items() if chosen.get(name)],
        delivery_mode=chosen.get("backchannel_token_delivery_mode", "poll"),
        request_signing_algorithm=chosen.get("backchannel_authentication_request_signing_alg", ""),
        id_token_algorithm=chosen.get("id_token_signed_response_alg", "RS256"),
    )
    if problem := problem_together(together, Profile.CIBA):
        raise InvalidClientMetadata(problem)
    return chosen


def _choice(submitted: dict[str, Any], name: str, values: tuple[Any, ...]) -> Any:
    value = submitted.get(name, values[0])
    # Compare the types too: 1 equals True. A list is not hashable, so `in` on a set would raise.
    if any(type(value) is type(offered) and value == offered for offered in values):
        return value
    if name in _REPLACED:
        return values[0]
    raise InvalidClientMetadata(f"{name} must be one of {', '.join(map(json.dumps, values))}")


def _self_description(submitted: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in _ADDRESSES:
        if (uri := _optional_text(submitted, name)) and uris.problem_with_address(uri) is None:
            described[name] = uri
    for name in _TEXTS:
        if (text := _optional_text(submitted, name)) and problem_with(text, max_length=MAX_TEXT) is None:
            described[name] = text
    contacts = [one for one in _texts(submitted, "contacts") if problem_with(one, max_length=MAX_TEXT) is None]
    if contacts:
        described["contacts"] = contacts[:MAX_CONTACTS]
    return described


def document_problem(url: str, unverified: Any) -> str | None:
    """Why a document at `url` is not this client's Client ID Metadata Document (section 4 of the draft), or None."""
    if not isinstance(unverified, dict) or unverified.get("client_id") != url:
        return "its client_id is not the address of the document"
    if "client_secret" in unverified or "client_secret_expires_at" in unverified:
        return "it has a client secret"
    return None


def host_of_document(client_id: str) -> str:
    """The host that vouches for a client whose client_id is the URL of its document."""
    return urlsplit(client_id).hostname or ""
