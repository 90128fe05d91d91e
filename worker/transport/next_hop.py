"""The relay as a value: where it is, how it is reached, what it may be asked. Pure.

Settings become a `Relay` at the edge; nothing in this room reads settings. The password never shows in a repr, a key
or an error.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from worker.errors import UsageError
from worker.loopback import is_loopback
from worker.relay_url import RelayUrlError, read_relay_url


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase may take, in seconds, however the bytes trickle in (RFC 5321 4.5.3.2)."""

    connect_s: float = 30.0
    greeting_s: float = 60.0
    hello_s: float = 60.0
    tls_s: float = 30.0
    auth_s: float = 60.0
    command_s: float = 300.0
    """RSET, MAIL, RCPT and DATA, each."""
    body_s: float = 180.0
    """To move the body, on top of its size at the slowest rate."""
    body_bytes_per_s: float = 4096.0
    final_s: float = 600.0
    """For the final reply: giving up sooner makes doubt where there was an answer (RFC 1047)."""
    quit_s: float = 2.0
    idle_s: float = 30.0
    """How long an unused connection is kept."""

    def scaled(self, factor: float) -> "Timeouts":
        """The same shape, every time `factor` times as long."""
        longer = {name: getattr(self, name) * factor for name in self.__slots__ if name != "body_bytes_per_s"}
        return replace(self, body_bytes_per_s=self.body_bytes_per_s / factor, **longer)


@dataclass(frozen=True)
class Relay:
    """Our next SMTP hop.

    `starttls` None means: required, unless the host is loopback. `ca_file` replaces the system's trusted authorities.
    `hello_name` empty means: this machine's name if it is fully qualified, else its address literal (RFC 5321 4.1.3).
    """

    host: str
    port: int
    implicit_tls: bool = False
    starttls: Literal["required", "off"] | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    hello_name: str = ""
    connections: int = 10
    per_connection: int = 100
    """Mails over one connection before it is closed in good order."""
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if not self.host or any(char.isspace() for char in self.host):
            raise UsageError("relay.host_missing")
        if not 1 <= self.port <= 65535:
            raise UsageError("relay.port", port=self.port)
        if self.connections < 1 or self.per_connection < 1:
            raise UsageError("relay.no_connection")
        if self.username is not None and not self.uses_tls and not self.is_loopback:
            raise UsageError("relay.password_in_clear", relay=self.key)

    @property
    def key(self) -> str:
        """`host:port`: what rows, logs and metrics call this relay."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether mail handed over here cannot leave the machine by this hop."""
        return is_loopback(self.host)

    @property
    def needs_starttls(self) -> bool:
        if self.implicit_tls:
            return False
        return not self.is_loopback if self.starttls is None else self.starttls == "required"

    @property
    def uses_tls(self) -> bool:
        return self.implicit_tls or self.needs_starttls

    @classmethod
    def from_url(cls, url: str, **more: Any) -> "Relay":  # noqa: ANN401  the fields' own types hold
        """Read `smtp://host:port`, `smtps://user:password@host`, `?starttls=required|off`; user and password are
        percent-encoded. `more` are further fields. Raises UsageError, never with the password in it.
        """
        try:
            read = read_relay_url(url)
        except RelayUrlError as error:
            raise UsageError("relay.url", problem=error.problem) from None
        implicit = read.scheme == "smtps"
        return cls(
            host=read.host,
            port=read.port or (465 if implicit else 587 if read.user else 25),
            implicit_tls=implicit,
            starttls=read.starttls,
            username=read.user,
            password=read.password,
            **more,
        )
