"""Whether a host means this machine alone: the one judgement for settings, links, relay, sink and pages. Pure."""

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
"""No interface has the address; a link-local one names no interface; the kernel lacks its family."""


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


def is_host_trouble(error: OSError) -> bool:
    """Whether listening failed for the host and not for the port: another port would meet the same."""
    return isinstance(error, socket.gaierror) or error.errno in _NOT_OURS
