"""All settings, read once at the start of a process. The only place that reads the environment.

Order: `config/default.toml` (the manual of every setting) < the file named by CORRANTO_CONFIG < CORRANTO_* variables.
A process with wrong values refuses to start and names all of them at once.
"""

import difflib
import getpass
import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from worker.errors import SettingsError, Trouble
from worker.loopback import is_loopback, is_loopback_url
from worker.places import CONFIG, HOME
from worker.relay_url import RelayUrl, RelayUrlError, read_relay_url

PREFIX = "CORRANTO_"
DEFAULTS_FILE = CONFIG / "default.toml"

MIN_KEY_CHARS = 32
"""A shorter signing key was typed by hand, and can be guessed."""

_RATE = re.compile(r"0*[1-9][0-9]{0,8}\s*/\s*(s|min|h|d)", re.ASCII)
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,255}}\Z)(?!(.*\.)?[0-9]+\Z){_LABEL}(\.{_LABEL})*", re.ASCII | re.IGNORECASE)
"""RFC 5321 4.1.2; a last label of digits only would be an address without its brackets."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*", re.ASCII)


class _NotAllowed(ValueError):
    """Raised by a check of one value; carries what is allowed instead."""

    def __init__(self, rule: Trouble) -> None:
        super().__init__(rule.code)
        self.rule = rule


class Settings(BaseModel):
    """Every setting with its type and range; config/default.toml says what each is for, with unit and warning."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: SecretStr
    broker_url: SecretStr
    smtp_url: SecretStr
    smtp_ca_file: str = ""
    smtp_connections: Annotated[int, Field(ge=1, le=200)]
    smtp_messages_per_connection: Annotated[int, Field(ge=1, le=100_000)]
    smtp_hello_name: str = ""
    return_path: Literal["verp", "fixed"]
    base_url: str
    secret_keys: tuple[SecretStr, ...]
    state_dir: Path
    relay_rate: str
    actor: str = ""
    web_host: str
    web_port: Annotated[int, Field(ge=0, le=65_535)]
    trusted_proxies: str
    metrics_host: str
    metrics_port: Annotated[int, Field(ge=0, le=65_535)]
    hold_s: Annotated[int, Field(ge=0, le=86_400)]
    late_grace_s: Annotated[int, Field(ge=60, le=7 * 86_400)]
    retry_life_s: Annotated[int, Field(ge=60, le=5 * 86_400)]
    claim_size: Annotated[int, Field(ge=200, le=5_000)]
    shard_size: Annotated[int, Field(ge=200, le=100_000)]
    optout_fresh_s: Annotated[float, Field(ge=0.5, le=10)]
    worker_threads: Annotated[int, Field(ge=1, le=32)]
    drain_s: Annotated[int, Field(ge=1, le=900)]
    probe_base_url: Literal["auto", "always"]
    sink_host: str
    sink_port: Annotated[int, Field(ge=0, le=65_535)]
    sink_keep: Annotated[int, Field(ge=100, le=1_000_000)]
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever the layers held
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("secret_keys")
    @classmethod
    def _long_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < MIN_KEY_CHARS for key in value):
            raise _NotAllowed(Trouble("settings.key_length", least=MIN_KEY_CHARS))
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("sqlite:///", "postgresql://")):
            raise _NotAllowed(Trouble("settings.database_url"))
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url != "sql" and not url.startswith(("redis://", "rediss://", "unix://")):
            raise _NotAllowed(Trouble("settings.broker_url"))
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        try:
            read_relay_url(value.get_secret_value())
        except RelayUrlError as error:
            raise _NotAllowed(Trouble("settings.smtp_url", problem=error.problem)) from None
        return value

    @field_validator("state_dir", mode="before")
    @classmethod
    def _state(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever the layers held
        if isinstance(value, str) and not value.strip():
            raise _NotAllowed(Trouble("settings.state_dir"))
        return value

    @field_validator("smtp_ca_file")
    @classmethod
    def _ca_file(cls, value: str) -> str:
        if value and not Path(value).is_file():
            raise _NotAllowed(Trouble("settings.ca_file"))
        return value

    @field_validator("smtp_hello_name")
    @classmethod
    def _hello_name(cls, value: str) -> str:
        if value and not _DOMAIN.fullmatch(value) and not _is_address_literal(value):
            raise _NotAllowed(Trouble("settings.hello_name"))
        return value

    @field_validator("relay_rate")
    @classmethod
    def _windows(cls, value: str) -> str:
        parts = [part.strip().lower() for part in value.split(",")]
        if value.strip() and parts != ["none"]:
            windows = [_RATE.fullmatch(part) for part in parts]
            if not all(windows) or len({match[1] for match in windows if match}) < len(parts):
                raise _NotAllowed(Trouble("settings.rate"))
        return value.strip()

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            try:
                ipaddress.ip_network(part, strict=False)
            except ValueError:
                raise _NotAllowed(Trouble("settings.networks")) from None
        return value

    @field_validator("web_host", "metrics_host", "sink_host")
    @classmethod
    def _host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise _NotAllowed(Trouble("settings.host"))
        return value

    @field_validator("base_url")
    @classmethod
    def _base(cls, value: str) -> str:
        parts = _split(value, Trouble("settings.base_url_port"))
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise _NotAllowed(Trouble("settings.base_url"))
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise _NotAllowed(Trouble("settings.base_url_http"))
        return value.rstrip("/")

    @property
    def keys(self) -> list[str]:
        """Signing keys in the clear, the first signs. Raises SettingsError when there is none."""
        if not self.secret_keys:
            raise SettingsError([Trouble("settings.no_key")])
        return self.secrets

    @property
    def secrets(self) -> list[str]:
        """The same, and none when none is set: for what can do without."""
        return [key.get_secret_value() for key in self.secret_keys]

    @property
    def who(self) -> str:
        """The person or machine behind this process, as acts name it: CORRANTO_ACTOR, or user@host."""
        return self.actor or f"{getpass.getuser()}@{socket.gethostname()}"

    @property
    def is_loopback_relay(self) -> bool:
        return is_loopback(self.relay_url.host)

    @property
    def relay_url(self) -> RelayUrl:
        """`smtp_url` in its parts."""
        return read_relay_url(self.smtp_url.get_secret_value())

    @property
    def uses_sink(self) -> bool:
        """Whether mail goes to the embedded sink: the relay is loopback and its port is the sink's."""
        return self.is_loopback_relay and self.relay_url.port == self.sink_port

    @property
    def shows_sink(self) -> bool:
        """Whether the sink's inbox may be served: nobody but this machine reaches the pages, under any name."""
        return self.uses_sink and is_loopback_url(self.base_url) and is_loopback(self.web_host)

    @property
    def rate(self) -> str:
        """Rate windows in force: 20/s towards a relay that is not loopback, none on loopback, unless set."""
        if self.relay_rate:
            return self.relay_rate
        return "none" if self.is_loopback_relay else "20/s"

    @property
    def dkim_dir(self) -> Path:
        return self.state_dir / "dkim"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Merge the three layers. Raises SettingsError naming every wrong value with its allowed range."""
    env = dict(os.environ) if environ is None else dict(environ)
    problems: list[Trouble] = []
    values = _read_toml(DEFAULTS_FILE, problems)
    origin = dict.fromkeys(values, str(DEFAULTS_FILE.relative_to(HOME)))
    if config := env.get(PREFIX + "CONFIG"):
        for key, value in _read_toml(Path(config), problems).items():
            values[key], origin[key] = value, config
    for name, text in env.items():
        if name.startswith(PREFIX) and name != PREFIX + "CONFIG":
            key = name.removeprefix(PREFIX).lower()
            values[key], origin[key] = text, name
    for key in [key for key in values if key not in Settings.model_fields]:
        near = difflib.get_close_matches(key, Settings.model_fields, n=1)
        problems.append(Trouble("settings.unknown", setting=key, origin=origin[key], near=near[0] if near else None))
        del values[key]
    if isinstance(values.get("state_dir"), str) and values["state_dir"].strip():
        values["state_dir"] = Path(values["state_dir"]).expanduser().absolute()
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            key = str(item["loc"][0])
            problems.append(_problem(key, origin.get(key, ""), values.get(key), item))
        raise SettingsError(problems) from None
    if problems:
        raise SettingsError(problems)
    return settings


def config_file(environ: Mapping[str, str] | None = None) -> Path | None:
    """The file that CORRANTO_CONFIG names; None without one."""
    named = (os.environ if environ is None else environ).get(PREFIX + "CONFIG")
    return Path(named).expanduser().absolute() if named else None


def _is_address_literal(text: str) -> bool:
    """Whether it is `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3)."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    address = text[1:-1]
    try:
        if address[:5].lower() == "ipv6:":
            return "%" not in str(ipaddress.IPv6Address(address[5:]))
        return bool(ipaddress.IPv4Address(address))
    except ValueError:
        return False


def _problem(key: str, origin: str, value: object, item: ErrorDetails) -> Trouble:
    """One wrong value with what is allowed; the value itself only where it holds no secret and no address."""
    if value is None or key in ("secret_keys", "database_url", "broker_url", "smtp_url") or "@" in str(value):
        shown = None
    else:
        shown = str(value)
    return Trouble("settings.value", setting=key, origin=origin, rule=_rule(key, item), value=shown)


def _rule(key: str, item: ErrorDetails) -> Trouble:
    """What is allowed. For a number both bounds, whichever was broken."""
    bounds: dict[str, object] = {}
    for mark in Settings.model_fields[key].metadata:
        bounds |= {name: getattr(mark, name) for name in ("ge", "le") if hasattr(mark, name)}
    if len(bounds) == 2:
        return Trouble("settings.range", low=bounds["ge"], high=bounds["le"])
    error = item.get("ctx", {}).get("error")
    if isinstance(error, _NotAllowed):
        return error.rule
    if item["type"] == "literal_error":
        return Trouble("settings.choice", allowed=get_args(Settings.model_fields[key].annotation))
    return Trouble("settings.type", type=item["type"])


def _split(url: str, rule: Trouble) -> SplitResult:
    """A URL's parts. Raises _NotAllowed with the rule when they, or the port, cannot be read."""
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        raise _NotAllowed(rule) from None
    return parts


def _read_toml(path: Path, problems: list[Trouble]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        problems.append(Trouble("settings.file_unreadable", path=str(path), cause=error.strerror))
    except UnicodeDecodeError as error:
        problems.append(Trouble("settings.not_utf8", path=str(path), octet=error.start))
    except tomllib.TOMLDecodeError as error:
        problems.append(Trouble("settings.not_toml", path=str(path), cause=str(error)))
    return {}
