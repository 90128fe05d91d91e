"""Why no session can be opened, as a value: a cause in words without secrets, and a reason from a closed list. Pure."""

from enum import StrEnum

from worker.transport.next_hop import Relay
from worker.transport.replies import Phase, clean


class Reason(StrEnum):
    """What closes the door, in one word: the label of metrics. A `RelayFault` keeps it until a mail was judged."""

    UNRESOLVED = "unresolved"  # the relay's name has no address, or nobody answers who could say
    UNREACHABLE = "unreachable"  # nothing listens, no route, or packets get lost
    SILENT = "silent"  # connected, and not a word
    NOT_SMTP = "not_smtp"  # something else listens there, or TLS was expected and plain text came, or the reverse
    REFUSED = "refused"  # the relay says no to the greeting, EHLO, STARTTLS or RSET
    TLS = "tls"  # no TLS could be agreed on, or none is offered
    CERTIFICATE = "certificate"  # it is not accepted
    SIGN_IN = "sign_in"  # user name, password or the way of signing in
    CLOSED = "closed"  # the line ended, or what came cannot be followed
    OWN_FAULT = "own_fault"  # an error of ours


class OpeningError(Exception):
    """Raised when no session could be opened; carries the first true cause as one sentence without secrets."""

    def __init__(self, phase: Phase, cause: str, code: int | None = None, *, reason: Reason = Reason.CLOSED) -> None:
        super().__init__(cause)
        self.phase = phase
        self.cause = cause
        self.code = code
        self.reason = reason


def refused(relay: Relay, phase: Phase, what: str, code: int, words: str) -> OpeningError:
    """The relay said no; what it said stands behind."""
    known = f"{code} " if code > 0 else ""
    cause = f"{relay.key} {what}: {known}{clean(words)}".rstrip(": ")
    return OpeningError(phase, cause, code if code > 0 else None, reason=Reason.REFUSED)


def silence(relay: Relay) -> str:
    """What is said of a relay that has not answered yet, before its time is over."""
    if relay.implicit_tls:
        return f"{relay.key} is silent: a connection was begun and nothing came back yet"
    mixed_up = "port 465 expects" if relay.port == 465 else "if it expects"
    what = f"{mixed_up} TLS from the start, the URL must begin with smtps://"
    return f"{relay.key} is silent: a connection was begun and nothing came back yet; {what}"
