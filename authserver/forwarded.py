"""The sender of a request, according to the trusted proxies in front of this server.

A proxy appends to X-Forwarded-For the address that sent it the request. So the list is read from
right to left: a member counts only if the hop on its right is a trusted proxy. The first hop that
is not a trusted proxy is the client. Members further left are under the client's control and are
not read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN = "0.0.0.0"  # noqa: S104 - stands for an address that is not known
# Some proxies add a port to members of X-Forwarded-For: Azure writes 203.0.113.9:51000, and AWS
# can. For IPv6 all write brackets.
_IPV4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}", re.ASCII)
_IN_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[^\]]*)?)\](?::[0-9]{1,5})?", re.ASCII)
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True)
class Sender:
    """`scheme` is None if no trusted proxy reported it. `unreadable` are malformed members."""

    address: str
    is_behind_proxy: bool = False
    scheme: str | None = None
    unreadable: tuple[str, ...] = ()


def read_sender(peer: str, forwarded_for: str, forwarded_proto: str, trusted: Sequence[Network]) -> Sender:
    """The sender of a request that came from `peer` with these headers (repeated headers joined by
    commas).
    """
    address = parse_address(peer)
    if address is None or not is_in(address, trusted):
        return Sender(str(address or UNKNOWN))
    unreadable: list[str] = []
    proxies = 1
    for member in reversed(_members(forwarded_for)):
        hop = parse_address(member)
        if hop is None:  # `unknown`, `_hidden`, …: further left nothing is trusted
            unreadable.append(f"X-Forwarded-For: {member}")
            break
        address = hop
        if not is_in(hop, trusted):
            break
        proxies += 1
    scheme = _scheme(forwarded_proto, proxies, unreadable)
    return Sender(str(address), True, scheme, tuple(unreadable))


def _scheme(forwarded_proto: str, proxies: int, unreadable: list[str]) -> str | None:
    """The scheme that the outermost trusted proxy saw.

    Proxies either replace the header or append to it.

    The leftmost of the last `proxies` members counts.
    """
    members = _members(forwarded_proto)[-proxies:]
    if not members:
        return None
    scheme = members[0].lower()
    if scheme not in ("http", "https"):
        unreadable.append(f"X-Forwarded-Proto: {members[0]}")
        return None
    return scheme


def _members(header: str) -> list[str]:
    """The members of a list header (RFC 9110 5.6.1.2: empty members are ignored).

    Some proxies quote a member with a colon, as RFC 7239 does.
    """
    parts = (part.strip(" \t").removeprefix('"').removesuffix('"').strip(" \t") for part in header.split(","))
    return [part for part in parts if part]


def parse_address(text: str) -> Address | None:
    """An address in the forms that proxies write: with a port, in brackets, with a zone, IPv4
    mapped into IPv6.
    """
    if found := _IPV4_WITH_PORT.fullmatch(text) or _IN_BRACKETS.fullmatch(text):
        text = found[1]
    try:
        # A zone (fe80::1%eth0) names an interface of the proxy, and PostgreSQL's address type does
        # not accept it.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def parse_network(text: str) -> Network:
    """The network of a proxy, for `is_in`. Raises ValueError."""
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ip_network(f"{mapped}/{network.prefixlen - 96}")
    return network


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
