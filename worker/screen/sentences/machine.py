"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable, Sequence

from worker.quantities import spell_span


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

_AGAIN = "nothing was changed; try again"


def _no_dkim_key(domain: str, known: Sequence[str]) -> str:
    has = f"; there are keys for {', '.join(known)}" if known else ""
    return f"there is no DKIM key for {domain}{has}: make one with corranto dkim create {domain}"


SENTENCES: dict[str, str | Callable[..., str]] = {
    "clock.differs": "this machine's clock and the database's are {off_s} s apart; mails would carry a wrong Date."
    " Set the clock (NTP), then start again",
    "journal.gone": "the journal's file is gone: nothing is sent by this process",
    "database.all_busy": "{place} was not free within the time limit: all connections of this process are busy",
    "database.damaged": "{place} is damaged (the disk image is malformed): restore it from a backup",
    "database.deadlock": f"{{place}} gave up this transaction (deadlock): {_AGAIN}",
    "database.disk_error": (
        "{place} cannot be read or written (disk I/O error): check the disk, and that it is not a network share"
    ),
    "database.disk_full": "{place} cannot grow because the disk is full: nothing was changed; make room and try again",
    "database.empty": "{place} has no Corranto tables yet: make them with `corranto db upgrade`",
    "database.file_closed": ("{place} cannot be opened: check that its folder exists and may be written by this user"),
    "database.file_missing": "{place} does not exist yet: make it with `corranto db upgrade`",
    "database.file_read_only": "{place} is read-only: check the file's owner and whether the disk is mounted rw",
    "database.file_unmade": "the database file {path} cannot be made: {reason}",
    "database.in_memory": "CORRANTO_DATABASE_URL names an SQLite database in memory: name a file, sqlite:///path",
    "database.locked": "{place} is locked by another process: nothing was changed; stop that process or try again",
    "database.missing": "{place} does not exist on that server: create it (createdb) or correct CORRANTO_DATABASE_URL",
    "database.newer": (
        "{place} has schema {version}, which is newer than this Corranto knows ({known}):"
        " start the newer Corranto that made it"
    ),
    "database.no_connection": "{place} has no connection left: raise max_connections or run fewer processes",
    "database.no_memory": f"{{place}} has no memory left: {_AGAIN}",
    "database.no_privilege": (
        "{place} refuses: this role lacks a privilege on Corranto's tables; grant it, or name their owner"
    ),
    "database.no_url": "CORRANTO_DATABASE_URL is not a URL like sqlite:///path or postgresql://host/name",
    "database.not_serializable": f"{{place}} gave up this transaction (serialization): {_AGAIN}",
    "database.not_sqlite": "{place} is not an SQLite database: CORRANTO_DATABASE_URL names another file",
    "database.older": "{place} has schema {version}, this Corranto needs {needed}: run `corranto db upgrade`",
    "database.on_network_share": (
        "the database file {path} lies on a network file system ({kind}), where SQLite loses data:"
        " move it to a local disk, or use PostgreSQL"
    ),
    "database.other_kind": "CORRANTO_DATABASE_URL begins with {kind}://; use sqlite:/// or postgresql://",
    "database.read_only": (
        "{place} is read-only (a standby, or default_transaction_read_only): name the primary in CORRANTO_DATABASE_URL"
    ),
    "database.refuses": ("{place} refuses us ({reason}): check user, password and database in CORRANTO_DATABASE_URL"),
    "database.row_locked": f"{{place}} kept a row locked for too long: {_AGAIN}",
    "database.server_disk_full": (
        "{place} cannot grow because its disk is full: nothing was changed; make room and try again"
    ),
    "database.silent": "{place} does not answer ({reason}): check that it runs, and CORRANTO_DATABASE_URL",
    "database.statement_timeout": f"{{place}} cancelled the statement (timeout): {_AGAIN}",
    "process.note": "{text}",
    "dkim.no_key": _no_dkim_key,
    "process.cannot_start": "a process cannot be started: {why}",
    "web.cannot_listen": (
        "web cannot listen on {host}:{port}: {why}; free the port, or name another one in CORRANTO_WEB_PORT (0 = any"
        " free one)"
    ),
    "demo.recipients": lambda number, most: f"--recipients {number} is not between 1 and {most:,}",
    "demo.unwritable": "the demo cannot keep its data in {folder} ({why}): name another folder with --folder",
    "demo.not_ours": "{folder} holds something that is not the demo's: move it away, or name another folder",
    "demo.runs_already": "a demo is running in {folder} already: use it, or stop it with Ctrl-C",
    "demo.port_taken": "port {port} is taken: name another with --port, or leave it to the demo",
    "demo.no_free_port": "no port from {first} to {last} is free: name one with --port",
    "demo.member_ended": "the demo's {member} ended by itself; its last words, from {path}:\n{said}",
    "demo.web_silent": "the demo's web process does not answer; see {path}",
    "demo.stuck": lambda seconds, cause: f"nothing moved for {spell_span(seconds)}: {cause or 'no cause found'}",
    "sink.port_out_of_range": "the sink's port is {port}: give 0 (any free one) to 65535",
    "sink.limit_out_of_range": "the sink's limit is {limit}: give 1 to {most} mails",
    "sink.extension_unknown": lambda unknown, known: (
        f"unknown extension {', '.join(unknown)}: choose from {', '.join(known)}"
    ),
    "sink.not_on_loopback": "the sink listens on this machine only, not on {host}: use 127.0.0.1, ::1 or localhost",
    "sink.relay_elsewhere": (
        "mail goes to the relay {host}, not to the sink: "
        "set CORRANTO_SMTP_URL to a loopback address to use the sink, or do not start it"
    ),
    "sink.port_taken": (
        "port {port} of {host} is taken, so the sink cannot start: stop what listens there,"
        " or name a free port in CORRANTO_SINK_PORT and the same one in CORRANTO_SMTP_URL"
    ),
    "sink.cannot_start": "the sink cannot start on {host}:{port} with folder {folder}: {reason}",
    "sink.folder_taken": "another sink writes to {folder}: stop it, or choose another folder",
    "dkim.name_unfit": "{why}",
    "dkim.selector_taken": "{domain} already has a key named {selector}; choose another selector",
    "dkim.key_not_kept": "the key cannot be kept in {folder}: {reason}",
    "dkim.key_unreadable": "the DKIM key {path} cannot be read: {reason}",
    "dkim.key_unusable": "the DKIM key {path} cannot be used: {why}",
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
