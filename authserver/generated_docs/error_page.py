"""docs/errors.md: every error code, from the classes of protocol errors."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from authserver.generated_docs.markdown import code, page, section, table
from foundation.errors import ProtocolError

_LOADS_EVERY_ERROR = ("authserver.urls", "web.application")
_COLUMNS = ("code", "status", "meaning", "what to do")


@dataclass(frozen=True)
class Family:
    """Endpoints that answer with the same errors. `errors` are names of classes, in the order of the table."""

    title: str
    intro: str
    errors: tuple[str, ...]
    status: str = ""  # in place of the class's, where the error is not an HTTP answer to the agent's call


FAMILIES = (
    Family(
        "Every endpoint", "",
        (
            "InvalidRequest", "BodyIncomplete", "MethodNotAllowed", "BodyTooSlow", "BodyTooLarge",
            "TemporarilyUnavailable", "ServerFailed",
        ),
    ),
    Family(
        "Client authentication",
        "For `/oauth/token`, `/bc-authorize`, `/oauth/revoke`, `/oauth/introspect` and `/v1/uses`.",
        ("InvalidClient", "DocumentUnavailable"),
    ),
    Family(
        "Authorization endpoint",
        "For `/authorize`. The redirect to the agent's redirect URI carries `error` and `error_description`.\n"
        "If the client_id or the redirect URI is wrong, the user sees a page and there is no redirect.",
        (
            "AccessDenied", "UnauthorizedClient", "InvalidScope", "InvalidTarget", "InvalidAuthorizationDetails",
            "UnsupportedResponseType", "LoginRequired", "ConsentRequired", "UnmetAuthenticationRequirements",
            "RequestNotSupported", "RequestUriNotSupported", "RegistrationNotSupported",
        ),
        "redirect",
    ),
    Family(
        "Token endpoint", "For `/oauth/token`, all grant types.",
        (
            "InvalidGrant", "UnauthorizedClient", "UnsupportedGrantType", "InvalidScope", "InvalidTarget",
            "InvalidAuthorizationDetails", "InvalidDpopProof", "UseDpopNonce",
        ),
    ),
    Family(
        "Polls for a CIBA request", "For `/oauth/token` with the CIBA grant type.",
        ("AuthorizationPending", "SlowDown", "AccessDenied", "ExpiredToken", "PollsTooMuch"),
    ),
    Family(
        "Backchannel authentication endpoint", "For `/bc-authorize`.",
        (
            "UnknownUserId", "ExpiredLoginHintToken", "MissingUserCode", "InvalidUserCode", "InvalidBindingMessage",
            "UnauthorizedClient", "InvalidScope", "InvalidTarget", "InvalidAuthorizationDetails", "RefusedAtOnce",
        ),
    ),
    Family(
        "Push callbacks", "The server sends these to the agent's notification endpoint, as `error`.",
        ("AccessDenied", "ExpiredToken", "TransactionFailed"),
        "callback",
    ),
    Family(
        "Registration", "For `/oidc/register` and `/oidc/register/{client_id}`.",
        (
            "InvalidRedirectUri", "InvalidClientMetadata", "InvalidRegistrationToken", "RegistrationClosed",
            "AgentSuspended", "TooManyRegistrations", "TooManyAttempts",
        ),
    ),
    Family(
        "Calls with an access token", "For `/userinfo` and `/v1/leases`.",
        ("NoToken", "Unauthorized", "BadProof", "NonceNeeded", "InsufficientScope"),
    ),
    Family(
        "Uses", "For `/v1/uses`, which resource servers call.",
        ("InvalidToken", "OperationMismatch", "UsedUp"),
    ),
    Family(
        "Leases", "For `/v1/leases`.",
        (
            "NotAllowed", "InsufficientAuthorization", "UnknownRole", "UnknownLease", "UnknownHandle", "LeaseEnded",
            "LeaseBusy", "NotRenewable", "QuotaExceeded", "TooManyAttempts", "BackendUnavailable", "NotIssuing",
            "NoAnswer", "SlowAnswer",
        ),
    ),
    Family(
        "Prompts", "For `/v1/prompts`, which the user's browser calls.",
        ("NotSignedIn", "SignInAgain", "SessionCallRefused", "UnknownPrompt", "NotPending", "TooManyStreams"),
    ),
    Family(
        "Unknown addresses, and what an address does not read or write", "For everything under `/v1`.",
        ("NothingFound", "MethodRefused", "NotAcceptable", "UnsupportedType"),
    ),
)  # fmt: skip

_NAME = re.compile(
    r"(?<![`\w])([a-z]+(_[a-z]+)+(=\w+)?"  # redirect_uri, response_type=code
    r"|[a-z]+=\w+"  # prompt=none
    r"|[A-Z]\w+(-[A-Z]\w+)+)(?![`\w])"  # Retry-After
)

_INTRO = """\
An error is a JSON object with `error`, the code, and usually `error_description`, a sentence for
the developer. Compare the codes only, because descriptions may change. Answers with 429 or 503, and
`slow_down`, carry `Retry-After` in seconds."""


_PACKAGES = frozenset({"foundation", "clients", "oauth", "ciba", "credentials", "web"})


def error_classes(parent: type[ProtocolError] = ProtocolError) -> Iterator[type[ProtocolError]]:
    """Every error class of the product that has a code; not those that a test or a plug-in declares."""
    for module in _LOADS_EVERY_ERROR:
        importlib.import_module(module)
    for kind in parent.__subclasses__():
        if hasattr(kind, "code") and kind.__module__.partition(".")[0] in _PACKAGES:
            yield kind
        yield from error_classes(kind)


def meaning(kind: type[ProtocolError]) -> str:
    """The class's docstring in one line."""
    return " ".join((kind.__doc__ or "").split())


def render() -> str:
    by_name = {kind.__name__: kind for kind in error_classes()}
    families = [_render_family(family, by_name) for family in FAMILIES]
    return page("Errors", _INTRO, *families)


def _render_family(family: Family, by_name: dict[str, type[ProtocolError]]) -> str:
    rows = [_row(by_name[name], family.status) for name in family.errors]
    return section(family.title, family.intro, table(_COLUMNS, rows))


def _row(kind: type[ProtocolError], status: str) -> tuple[str, ...]:
    return code(kind.code), status or str(int(kind.status)), _mark_names(meaning(kind)), _mark_names(kind.advice)


def _mark_names(text: str) -> str:
    """Names of parameters and headers, such as error_description and Retry-After, as code."""
    return _NAME.sub(lambda found: code(found[0]), text)
