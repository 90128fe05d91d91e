"""The host a request names, read from its raw bytes. Pure.

The framework replaces a Host it cannot read by the server's own address, which is loopback, and so the strangest
header would pass for the best. Nothing here believes X-Forwarded-Host: no page is made from any host.
"""

import re
from collections.abc import Iterable

from starlette.requests import Request

from worker.loopback import is_loopback

TARGET = "corranto.target"
"""In the scope: the request target as it was on the wire."""

_HOST = re.compile(
    rb"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}))(?::(?P<port>[0-9]{1,5}))?"
)
"""RFC 9110 7.2 as real hosts look: no user part, no percent sign; an underscore, for the upstreams of proxies."""
_ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)


def read_host(headers: Iterable[tuple[bytes, bytes]], target: bytes = b"/") -> str | None:
    """The name in the one Host header, in lower case without a final dot. None when there is not exactly one, when it
    cannot be read, or when an absolute request target (RFC 9112 3.2.2) names another."""
    values = [value for name, value in headers if name.lower() == b"host"]
    if len(values) != 1:
        return None
    found = _HOST.fullmatch(values[0])
    if found is None or not (found["port"] is None or 0 < int(found["port"]) < 65_536):
        return None
    absolute = _ABSOLUTE.match(target)
    if absolute is not None and absolute["host"].lower() != values[0].lower():
        return None
    return found["name"].decode("ascii").lower().removesuffix(".")


def origin_form(target: bytes) -> bytes:
    """A request target's path, also of one that came as a whole URL."""
    absolute = _ABSOLUTE.match(target)
    return target if absolute is None else target[absolute.end() :] or b"/"


def names_us(request: Request) -> bool:
    """Whether a request was made to this machine by a name that can mean nothing else."""
    host = read_host(request.headers.raw, request.scope.get(TARGET, b"/"))
    return host is not None and is_loopback(host)
