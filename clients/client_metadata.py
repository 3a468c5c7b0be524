"""What a client says of itself, read and judged (RFC 7591 2, OpenID Connect Registration 2, CIBA Core 4). Pure.

The same for a registration and for a Client ID Metadata Document. What we do not know is ignored (RFC 7591 2), and an
optional part that cannot be used is dropped: the answer is without it (RFC 7591 3.2.1). Refused is what leaves nothing
usable, and what would protect the client and is not done here: it must not believe itself safer than it is.
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
from foundation.plaintext import problem_with

AUTHORIZATION_CODE, REFRESH_TOKEN = "authorization_code", "refresh_token"
CIBA = "urn:openid:params:grant-type:ciba"
PRIVATE_KEY_JWT, TLS_CLIENT_AUTH, NONE = "private_key_jwt", "tls_client_auth", "none"
BY_KEY = (PRIVATE_KEY_JWT, "self_signed_tls_client_auth")  # authentication that needs registered keys
DPOP, MUTUAL_TLS = Constraint.DPOP, Constraint.MUTUAL_TLS
PUBLIC_GRANTS = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN})  # what a client without a key or secret may use
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
    "require_auth_time": (False, True),  # every ID token has it
    "default_max_age": (),
}
# Choices for which the default stands where we do not have what is asked for. The answer says so.
_REPLACED = frozenset({"id_token_signed_response_alg"})


@dataclass(frozen=True)
class Offer:
    """What this server lets a client register as. `choices`: name of an Agent's field → its values, the first by
    default."""

    grant_types: Collection[str]
    auth_methods: Collection[str]
    choices: Mapping[str, tuple[Any, ...]]
    public_instead: Collection[str] = ()  # methods of authentication under which a client is registered as a public one
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
    method = _auth_method(given, offer)
    jwks, jwks_uri = _keys(given, method)
    kind, allowed = _application_type(given), offer.schemes if method == NONE else ()
    redirects = _redirects(given, "redirect_uris", kind, allowed)
    grant_types = _grant_types(given, offer, method)
    if AUTHORIZATION_CODE in grant_types and not redirects:
        raise InvalidRedirectUri(_problem_with_redirects(given, kind, allowed))
    _check_response_types(given, grant_types)
    delivery_mode = given.get("backchannel_token_delivery_mode", "poll") if CIBA in grant_types else "poll"
    return ClientMetadata(
        name=_name(given, redirects),
        application_type=kind or _inferred_type(redirects),
        redirect_uris=redirects,
        post_logout_redirect_uris=_redirects(given, "post_logout_redirect_uris", kind, allowed),
        grant_types=grant_types,
        token_endpoint_auth_method=method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        notification_endpoint=_notification_endpoint(given, delivery_mode),
        certificate_names=_certificate_names(given, method),
        choices=_choices(given, offer, method, delivery_mode),
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


def _optional_text(given: dict[str, Any], name: str) -> str:
    value = given.get(name, "")
    return value if isinstance(value, str) else ""


def _texts(given: dict[str, Any], name: str) -> list[str]:
    """Those of the list that are texts, each once; of anything else, none."""
    values = given.get(name, [])
    return list(dict.fromkeys(one for one in values if isinstance(one, str))) if isinstance(values, list) else []


def _application_type(given: dict[str, Any]) -> str:
    """Empty: the client does not say."""
    kind = _optional_text(given, "application_type")
    return kind if kind in ("web", "native") else ""


def _inferred_type(redirects: list[str]) -> str:
    """OpenID Connect says web where nothing is said; a redirect to the user's own machine says native."""
    return "native" if any(not uri.startswith("https://") for uri in redirects) else "web"


def _redirects(given: dict[str, Any], name: str, kind: str, schemes: Collection[str]) -> list[str]:
    """The usable ones of the list. Whoever wants more than MAX_URIS has to choose them itself."""
    usable = [
        uri
        for uri in _texts(given, name)
        if uris.problem_with_redirect(uri, native=kind != "web", schemes=schemes) is None
    ]
    if len(usable) > MAX_URIS:
        raise InvalidRedirectUri(f"{name} has more than {MAX_URIS} addresses")
    return usable


def _problem_with_redirects(given: dict[str, Any], kind: str, schemes: Collection[str]) -> str:
    for uri in _texts(given, "redirect_uris"):
        return f"a redirect URI {uris.problem_with_redirect(uri, native=kind != 'web', schemes=schemes)}"
    return "authorization_code needs redirect_uris"


def _keys(given: dict[str, Any], method: str) -> tuple[dict[str, Any] | None, str]:
    """The usable keys, or their address. A client that authenticates by them and has none is refused."""
    unverified, jwks_uri = given.get("jwks"), _optional_text(given, "jwks_uri")
    if unverified is not None and jwks_uri:  # RFC 7591 2
        raise InvalidClientMetadata("jwks and jwks_uri exclude each other")
    if unverified is not None and keys.holds_private_key(unverified):
        raise InvalidClientMetadata("jwks holds a private or symmetric key: keep it, and give the public part")
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


def _notification_endpoint(given: dict[str, Any], delivery_mode: Any) -> str:
    """CIBA Core 4: required for ping and push."""
    endpoint = _optional_text(given, "backchannel_client_notification_endpoint")
    problem = uris.problem_with_address(endpoint) if endpoint else "is needed for ping and push"
    if problem and delivery_mode != "poll":
        raise InvalidClientMetadata(f"backchannel_client_notification_endpoint {problem}")
    return "" if problem else endpoint


def _auth_method(given: dict[str, Any], offer: Offer) -> str:
    """Not given: by its keys where there are keys, else as a public client. Never a secret that nobody asked for."""
    has_keys = bool({"jwks", "jwks_uri"} & given.keys())
    method = _text(given, "token_endpoint_auth_method") or (PRIVATE_KEY_JWT if has_keys else NONE)
    if method in offer.public_instead:
        return NONE
    if method not in offer.auth_methods:
        raise InvalidClientMetadata(f"token_endpoint_auth_method is one of {', '.join(sorted(offer.auth_methods))}")
    # What is accepted works later: its assertions would be refused.
    algorithm = given.get("token_endpoint_auth_signing_alg")
    if method == PRIVATE_KEY_JWT and algorithm is not None and algorithm not in keys.ASSERTION_ALGORITHMS:
        allowed = ", ".join(keys.ASSERTION_ALGORITHMS)
        raise InvalidClientMetadata(f"token_endpoint_auth_signing_alg is one of {allowed}")
    return method


def _grant_types(given: dict[str, Any], offer: Offer, method: str) -> list[str]:
    """Those of the asked ones that such a client may have; real clients list what some other server has too."""
    asked = _texts(given, "grant_types") if given.get("grant_types") else [AUTHORIZATION_CODE]
    offered = [grant_type for grant_type in asked if grant_type in offer.grant_types]
    taken = [grant_type for grant_type in offered if method != NONE or grant_type in PUBLIC_GRANTS]
    if not set(taken) - {REFRESH_TOKEN}:
        if len(taken) < len(offered):
            raise InvalidClientMetadata(
                "without client authentication there are authorization_code and refresh_token only: use private_key_jwt"
            )
        raise InvalidClientMetadata("grant_types has none that is offered here")
    return taken


def _check_response_types(given: dict[str, Any], grant_types: list[str]) -> None:
    """`code` is the only one here; others in the list are left out of the answer."""
    asked = _texts(given, "response_types")
    if asked and AUTHORIZATION_CODE in grant_types and "code" not in asked:
        raise InvalidClientMetadata("response_types: only code is offered here")


def _name(given: dict[str, Any], redirects: list[str]) -> str:
    """A client without a name that can be shown is called by the host that its answers go to."""
    name = _optional_text(given, "client_name").strip()
    if name and problem_with(name, most=MAX_NAME) is None:
        return name
    hosts = [host for uri in redirects if (host := uris.host_of(uri)) and not uris.is_loopback(uri)]
    return hosts[0][:MAX_NAME] if hosts else "Unnamed agent"


def _certificate_names(given: dict[str, Any], method: str) -> dict[str, str]:
    if method != TLS_CLIENT_AUTH:
        return {}
    names = {kind: _text(given, f"tls_client_auth_{kind}") for kind in certificates.KINDS}
    if problem := certificates.problem_with_names(names):
        raise InvalidClientMetadata(problem)
    return {kind: name for kind, name in names.items() if name}


def _choices(given: dict[str, Any], offer: Offer, method: str, delivery_mode: Any) -> dict[str, Any]:
    wanted = given | {"backchannel_token_delivery_mode": delivery_mode}
    chosen = {name: _choice(wanted, name, values) for name, values in offer.choices.items()}
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
    if any(type(value) is type(offered) and value == offered for offered in values):
        return value
    if name in _REPLACED:
        return values[0]
    raise InvalidClientMetadata(f"{name} is one of {', '.join(map(json.dumps, values))}")


def _self_description(given: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in _ADDRESSES:
        if (uri := _optional_text(given, name)) and uris.problem_with_address(uri) is None:
            described[name] = uri
    for name in _TEXTS:
        if (text := _optional_text(given, name)) and problem_with(text, most=MAX_TEXT) is None:
            described[name] = text
    contacts = [one for one in _texts(given, "contacts") if problem_with(one, most=MAX_TEXT) is None]
    if contacts:
        described["contacts"] = contacts[:MAX_CONTACTS]
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
