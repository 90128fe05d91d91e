"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable

_AGAIN = "nothing was changed; try again"

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
    "settings.wrong": lambda problems: "\n".join(map(str, problems)),
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
}
