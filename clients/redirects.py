"""Redirect URIs at authorization: is this one of the agent's, and what does the user see of it? Pure.

uris.py says which URIs can be registered. They are compared as strings, character by character (RFC
9700 2.1), with two exceptions for a loopback address. Its port is free, because a native app learns
its port only when it listens (RFC 8252 7.3). An empty path equals `/` (RFC 3986 6.2.3), because
many clients build the URI with a URL parser. `localhost` counts as loopback too: most command-line
clients register it, and browsers resolve it to this machine without DNS. RFC 8252 8.3 advises
clients against it, but refusing it would protect no one.
"""

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from clients import uris

MAX_URIS = 20
_PORT = re.compile(r":[0-9]{1,5}\Z")


def problem_with_list(redirect_uris: list[str], schemes: Collection[str] = ()) -> str | None:
    """Why an administrator cannot register these redirect URIs, or None. `schemes`: see uris.py."""
    if len(redirect_uris) > MAX_URIS:
        return f"there are more than {MAX_URIS} addresses"
    problems = ((uri, uris.problem_with_redirect(uri, native=True, schemes=schemes)) for uri in redirect_uris)
    return next((f"{uri[:80]} {problem}" for uri, problem in problems if problem), None)


def is_registered(unverified_uri: str, registered: Iterable[str], schemes: Collection[str] = ()) -> bool:
    """Whether this is a registered redirect URI, ignoring the port and an empty path of a loopback address.

    A scheme that `schemes` no longer contains is refused even if it is registered.
    """
    if uris.problem_with_redirect(unverified_uri, native=True, schemes=schemes):
        return False
    return any(unverified_uri == one or _is_same_loopback(unverified_uri, one) for one in registered)


def _is_same_loopback(requested: str, registered: str) -> bool:
    if not is_loopback(requested) or not is_loopback(registered):
        return False
    return _without_port(requested) == _without_port(registered)


def _without_port(loopback_uri: str) -> str:
    """Removes the port and writes an empty path as `/`; leaves the rest unchanged."""
    netloc = urlsplit(loopback_uri).netloc
    rest = loopback_uri.removeprefix(f"http://{netloc}")
    return f"http://{_PORT.sub('', netloc)}{rest if rest.startswith('/') else f'/{rest}'}"


def is_loopback(uri: str) -> bool:
    """Whether this is an http URI of the user's own machine."""
    return uri.startswith("http://") and uris.is_loopback(uri)


def is_claimed(uri: str) -> bool:
    """Whether only the owner of a host can receive it (https). Any app on the machine can claim the other schemes."""
    return uri.startswith("https://")


def source_of(uri: str) -> str:
    """The Content-Security-Policy source of a registered URI: its origin, or its scheme."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if uris.host_of(uri) else f"{parts.scheme}:"


def place_of(uri: str) -> str:
    """The displayed origin of a registered URI: its host with port, or its scheme."""
    return source_of(uri).removeprefix("https://").removeprefix("http://")


def scheme_of(uri: str) -> str:
    return urlsplit(uri).scheme
