"""From a relay's name to a connected socket: resolve, then try its addresses beside each other. RFC 8305.

A resolver may hang for longer than a process wants to live, so a lookup runs in a thread that the end does not wait
for; there is never more than one for a name. Which address worked, and which did not, is remembered: a dead one would
cost each connection its head start.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from itertools import chain, zip_longest
from typing import Any

from worker.transport.door import OpeningError, Reason
from worker.transport.next_hop import Relay
from worker.transport.replies import Phase

NEXT_ADDRESS_S = 0.25
"""How long an address may be silent before the next one is tried beside it (RFC 8305 5)."""

Place = tuple[Any, ...]
"""What getaddrinfo says of one address."""

Peer = tuple[Any, ...]
"""A socket's other end, as getaddrinfo names it."""

_worked: dict[tuple[str, int], Peer] = {}  # bounded like the next one: a process has one relay
_failed: dict[tuple[str, int], set[Peer]] = {}
_running: dict[tuple[str, int], Future[list[Place]]] = {}  # bounded: a process has one relay
_guard = threading.Lock()


async def dial(relay: Relay, without: Collection[Peer] = ()) -> tuple[socket.socket, Peer]:
    """A connected socket and its other end, none of `without`. Raises OpeningError.

    Cancellation closes what was opened.
    """
    try:
        async with asyncio.timeout(relay.timeouts.connect_s):
            places = await resolve(relay.host, relay.port)
    except TimeoutError:
        raise _unresolved(f"the name {relay.host} cannot be resolved: the resolver (DNS) does not answer") from None
    except (OSError, UnicodeError) as error:
        raise _unresolved(_unresolved_words(relay.host, error)) from None
    try:
        async with asyncio.timeout(relay.timeouts.connect_s):
            return await _race(_in_order(relay, [place for place in places if place[4] not in without]))
    except TimeoutError:
        cause = f"{relay.key} does not answer: packets to it get lost (a firewall, or a wrong address)"
    except OSError as error:
        cause = _unreachable_words(relay.key, error)
    raise OpeningError(Phase.CONNECT, cause, reason=Reason.UNREACHABLE)


def note_worked(relay: Relay, peer: Peer) -> None:
    """Mails can be handed over there: it is tried first from now on."""
    _worked[relay.host, relay.port] = peer
    _failed.get((relay.host, relay.port), set()).discard(peer)


def note_failed(relay: Relay, peer: Peer) -> None:
    """It took the connection and was of no use: it is tried last from now on."""
    _failed.setdefault((relay.host, relay.port), set()).add(peer)
    if _worked.get((relay.host, relay.port)) == peer:
        del _worked[relay.host, relay.port]


def _in_order(relay: Relay, places: list[Place]) -> list[Place]:
    """What worked first, what failed last; else as the resolver and RFC 8305 have it."""
    worked, failed = _worked.get((relay.host, relay.port)), _failed.get((relay.host, relay.port), set())
    if {place[4] for place in places} <= failed:
        failed.clear()  # all alike: begin again
    return sorted(places, key=lambda place: (place[4] != worked, place[4] in failed))


async def resolve(host: str, port: int) -> list[Place]:
    """The addresses of a name, families in turn. Raises OSError or UnicodeError."""
    kind = socket.SOCK_STREAM
    try:
        return list(socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV))
    except (OSError, UnicodeError):
        pass  # a name
    with _guard:
        lookup = _running.get((host, port))
        if lookup is None:
            lookup = _running[host, port] = Future()
            lookup.set_running_or_notify_cancel()  # nobody who gives up waiting takes it from the others
            threading.Thread(target=_look_up, args=(host, port, lookup), name="resolver", daemon=True).start()
    found: list[Place] = await asyncio.wrap_future(lookup)
    return _in_turn(found)


def _look_up(host: str, port: int, lookup: "Future[list[Place]]") -> None:
    try:
        found: list[Place] = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except Exception as error:
        end, what = lookup.set_exception, error
    else:
        end, what = lookup.set_result, found  # type: ignore[assignment]
    with _guard:
        _running.pop((host, port), None)
    end(what)


def _in_turn(places: Iterable[Place]) -> list[Place]:
    """The first family's addresses and the other's alternate (RFC 8305 4)."""
    families: dict[int, list[Place]] = {}
    for place in places:
        families.setdefault(place[0], []).append(place)
    return [place for place in chain(*zip_longest(*families.values())) if place is not None]


async def _race(places: list[Place]) -> tuple[socket.socket, Peer]:
    """The first socket that connects, and its other end. Each address gets a head start before the next one.

    Raises OSError.
    """
    left, errors = list(places), []
    running: dict[asyncio.Task[socket.socket], Peer] = {}
    try:
        while left or running:
            if left:
                place = left.pop(0)
                running[asyncio.get_running_loop().create_task(_connect(place))] = place[4]
            pause_s = NEXT_ADDRESS_S if left else None
            done, _ = await asyncio.wait(running, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                peer = running.pop(task)
                if (error := task.exception()) is None:
                    return task.result(), peer
                errors.append(error)
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()
    told = [error for error in errors if isinstance(error, OSError)]
    raise min(told, key=lambda error: error.errno != errno.ECONNREFUSED, default=OSError())


async def _connect(place: Place) -> socket.socket:
    family, kind, proto, _, address = place
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        # A relay whose machine is gone sends nothing; keepalive notices before the final deadline does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _unresolved(cause: str) -> OpeningError:
    return OpeningError(Phase.CONNECT, cause, reason=Reason.UNRESOLVED)


def _unresolved_words(host: str, error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return f"{host} is no name that a relay can have"
    if error.errno == socket.EAI_AGAIN:
        return f"the name {host} cannot be resolved now: the resolver (DNS) does not answer"
    return f"the name {host} does not resolve: it is misspelled, or has no address"


def _unreachable_words(key: str, error: OSError) -> str:
    match error.errno:
        case errno.ECONNREFUSED:
            return f"nothing listens at {key}"
        case errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"there is no route to {key}"
        case errno.ETIMEDOUT:
            return f"{key} does not answer: packets to it get lost (a firewall, or a wrong address)"
        case errno.EPERM | errno.EACCES:
            return f"this machine forbids connections to {key}: look at its firewall"
        case None:
            return f"{key} cannot be connected to: its name has no address"
        case number:
            return f"{key} cannot be connected to: {os.strerror(number).lower()}"
