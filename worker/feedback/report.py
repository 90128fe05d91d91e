"""What a report in returned mail says, and which of our copies it names. Pure; never raises, whatever the mail holds.

A report is a delivery status notification (RFC 3464) or a complaint (RFC 5965). Its words are its sender's: only what
is signed by us inside it, a return path or a Message-ID, tells which copy it is about. Everything else that comes back,
such as notices in free text, says nothing here. Linear in its octets, see `received.parts`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from worker.received.fields import LARGEST_HEAD, head_of, split_fields
from worker.received.parts import Part, leaves_of

LARGEST_REPORT = 1024 * 1024
"""Octets of a report that are read: the mail it returns is behind them, and only the head of that one is needed."""
MOST_FIELDS = 500  # of one head; ours have some 20
MOST_NAMES = 50  # return paths and Message-IDs looked at; a report about one copy has a handful
MOST_RECIPIENTS = 100  # of one notification; a copy has one, an alias behind it a few

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})  # RFC 3464 2.1, 6533 6
_COMPLAINT_TYPE = "message/feedback-report"  # RFC 5965 3
_RETURNED_TYPES = frozenset({"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"})
_ENVELOPE_FIELDS = frozenset(
    {"to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "original-recipient"}
)
"""Where a mail program or server writes down to whom a report was addressed: to our return path."""
_LEFT = frozenset({"delayed", "delivered", "relayed", "expanded"})  # RFC 3464 2.3.3: some server behind us had it
_FAILED = "failed"

_RETURN_PATH = re.compile(r"\+([a-z2-7]{42})@", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<([a-z2-7]{40})@[^<>\s]{1,255}>", re.IGNORECASE)
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)", re.ASCII)


class Verdict(StrEnum):
    """What a report proves about the copy it names."""

    LEFT = "left"
    """Somebody behind the relay had it: it was delivered, passed on, put off, or complained about."""
    RETURNED = "returned"
    """It left, and came back for good."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report. The names are as it spells them; whether they are ours only the keys tell."""

    verdict: Verdict
    action: str
    """`failed`, `delayed`, `delivered`, `relayed`, `expanded` (RFC 3464 2.3.3), or `complained`."""
    status: str | None
    """The enhanced status code of a failure (RFC 3463)."""
    return_paths: tuple[str, ...]
    """Tokens of return paths it was addressed to, or that the returned mail had."""
    message_ids: tuple[str, ...]
    """Left sides of Message-IDs of the returned mail."""


def read_report(raw: bytes) -> Report | None:
    """The report a mail holds; None where it holds none that is understood."""
    raw = raw[:LARGEST_REPORT]
    leaves, _ = leaves_of(raw)
    said = _judge(leaves)
    if said is None:
        return None
    verdict, action, status = said
    addressed = [value for name, value in _fields(head_of(raw)) if name in _ENVELOPE_FIELDS]
    paths, ids = _found(_RETURN_PATH, addressed), []
    for part in leaves:
        if part.media_type in _RETURNED_TYPES:
            # A part of headers alone may end without the empty line.
            returned = _fields(head_of(part.octets()[:LARGEST_HEAD]))
            paths += _found(_RETURN_PATH, [value for name, value in returned if name == "return-path"])
            ids += _found(_MESSAGE_ID, [value for name, value in returned if name == "message-id"])
    return Report(verdict, action, status, tuple(paths[:MOST_NAMES]), tuple(ids[:MOST_NAMES]))


def _judge(leaves: list[Part]) -> tuple[Verdict, str, str | None] | None:
    """(verdict, action, status). Of several recipients behind one copy, one that got it is enough to say it left."""
    actions = [pair for part in leaves if part.media_type in _STATUS_TYPES for pair in _actions(part.octets())]
    for action, _ in actions:
        if action in _LEFT:
            return Verdict.LEFT, action, None
    if actions and all(action == _FAILED for action, _ in actions):
        return Verdict.RETURNED, _FAILED, actions[0][1]
    if any(part.media_type == _COMPLAINT_TYPE for part in leaves):
        return Verdict.LEFT, "complained", None
    return None


def _actions(octets: bytes) -> Iterator[tuple[str, str | None]]:
    """(action, status) of each recipient of a notification, in order (RFC 3464 2.3)."""
    groups = re.split(rb"(?:\r?\n){2,}", octets[:LARGEST_HEAD].strip(), maxsplit=MOST_RECIPIENTS)
    for group in groups[:MOST_RECIPIENTS]:
        fields = dict(reversed(_fields(group)))
        if action := fields.get("action", "").split("(")[0].strip().lower():
            status = _STATUS.match(fields.get("status", "").strip())
            yield action, status[0] if status else None


def _fields(head: bytes) -> list[tuple[str, str]]:
    """(lower-case name, value) of a head, in order."""
    return [(name.lower(), value.decode("utf-8", "replace")) for name, value in split_fields(head, MOST_FIELDS)]


def _found(pattern: re.Pattern[str], values: list[str]) -> list[str]:
    return [name for value in values for name in pattern.findall(value)]
