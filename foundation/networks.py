"""What counts as one sender of requests. Pure."""

from ipaddress import IPv6Address, ip_address, ip_network


def counted_address(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which one customer has whole."""
    parsed = ip_address(address)
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False).network_address)
