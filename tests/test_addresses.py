from ipaddress import IPv6Address, ip_address

import pytest

from app.addresses import is_public

PUBLIC = [
    "8.8.8.8",
    "168.63.129.17",
    "166.12.0.1",
    "142.250.1.188",
    "17.253.144.10",
    "2a00:1450:4001:80b::200a",
    "2620:149:a44::1",
    "::ffff:8.8.8.8",
]

NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
    "link-local, where clouds keep their metadata": ["169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "where clouds keep their metadata elsewhere": [
        "168.63.129.16",  # Azure
        "::ffff:168.63.129.16",
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
        "fe80::a9fe:a9fe",  # OpenStack
    ],
    "public numbers that answer inside a cloud only": [
        "199.36.153.4",
        "199.36.153.11",
        "161.26.0.10",
        "166.9.228.73",
        "2600:2d00:2:1000::1",
        "2600:2d00:2:2000::1",
    ],
    "site-local": ["fec0::1", "feff::1"],
    "protocol assignments": ["192.0.0.8", "192.0.0.170", "2001:1::1", "2001:20::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "5f00::1", "4000::1"],
    "IPv4-mapped": [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:7f00:1",
        "::ffff:224.0.0.1",
        "::ffff:0:127.0.0.1",  # RFC 2765
    ],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8", "64:ff9b::a83f:8110", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:a83f:8110::1", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:7f00:1::1"],
    "a public address within a zone": ["2a00:1450::1%1"],
    "no address": ["", "localhost", "127.1", "0x7f000001", "2130706433", "8.8.8.8 ", "８.8.8.8"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    assert is_public(ip_address(address))


@pytest.mark.parametrize("kind, address", [(kind, one) for kind, some in NOT_PUBLIC.items() for one in some])
def test_everything_else_is_not(kind: str, address: str) -> None:
    assert not is_public(address), kind


def test_an_address_object_is_judged_like_its_text() -> None:
    assert not is_public(IPv6Address("fe80::1%eth0"))
