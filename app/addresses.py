"""Addresses: which ones we may connect to on behalf of strangers."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# `is_global` of the standard library says yes to all of these.
NOT_PUBLIC_V4 = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments, RFC 6890
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    # Numbers of the public internet that clouds answer to from inside only. (All others keep their metadata on
    # link-local, shared or unique local addresses: 169.254.169.254, 100.100.100.200, fd00:ec2::254.)
    IPv4Network("168.63.129.16/32"),  # Azure: the wire server, with each machine's certificates and settings
    IPv4Network("199.36.153.0/28"),  # Google Cloud: private.googleapis.com, restricted.googleapis.com
    IPv4Network("161.26.0.0/16"),  # IBM Cloud: the services of the infrastructure
    IPv4Network("166.8.0.0/14"),  # IBM Cloud: private endpoints
)
# Only this much of IPv6 is given out as global unicast (RFC 4291 section 2.4). Outside it lie loopback, link-local,
# site-local (fec0::/10), unique local, multicast, and NAT64 (64:ff9b::/96, 64:ff9b:1::/48), which reaches any IPv4
# address behind the translator.
GLOBAL_UNICAST = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = (
    IPv6Network("2001::/23"),  # IETF protocol assignments, among them Teredo (2001::/32), which carries an IPv4 address
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which carries an IPv4 address
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
    IPv6Network("2600:2d00:2:1000::/64"),  # Google Cloud: restricted.googleapis.com
    IPv6Network("2600:2d00:2:2000::/64"),  # Google Cloud: private.googleapis.com
)


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """Whether the address belongs to the public internet. What is no address at all is not public."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return _is_public_v4(ip) if isinstance(ip, IPv4Address) else _is_public_v6(ip)


def _is_public_v4(ip: IPv4Address) -> bool:
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in NOT_PUBLIC_V4)
    return ip.is_global and not special


def _is_public_v6(ip: IPv6Address) -> bool:
    if ip.ipv4_mapped:  # The operating system connects to the IPv4 address inside.
        return _is_public_v4(ip.ipv4_mapped)
    special = ip.scope_id is not None or any(ip in network for network in NOT_PUBLIC_V6)
    return ip in GLOBAL_UNICAST and ip.is_global and not special
