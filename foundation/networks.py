"""The address under which limits count a sender of requests. Pure."""

from ipaddress import IPv6Address, ip_address, ip_network


def counted_address(address: str) -> str:
    """The address that limits count: an IPv4 address, or the /64 of an IPv6 address.

    One customer usually has a whole /64.
    """
    parsed = ip_address(address)
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False).network_address)
