"""The URIs that a client may register: redirect URIs, pages about it, and its own documents. Pure.

Redirect URIs are compared character by character (RFC 9700 2.1). So only URIs are accepted that
every parser reads alike: ASCII, no user name, no fragment, no dot segments, no backslashes,
lower-case scheme and host.
"""

import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

MAX_URI = 1024
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")  # RFC 8252 7.3 and 8.3
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")  # RFC 3986: no spaces, quotes, backslashes
_AUTHORITY = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
)
# RFC 8252 7.1: a private-use scheme is a reversed domain name. Requiring a dot excludes
# javascript:, data: and similar schemes.
_PRIVATE_USE = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+")
_WITHOUT_DOT = re.compile(r"[a-z][a-z0-9-]+")  # a single letter is a Windows drive
# Schemes that a browser or an operating system handles itself: an answer sent there would run, be
# displayed or go elsewhere.
_HANDLED = frozenset(
    {
        "about", "acap", "afp", "aim", "app-settings", "apt", "bitcoin", "blob", "brave", "callto", "chrome", "cid",
        "content", "crx", "data", "dav", "devtools", "dns", "doi", "ed2k", "edge", "facetime", "facetime-audio",
        "feed", "file", "filesystem", "firefox", "fish", "fm", "ftp", "ftps", "geo", "git", "gopher", "http", "https",
        "imap", "imaps", "intent", "irc", "irc6", "ircs", "jar", "javascript", "jdbc", "ldap", "ldaps", "livescript",
        "local", "magnet", "mailbox", "mailto", "maps", "market", "mhtml", "mid", "mk", "mms", "mmsto", "mocha",
        "msteams", "news", "nfs", "nntp", "opaquelocktoken", "opera", "pkcs11", "pop", "pop3", "prefs", "rdp", "res",
        "resource", "rlogin", "rsync", "rtmp", "rtsp", "safari", "search-ms", "sftp", "shell", "shortcuts", "sip",
        "sips", "skype", "smb", "sms", "smsto", "snmp", "spotify", "ssh", "steam", "svn", "tel", "telnet", "tftp",
        "tn3270", "turn", "turns", "urn", "vbs", "vbscript", "vivaldi", "vnc", "wais", "webcal", "webdav", "ws",
        "wss", "wtai", "wyciwyg", "xmpp",
    }
)  # fmt: skip
_HANDLED_PREFIXES = (
    "android-", "brave-", "chrome-", "edge-", "firefox-", "googlechrome", "itms", "microsoft-edge", "moz-", "ms-",
    "opera-", "safari-", "view-source", "x-apple", "x-safari-", "x-web-",
)  # fmt: skip


def problem_with_scheme(scheme: str) -> str | None:
    """Why REGISTRATION_PRIVATE_USE_SCHEMES cannot list this private-use scheme without a dot, or None."""
    if not _WITHOUT_DOT.fullmatch(scheme):
        return "it must be a scheme without a dot, in lower case and without a colon, such as vscode"
    if scheme in _HANDLED or scheme.startswith(_HANDLED_PREFIXES):
        return "browsers or operating systems handle this scheme"
    return None


def problem_with_redirect(uri: str, *, native: bool, schemes: Collection[str] = ()) -> str | None:
    """Why this cannot be a redirect URI, or None. Allowed: https, http on loopback, private-use schemes if `native`.

    `schemes` lists the private-use schemes without a dot that this client may have.
    """
    if problem := _problem_with_text(uri):
        return problem
    scheme, colon, _ = uri.partition(":")
    if scheme in ("https", "http"):
        host = host_of(uri)
        if host is None:
            return "has no valid host in lower case"
        return None if scheme == "https" or host in LOOPBACK else "is http, which is only for loopback addresses"
    is_listed = scheme in schemes and problem_with_scheme(scheme) is None
    if not colon or not (is_listed or _PRIVATE_USE.fullmatch(scheme)):
        return "has neither the scheme https nor a private-use scheme such as com.example.app"
    return None if native else "has a private-use scheme, which is only for application_type native"


def problem_with_address(uri: str) -> str | None:
    """Why this is not the https URL of a page or document (client_uri, logo_uri, jwks_uri ...), or None."""
    if problem := _problem_with_text(uri):
        return problem
    return None if uri.startswith("https://") and host_of(uri) else "is not an https address"


def problem_with_document_url(uri: str) -> str | None:
    """Why this cannot be the URL of a Client ID Metadata Document (section 3 of the draft), or None."""
    if problem := problem_with_address(uri):
        return problem
    return None if urlsplit(uri).path not in ("", "/") else "has no path"


def host_of(uri: str) -> str | None:
    """The host of an http or https URI as written, or None if parsers might read it differently."""
    match = _AUTHORITY.fullmatch(urlsplit(uri).netloc)
    return match["host"] if match else None


def is_loopback(uri: str) -> bool:
    return uri.startswith(("http://", "https://")) and host_of(uri) in LOOPBACK


def _problem_with_text(uri: str) -> str | None:
    if len(uri) > MAX_URI:
        return f"is longer than {MAX_URI} characters"
    if not _CHARACTERS.fullmatch(uri):
        return "has characters that a URI must not have"
    if "#" in uri:
        return "has a fragment"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "is malformed"
    if "@" in parts.netloc:
        return "has a user name"
    if {".", ".."} & set(unquote(parts.path).replace("\\", "/").split("/")):
        return "has dot segments"
    return None
