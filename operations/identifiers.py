"""The identifier of a Resource: which URIs are valid, and which identifiers are equal. Pure.

Tokens carry the registered spelling. A client may spell it in any way that RFC 3986 6.2 treats as
equal, because clients build the URI with a URL parser, which adds or drops a slash and lower-cases
the host.
"""

import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?(?P<rest>[^#]*)")
_AUTHORITY = re.compile(r"(?P<user>.*@)?(?P<host>[^@]*?)(?::(?P<port>[0-9]*))?")


def is_identifier(value: str) -> bool:
    """Whether this is an absolute URI without a fragment (RFC 8707 2).

    The caller decides whether `http` is allowed for hosts other than loopback.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:  # the authority is malformed
        return False
    is_visible_ascii = value.isascii() and value.isprintable() and " " not in value
    return is_visible_ascii and "#" not in value and bool(parts.scheme and (parts.netloc or parts.path))


def is_same_resource(one: str, other: str) -> bool:
    """RFC 3986 6.2: ignores the case of scheme and host, the scheme's default port and an empty path."""
    return one == other or _comparable(one) == _comparable(other)


def _comparable(identifier: str) -> str:
    """The normalized spelling of an identifier. A value that is no identifier equals only itself."""
    parts = _PARTS.fullmatch(identifier) if is_identifier(identifier) else None
    if parts is None:
        return identifier
    scheme, rest = parts["scheme"].lower(), parts["rest"]
    if parts["authority"] is None:
        return f"{scheme}:{rest}"
    if scheme in _DEFAULT_PORTS and not rest.startswith("/"):
        rest = f"/{rest}"
    return f"{scheme}://{_comparable_authority(parts['authority'], scheme)}{rest}"


def _comparable_authority(authority: str, scheme: str) -> str:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return authority
    port = "" if parts["port"] in (None, "", _DEFAULT_PORTS.get(scheme)) else f":{parts['port']}"
    return f"{parts['user'] or ''}{parts['host'].lower()}{port}"
