"""How many requests are answered at once: in total, and for each client address.

Leaving needs no place (the shell lets it pass), so one address or many can take them all and every reader still gets
out. An address is the client's, as a trusted proxy names it; a proxy that names none stands for many people, and only
the total holds for it.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

MOST_REQUESTS = 400
MOST_PER_CLIENT = 50
"""A browser opens six connections; a picture proxy of a large mailbox provider, or an office behind one address, more.
"""

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def read_networks(text: str) -> Networks:
    """The networks of the setting trusted_proxies, which has been checked."""
    parts = (part.strip() for part in text.split(","))
    return tuple(ipaddress.ip_network(part, strict=False) for part in parts if part)


def client_key(host: str | None, trusted: Networks) -> str | None:
    """Whom a peer's address counts as: an IPv6 subscriber's whole /64. None for a trusted proxy, who is many."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if any(address in network for network in trusted):
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


class Places:
    """The requests at hand. Used in the event loop only, so it needs no lock."""

    def __init__(self, trusted_proxies: str, most: int = MOST_REQUESTS, per_client: int = MOST_PER_CLIENT) -> None:
        self._trusted = read_networks(trusted_proxies)
        self._most, self._per_client = most, per_client
        self._total = 0
        self._by_client: Counter[str] = Counter()

    def refusal(self, scope: Scope) -> int:
        """The HTTP status that refuses one more request, 0 when there is room for it."""
        if self._total >= self._most:
            return 503
        key = self._key(scope)
        return 429 if key is not None and self._by_client[key] >= self._per_client else 0

    @contextmanager
    def taken(self, scope: Scope) -> Iterator[None]:
        """One place, for as long as the block runs."""
        key = self._key(scope)
        self._total += 1
        if key is not None:
            self._by_client[key] += 1
        try:
            yield
        finally:
            self._total -= 1
            if key is not None:
                self._by_client[key] -= 1
                if not self._by_client[key]:
                    del self._by_client[key]

    def _key(self, scope: Scope) -> str | None:
        client = scope.get("client")
        return client_key(client[0] if client else None, self._trusted)
