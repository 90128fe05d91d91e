"""Whether a host means this machine alone: the one judgement for settings, links, relay, sink and pages. Pure."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """True for 127.0.0.0/8, ::1 (with or without brackets) and the names that RFC 6761 6.3 keeps for them.

    False for what only some resolvers take for loopback (`127.1`, `0`): whoever asks opens something when it is True.
    """
    name = host.strip("[]").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def is_loopback_url(url: str) -> bool:
    """The same for the host of a URL; False when it has none."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
