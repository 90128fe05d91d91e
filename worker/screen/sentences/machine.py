"""Sentences about settings, database, broker, processes, journal, sink, keys, the demo. Pure."""

from collections.abc import Callable

SENTENCES: dict[str, str | Callable[..., str]] = {
    "clock.differs": "this machine's clock and the database's are {off_s} s apart; mails would carry a wrong Date."
    " Set the clock (NTP), then start again",
    "journal.gone": "the journal's file is gone: nothing is sent by this process",
    "settings.wrong": lambda problems: "\n".join(map(str, problems)),
}
