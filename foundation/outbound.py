"""All outbound HTTP calls.

The caller says who supplied the URL. A URL from an agent or a browser may lead only to public
addresses, against server-side request forgery (RFC 6819, RFC 9700). The host name is resolved once,
every address is checked, and the connection goes to a checked address, so that a second DNS answer
has no effect. Redirects, proxies and content codings are off. One time limit and one size limit
cover the whole call. A limit per host bounds how many threads wait for one slow host.
"""

import functools
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import certifi
import httpcore
from django.conf import settings

from foundation.transactions import outside_transaction

MAX_URL = 2048
SUPPLIED_URL_PORTS = (443, 8443)  # for a supplied URL
# ASCII only (RFC 3986): a host name in another script must be in its xn-- form. No user, no
# fragment, no spaces or backslashes.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?)",
    re.IGNORECASE,
)
_TEREDO, _SIX_TO_FOUR = ipaddress.ip_network("2001::/32"), ipaddress.ip_network("2002::/16")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class Trust(Enum):
    """Who supplied the URL."""

    SUPPLIED = auto()  # an agent or a browser: https and public addresses only
    CONFIGURED = auto()  # an administrator: http and private addresses too


class OutboundRefused(Exception):
    """The URL may not be called; the text says why."""


class OutboundFailed(Exception):
    """The call failed: network, TLS, time limit or size limit."""


class OutboundBusy(OutboundFailed):
    """As many calls as the lane allows are on their way. Nothing was sent."""


_running: Counter[str] = Counter()  # calls of this process that are on their way, by host and by lane
_running_lock = threading.Lock()


@dataclass(frozen=True)
class Lane:
    """The calls of one kind: who supplies their URLs, and how many threads of this process may wait at the same time.

    `per_host` bounds the calls of all lanes to that host, so that a slow host delays no other.
    `in_total` bounds the calls of this lane to all hosts, where a request waits for the call.
    """

    name: str
    trust: Trust
    per_host: int
    in_total: int | None = None

    @contextmanager
    def place(self, url: str) -> Iterator[bool]:
        """Takes a place in the lane. False if there is none. `fetch` takes its own."""
        match = _URL.fullmatch(url)
        host, lane = f"host {match['host'].lower()}" if match else url, f"lane {self.name}"
        with _running_lock:
            has_place = _running[host] < self.per_host and (self.in_total is None or _running[lane] < self.in_total)
            _running.update({host: int(has_place), lane: int(has_place)})
        try:
            yield has_place
        finally:
            with _running_lock:
                _running.subtract({host: int(has_place), lane: int(has_place)})
                for key in (host, lane):
                    if not _running[key]:
                        del _running[key]


@dataclass(frozen=True)
class OutboundAnswer:
    """An answer of any status, including redirects. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class OutboundAddress:
    """A URL that may be called; its host name is not resolved yet."""

    url: str
    host: str
    port: int
    is_exception: bool


def check_url(url: str, trust: Trust) -> OutboundAddress:
    """Parses a URL and checks it against its trust class. Raises OutboundRefused."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise OutboundRefused("the URL is not valid")
    scheme, host = match["scheme"].lower(), match["host"].lower().strip("[]")
    port = int(match["port"] or (443 if scheme == "https" else 80))
    is_exception = f"{host}:{port}" in settings.OUTBOUND_EXCEPTIONS
    if trust is Trust.SUPPLIED and not is_exception:
        if scheme != "https":
            raise OutboundRefused("the URL must be https")
        if port not in SUPPLIED_URL_PORTS:
            raise OutboundRefused("the URL's port must be 443 or 8443")
    if not 0 < port < 65536:
        raise OutboundRefused("the URL has an invalid port")
    return OutboundAddress(url, host, port, is_exception)


def fetch(
    method: str,
    url: str,
    *,
    lane: Lane,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float,
    max_bytes: int | None,
) -> OutboundAnswer:
    """Makes one call. `timeout` (s) covers the whole call. Without `max_bytes` the answer's body is not read.

    Raises OutboundRefused, OutboundFailed, or OutboundBusy if the lane has no place.
    """
    outside_transaction("an outbound call")
    check_url(url, lane.trust)
    with lane.place(url) as has_place:
        if not has_place:
            raise OutboundBusy("other calls to this host are on their way")
        return fetch_in_place(
            method, url, trust=lane.trust, headers=headers, body=body, timeout=timeout, max_bytes=max_bytes
        )


def fetch_in_place(
    method: str,
    url: str,
    *,
    trust: Trust,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float,
    max_bytes: int | None,
) -> OutboundAnswer:
    """Like `fetch`, for a caller that has a place in the lane."""
    outside_transaction("an outbound call")
    deadline = time.monotonic() + timeout
    target = check_url(url, trust)
    request_headers = {
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "Countersign",
        **(headers or {}),
    }
    backend = _Pinned(_find_addresses(target, trust, deadline), deadline)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_ssl(settings.OUTBOUND_CA_FILE), network_backend=backend) as pool,
            pool.stream(method, target.url, headers=list(request_headers.items()), content=body) as response,
        ):
            response_body = b"" if max_bytes is None else _read(response.iter_stream(), max_bytes)
            names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return OutboundAnswer(response.status, names, response_body)
    except httpcore.TimeoutException as error:
        raise OutboundFailed(f"no answer within {timeout:g} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise OutboundFailed(f"the call failed: {type(error).__name__}") from error


def _find_addresses(target: OutboundAddress, trust: Trust, deadline: float) -> list[str]:
    """The addresses of the host, all of which may be called."""
    addresses = _resolve(target, deadline)
    if trust is Trust.SUPPLIED and not target.is_exception and not all(map(is_public, addresses)):
        raise OutboundRefused("the URL's host is not a public address")
    return addresses


def retry_after(answer: OutboundAnswer, now: datetime) -> float | None:
    """The seconds of a Retry-After header, given as a number or a date (RFC 9110 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _read(parts: Iterable[bytes], max_bytes: int) -> bytes:
    response_body = b""
    for part in parts:
        response_body += part
        if len(response_body) > max_bytes:
            raise OutboundFailed(f"the answer is larger than {max_bytes} bytes")
    return response_body


def is_public(address: str) -> bool:
    """Whether this is a public internet address that does not embed another one (mapped, 6to4, Teredo, NAT64)."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _GLOBAL_UNICAST or ip in _TEREDO or ip in _SIX_TO_FOUR):
        return False
    return ip.is_global and not ip.is_multicast


def _resolve(target: OutboundAddress, deadline: float) -> list[str]:
    """Resolves the host once and returns every address. Uses its own thread, because a lookup has no time limit."""
    answer: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            answer.put([str(sockaddr[0]) for *_, sockaddr in found])
        except (OSError, UnicodeError):
            answer.put([])

    threading.Thread(target=resolve, daemon=True).start()
    try:
        addresses = answer.get(timeout=max(deadline - time.monotonic(), 0.001))
    except queue.Empty as error:
        raise OutboundFailed("the host's name was not resolved in time") from error
    if not addresses:
        raise OutboundFailed("the host's name cannot be resolved")
    return addresses


@functools.cache
def _ssl(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # for systems without a CA list of their own
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class _Pinned(httpcore.NetworkBackend):
    """Connects to the checked addresses, even if the host name resolves to others by then."""

    def __init__(self, addresses: list[str], deadline: float) -> None:
        self.addresses, self.deadline = addresses, deadline
        self.network = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        problem: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError("no address")
        for address in self.addresses:
            try:
                stream = self.network.connect_tcp(address, port, timeout=_left(self.deadline))
                return _Bounded(stream, self.deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem


class _Bounded(httpcore.NetworkStream):
    """A stream on which all waits end at one deadline, so that an answer of one byte at a time gains no time."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self.stream, self.deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, _left(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, _left(self.deadline))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self.stream.start_tls(ssl_context, server_hostname, _left(self.deadline))
        return _Bounded(stream, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time limit is reached")
    return left
