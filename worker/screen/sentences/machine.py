"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable, Sequence


def _unknown_setting(setting: str, origin: str, near: str | None) -> str:
    hint = f"; did you mean {near}?" if near else ""
    return f"there is no setting {setting} ({origin}){hint}"


def _setting_value(setting: str, origin: str, rule: str, value: str | None) -> str:
    """As it was given: CORRANTO_WEB_PORT, or web_port in a file."""
    place = origin if origin.startswith("CORRANTO_") or not origin else f"{setting} in {origin}"
    return f"{place}: {rule}" if value is None else f"{place}: {rule}, but it is {value}"


def _choice(allowed: Sequence[str]) -> str:
    words = [repr(word) for word in allowed]
    return f"must be {', '.join(words[:-1])} or {words[-1]}"


_TYPES = {
    "missing": "Field required",
    "string_type": "must be a valid string",
    "tuple_type": "must be a valid tuple",
    "path_type": "Input is not a valid path for <class 'pathlib.Path'>",
}

SENTENCES: dict[str, str | Callable[..., str]] = {
    "settings.wrong": lambda problems: "\n".join(problems),
    "settings.unknown": _unknown_setting,
    "settings.value": _setting_value,
    "settings.range": "must be a number from {low} to {high}",
    "settings.choice": _choice,
    "settings.type": lambda type: _TYPES.get(type, "cannot be read"),
    "settings.file_unreadable": "{path}: cannot be read: {cause}",
    "settings.not_toml": "{path}: is not TOML: {cause}",
    "settings.no_key": (
        "CORRANTO_SECRET_KEYS is not set, so no unsubscribe link can be signed: make a key with"
        " `corranto key new` and keep it for as long as mails are out"
    ),
    "settings.key_length": "every key needs at least {least} characters; make one with: corranto key new",
    "settings.database_url": "must begin with sqlite:/// or postgresql://",
    "settings.broker_url": "must be sql, or begin with redis://, rediss:// or unix://",
    "settings.smtp_url": (
        "must look like smtp://host:port or smtps://user:password@host, with ?starttls=required or ?starttls=off"
    ),
    "settings.ca_file": "must be empty or the path of a PEM file that exists",
    "settings.hello_name": (
        "must be empty, a host name such as mail.example.org (a name beyond ASCII as xn--...), or an address in"
        " brackets such as [192.0.2.1] or [IPv6:2001:db8::1]"
    ),
    "settings.rate": "must be none, or any of n/s, n/min, n/h, n/d once each, comma separated, n from 1 up",
    "settings.networks": "must be IP addresses or networks, comma separated",
    "settings.host": "must be an IP address or a host name",
    "settings.base_url": "must look like https://news.example.org, without query or fragment",
    "settings.base_url_port": "must look like https://news.example.org, with a port from 1 to 65535 or none",
    "settings.base_url_http": (
        "must be https, because one-click unsubscribe (RFC 8058) needs it; http is for loopback"
    ),
    "broker.url": "CORRANTO_BROKER_URL is not a URL like redis://host:6379/1",
    "broker.unreachable": "Redis at {server}, database {database} {cause}",
    "broker.not_redis": "Redis at {server}, database {database} answers, but not as a Redis server",
    "broker.login_refused": "refuses the user or password in CORRANTO_BROKER_URL",
    "broker.loading": "is still loading its data",
    "broker.read_only": "is read-only: CORRANTO_BROKER_URL names a replica",
    "broker.full": "is out of memory and takes nothing more",
    "broker.silent": "did not answer within {seconds:.0f} s",
    "broker.connection_refused": "cannot be reached: connection refused",
    "broker.no_connection": "cannot be reached: no connection",
    "broker.error": "answers with an error: {text}",
}
