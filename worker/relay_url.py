"""The relay's URL as parts, read strictly. Pure.

What is mixed up is named by a word, and no part of a secret is repeated: the standard library's own messages quote what
they cannot read.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]", re.ASCII)


class RelayUrlError(ValueError):
    """Raised when a URL cannot be used; `problem` is one of a closed list that catalogues word."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """The parts; user and password decoded. `port` None: the scheme's own."""

    scheme: Literal["smtp", "smtps"]
    host: str
    port: int | None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    starttls: Literal["required", "off"] | None = None


def read_relay_url(url: str) -> RelayUrl:
    """Read `smtp://host:port`, `smtps://user:password@host`, `?starttls=required|off`. Raises RelayUrlError."""
    if any(char.isspace() or not char.isprintable() for char in url):
        raise RelayUrlError("blank")
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in ("smtp", "smtps"):
        raise RelayUrlError("scheme")
    end = re.search(r"[/?#]|$", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in tail:
        raise RelayUrlError("reserved")  # the host stands behind the last @
    login, has_login, place = authority.rpartition("@")
    host, port = _read_place(place)
    user, password = _read_login(login) if has_login else (None, None)
    return RelayUrl(
        "smtps" if scheme == "smtps" else "smtp", host, port, user, password, _read_tail(tail, scheme == "smtps")
    )


def _read_place(place: str) -> tuple[str, int | None]:
    host, mark, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not mark:
        host = place
    if ":" in host and not host.startswith("["):
        raise RelayUrlError("brackets")
    if not host:
        raise RelayUrlError("host")
    if mark and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        raise RelayUrlError("port")
    if not _HOST.fullmatch(host):
        raise RelayUrlError("host")
    return host.strip("[]").lower(), int(port) if mark else None


def _read_login(login: str) -> tuple[str, str]:
    user, mark, password = login.partition(":")
    if not user or not mark or not password:
        raise RelayUrlError("login")
    try:
        return unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise RelayUrlError("percent") from None


def _read_tail(tail: str, is_smtps: bool) -> Literal["required", "off"] | None:
    tail = tail.removeprefix("/")
    if not tail:
        return None
    if not tail.startswith("?"):
        raise RelayUrlError("tail")
    if tail not in ("?starttls=required", "?starttls=off"):
        raise RelayUrlError("option")
    if is_smtps:
        raise RelayUrlError("starttls_twice")
    return "off" if tail.endswith("off") else "required"
