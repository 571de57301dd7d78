"""Which addresses are the public internet: the only ones that an address named by a user may lead to.

A list of our own. `ipaddress.is_global` takes NAT64, 6to4 and multicast for global, and knows nothing of the addresses
at which clouds answer their machines.
"""

from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from backend.config import settings

Address = IPv4Address | IPv6Address

#: IANA's special-purpose registry, and what else leads elsewhere than it seems.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, seen from its machines
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
#: Of IPv6 only this is given out for global use. So loopback, mapped, NAT64, unique-local, link-local and multicast
#: are out without being named.
_GLOBAL_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, AMT and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",
        "3fff::/20",
    )
)


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)


def is_allowed(name: str, address: Address) -> bool:
    """Whether a user may have us connect to this address of `name`: it is public, or the operator listed either."""
    names, networks = _listed(tuple(settings.allowed_private_targets))
    return is_public(address) or name in names or any(address in network for network in networks)


@cache
def _listed(targets: tuple[str, ...]) -> tuple[frozenset[str], tuple[IPv4Network | IPv6Network, ...]]:
    names, networks = set(), []
    for target in targets:
        try:
            networks.append(ip_network(target))
        except ValueError:
            names.add(target.lower().rstrip("."))
    return frozenset(names), tuple(networks)


def literal(name: str) -> Address | None:
    """The address that a host is, written in its usual form; None when it is a name."""
    try:
        return ip_address(name)
    except ValueError:
        return None
