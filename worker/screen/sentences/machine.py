"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable, Sequence

from worker.quantities import spell_span


def _no_dkim_key(domain: str, known: Sequence[str]) -> str:
    has = f"; there are keys for {', '.join(known)}" if known else ""
    return f"there is no DKIM key for {domain}{has}: make one with corranto dkim create {domain}"


SENTENCES: dict[str, str | Callable[..., str]] = {
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
}
