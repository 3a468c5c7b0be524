"""Where an agent may have a browser sent: is this one of its redirect URIs, and what is a person told of it? Pure.

uris.py says what can be registered. Compared as strings, character by character (RFC 9700 2.1), with two
exceptions for a loopback address: its port is free, because a native app learns it only when it listens
(RFC 8252 7.3), and an empty path is `/` (RFC 3986 6.2.3), because many build the URI with a URL parser.
`localhost` counts as loopback too: it is what most command-line clients register, and browsers resolve it to this
machine without asking anybody. RFC 8252 8.3 advises clients against it; refusing it here would protect nobody.
"""

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from clients import uris

MAX_URIS = 20
_PORT = re.compile(r":[0-9]{1,5}\Z")


def problem_with_list(redirect_uris: list[str], schemes: Collection[str] = ()) -> str | None:
    """Why an administrator cannot register these, or None. `schemes`: see uris.py."""
    if len(redirect_uris) > MAX_URIS:
        return f"there are more than {MAX_URIS}"
    problems = ((uri, uris.problem_with_redirect(uri, native=True, schemes=schemes)) for uri in redirect_uris)
    return next((f"{uri[:80]} {problem}" for uri, problem in problems if problem), None)


def is_registered(unverified_uri: str, registered: Iterable[str], schemes: Collection[str] = ()) -> bool:
    """Is this one of the registered redirect URIs, the port and an empty path of a loopback address aside?

    A scheme that `schemes` no longer has is refused, although it is registered.
    """
    if uris.problem_with_redirect(unverified_uri, native=True, schemes=schemes):
        return False
    return any(unverified_uri == one or _is_same_loopback(unverified_uri, one) for one in registered)


def _is_same_loopback(asked: str, registered: str) -> bool:
    if not is_loopback(asked) or not is_loopback(registered):
        return False
    return _without_port(asked) == _without_port(registered)


def _without_port(loopback_uri: str) -> str:
    """With a path, and everything else as it stands."""
    netloc = urlsplit(loopback_uri).netloc
    rest = loopback_uri.removeprefix(f"http://{netloc}")
    return f"http://{_PORT.sub('', netloc)}{rest if rest.startswith('/') else f'/{rest}'}"


def is_loopback(uri: str) -> bool:
    """http on this machine."""
    return uri.startswith("http://") and uris.is_loopback(uri)


def is_claimed(uri: str) -> bool:
    """https: whoever receives it controls that host. Any app on the machine can take the others."""
    return uri.startswith("https://")


def source_of(uri: str) -> str:
    """What Content-Security-Policy calls the place of a registered URI: its origin, or its scheme."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if uris.host_of(uri) else f"{parts.scheme}:"


def place_of(uri: str) -> str:
    """What a person reads of a registered URI: its host with port, or its scheme."""
    return source_of(uri).removeprefix("https://").removeprefix("http://")


def scheme_of(uri: str) -> str:
    return urlsplit(uri).scheme
