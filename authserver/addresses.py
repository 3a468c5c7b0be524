"""Validates the addresses in settings.

Each rule returns a half-sentence that says what is wrong, or None.
"""

import re
from email.utils import parseaddr
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from authserver.forwarded import parse_network

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_IPV6 = re.compile(r"\[([0-9a-f:.]+)\]", re.ASCII)
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]+", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Push services, mail servers and browsers outside this machine or network cannot resolve these (RFC
# 6761, RFC 6762, RFC 8375).
_NOT_PUBLIC = ("localhost", "local", "internal", "invalid", "test", "example", "arpa")


def is_host(text: str) -> bool:
    """Whether `text` is a DNS name in lower case, an IPv4 address, or an IPv6 address in brackets."""
    address = text
    if in_brackets := _IPV6.fullmatch(text):
        address = in_brackets[1]
    elif not _HOST.fullmatch(text) or len(text) > 253:
        return False
    elif not text.rpartition(".")[2].isdigit():
        return True
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _is_public_name(host: str) -> bool:
    return is_host(host) and "." in host and not host.endswith(_NOT_PUBLIC) and not host[-1].isdigit()


def problem_with_origin(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in _DEFAULT_PORTS:
        return "it must begin with https://"
    if text != f"{parts.scheme}://{parts.netloc}" or "@" in text or any(sign in text for sign in "?#\\"):
        return "it must have no path, query, fragment or user name"
    if text != text.lower():
        return "write it in lower case, because clients compare it exactly"
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    if not is_host(host):
        return "its host is not a host name"
    if port == _DEFAULT_PORTS[parts.scheme]:
        return f"leave out the default port {port}, as browsers do"
    return None


def problem_with_host(text: str) -> str | None:
    """What is wrong with a member of ALLOWED_HOSTS. checks.py refuses `*`, in production only."""
    if text == "*" or is_host(text.lower().removeprefix(".")):
        return None
    return "it must be a host name without scheme, port or path"


def problem_with_exact_host(text: str) -> str | None:
    return None if text == "*" or is_host(text) else "it must be a host name without scheme, port or path"


def problem_with_authority(text: str) -> str | None:
    host, _, port = text.rpartition(":")
    return None if is_host(host) and port.isdigit() and 0 < int(port) < 65536 else "it must be host:port"


def problem_with_proxy(text: str) -> str | None:
    try:
        network = parse_network(text)
    except ValueError:
        try:
            return f"the network that holds this address is {ip_network(text, strict=False)}"
        except ValueError:
            return "it must be an address or a network, such as 10.0.0.5 or 10.0.0.0/24"
    return "then anybody could send a false address" if network.prefixlen == 0 else None


def problem_with_mailbox(text: str) -> str | None:
    mailbox, _, host = text.rpartition("@")
    return None if _MAILBOX.fullmatch(mailbox) and is_host(host.lower()) else "it is not an e-mail address"


def problem_with_sender(text: str) -> str | None:
    """What is wrong with a sender such as `ops@example.com` or `Countersign <ops@example.com>`."""
    return problem_with_mailbox(parseaddr(text)[1])


def problem_with_token(text: str) -> str | None:
    return (
        None
        if text.isascii() and text.isprintable() and " " not in text
        else "it has characters that an HTTP header cannot carry"
    )


def problem_with_push_service(text: str) -> str | None:
    """What is wrong with a push service: `*`, a host or `.suffix`, optionally followed by the
    beginning of a path.
    """
    host, _, path = text.partition("/")
    if text == "*" or (is_host(host.removeprefix(".")) and ".." not in path and not set(path) & set("%?#\\")):
        return None
    return "it must be a host name with or without a path: fcm.googleapis.com or .example.com/push/"


def problem_with_subject(text: str) -> str | None:
    """What is wrong with the subject of VAPID tokens (RFC 8292 2.1).

    Apple refuses tokens whose subject cannot be reached from outside.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "mailto":
        host = rest.rpartition("@")[2]
        is_usable = problem_with_mailbox(rest) is None
    else:
        try:
            host = urlsplit(text).hostname or ""
        except ValueError:
            host = ""
        is_usable = text.startswith("https://") and not re.search(r"[\s@\\]", text)
    if is_usable and _is_public_name(host.lower()):
        return None
    return "push services must be able to write to it: mailto:ops@your-domain.com or https://your-domain.com/contact"
