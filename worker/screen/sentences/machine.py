"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable, Sequence

from worker.quantities import spell_span


def _no_dkim_key(domain: str, known: Sequence[str]) -> str:
    has = f"; there are keys for {', '.join(known)}" if known else ""
    return f"there is no DKIM key for {domain}{has}: make one with corranto dkim create {domain}"


SENTENCES: dict[str, str | Callable[..., str]] = {
    "clock.differs": "this machine's clock and the database's are {off_s} s apart; mails would carry a wrong Date."
    " Set the clock (NTP), then start again",
    "journal.gone": "the journal's file is gone: nothing is sent by this process",
    "settings.wrong": lambda problems: "\n".join(map(str, problems)),
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
}
