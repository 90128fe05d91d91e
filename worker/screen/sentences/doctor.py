"""What `corranto doctor` says: the evidence of each check, and in `FIXES` what to type about it. Pure.

Whatever a server or a library said is scrubbed: it may repeat a password or an address.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from worker.log import scrub
from worker.quantities import count

_SET_CLOCK = "timedatectl set-ntp true"


def _unready(relay: str, cause: str | None, reply: int | None, **_place: object) -> str:
    said = scrub(cause or "no cause named").removeprefix(relay).strip(" :")
    return f"{relay}: {said}" + (f" (reply {reply})" if reply else "")


def _relay(
    relay: str, tls: str | None, signed_in: bool, size_limit: int | None, form: str, *, warning: str = ""
) -> str:
    sign_in = "signed in" if signed_in else "no sign-in"
    size = f"mails up to {size_limit // 1_000_000} MB" if size_limit else "no size limit named"
    return f"{relay}: {tls or 'no TLS'}, {sign_in}, {size}; {form}{warning}"


def _relay_answers(*, extensions: Sequence[str], **seen: object) -> str:
    return f"{_relay(**seen)} (extensions: {', '.join(extensions) or 'none'})"  # type: ignore[arg-type]


def _relay_in_clear(**seen: object) -> str:
    return _relay_answers(warning="; mails and readers' addresses cross the network in clear", **seen)  # type: ignore[arg-type]


def _free(octets: int, folder: Path, name: str) -> str:
    return f"{octets / 1e9:,.1f} GB free for {folder} ({name})"


def _keys(lengths: Sequence[int]) -> str:
    return f"{count(len(lengths), 'key')} of {', '.join(map(str, lengths))} characters; the first signs"


def _differs(seconds: float) -> str:
    return f"this machine and the database differ by {seconds:.1f} s"


SENTENCES: dict[str, str | Callable[..., str]] = {
    "doctor.database_url": lambda cause: scrub(cause),
    "doctor.database_answers": lambda place, seconds: f"{place} answers in {seconds * 1000:.1f} ms",
    "doctor.database_silent": lambda cause: scrub(cause),
    "doctor.database_lost": lambda cause: scrub(cause),
    "doctor.schema_fits": "has exactly this version's tables",
    "doctor.schema_differs": lambda cause: scrub(cause),
    "doctor.broker_is_sql": "sql: nudges go through the database",
    "doctor.broker_silent": lambda cause: f"{scrub(cause)}; nothing is lost, work waits for it",
    "doctor.broker_answers": lambda version, seconds: f"Redis {version} answers in {seconds * 1000:.1f} ms",
    "doctor.relay_settings": lambda cause: scrub(cause),
    "doctor.relay_answers": _relay_answers,
    "doctor.relay_in_clear": _relay_in_clear,
    "doctor.relay_unreachable": _unready,
    "doctor.relay_sign_in": _unready,
    "doctor.relay_tls": _unready,
    "doctor.relay_hello": _unready,
    "doctor.relay_refuses": _unready,
    "doctor.keys": _keys,
    "doctor.no_keys": "CORRANTO_SECRET_KEYS is not set, so no unsubscribe link can be signed",
    "doctor.way_out_not_asked": "{url} was not asked: no key to sign a question with",
    "doctor.way_out_dead": lambda cause: f"{scrub(cause)}; readers could not leave",
    "doctor.way_out_answers": "{url} answers a one-click POST, without redirect",
    "doctor.disk_closed": lambda folder, name, standing: f"{folder} ({name}) cannot be written by this user",
    "doctor.disk_unknown": "{folder} ({name}): {cause}",
    "doctor.disk_full": _free,
    "doctor.disk_nearly_full": _free,
    "doctor.disk_free": _free,
    "doctor.clock_wrong": lambda seconds: f"{_differs(seconds)}; beyond 5 min no mail is dated",
    "doctor.clock_off": _differs,
    "doctor.clock_right": _differs,
    "doctor.workers": lambda workers: f"{count(workers, 'worker process', 'worker processes')} heard just now",
    "doctor.nobody_sends": lambda issues: f"{count(issues, 'issue')} being sent, and no worker runs",
    "doctor.no_workers": "no worker process runs: nothing that is queued would leave",
    "doctor.dkim_unusable": "the key of {domain} cannot be used: {cause}",
    "doctor.unsigned_here": (
        "mail from {domain} is not signed: there is no key for it; the relay is on this machine and may sign"
    ),
    "doctor.unsigned": (
        "mail from {domain} is not signed: there is no key for it; Gmail and Yahoo refuse unsigned bulk mail unless"
        " the relay signs"
    ),
    "doctor.dkim_readable": lambda domain, files: f"others can read the private key of {domain}",
    "doctor.dkim_signs": "mail from {domain} is signed with key {selector}, readable by its owner only",
    "doctor.no_bounce_address": "{slug} has no bounce address, so nothing of it is queued to a real relay",
}

FIXES: dict[str, str | Callable[..., str]] = {
    "doctor.database_url": "CORRANTO_DATABASE_URL=sqlite:///state/corranto.sqlite3",
    "doctor.database_silent": "start it, or correct CORRANTO_DATABASE_URL",
    "doctor.schema_differs": "corranto db upgrade",
    "doctor.broker_silent": "start Redis, or correct CORRANTO_BROKER_URL",
    "doctor.relay_settings": "correct CORRANTO_SMTP_URL or CORRANTO_SMTP_CA_FILE",
    "doctor.relay_in_clear": "CORRANTO_SMTP_URL=smtp://...?starttls=required, or smtps://...",
    "doctor.relay_unreachable": (
        "is it running and reachable? correct CORRANTO_SMTP_URL, or try: nc -vz {host} {port}"
    ),
    "doctor.relay_sign_in": (
        "correct user and password in CORRANTO_SMTP_URL; percent-encode special characters, such as @ as %40"
    ),
    "doctor.relay_tls": (
        "name the relay's own authority in CORRANTO_SMTP_CA_FILE, or use the host name its certificate is for"
    ),
    "doctor.relay_hello": "set CORRANTO_SMTP_HELLO_NAME to a name of this machine that resolves",
    "doctor.relay_refuses": "ask whoever runs the relay; corranto doctor shows when it is mended",
    "doctor.no_keys": 'export CORRANTO_SECRET_KEYS="$(corranto key new)"',
    "doctor.way_out_dead": (
        "run corranto web behind it, with these CORRANTO_SECRET_KEYS; let POST to /u/ through, without redirect,"
        " sign-in or bot check"
    ),
    "doctor.disk_closed": 'chown "$(id -u)" {standing}',
    "doctor.disk_full": "make room: a full disk stops sending",
    "doctor.disk_nearly_full": "make room before the next large issue",
    "doctor.clock_wrong": _SET_CLOCK,
    "doctor.clock_off": _SET_CLOCK,
    "doctor.nobody_sends": "corranto worker",
    "doctor.no_workers": "corranto worker",
    "doctor.dkim_unusable": "corranto dkim create {domain}",
    "doctor.unsigned": "corranto dkim create {domain}",
    "doctor.dkim_readable": lambda domain, files: "chmod 600 " + " ".join(f"'{file}'" for file in files),
    "doctor.no_bounce_address": "corranto publication edit {slug} --bounce-address bounces@your.domain",
}
"""A code that is not here needs nothing done."""
