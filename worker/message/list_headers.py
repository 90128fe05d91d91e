"""Header fields that say what list a mail belongs to and how to leave it (RFC 2369, 2919, 8058). Pure.

Constant fields come from the issue once; the List-Unsubscribe pair is the reader's own. Every URI stands whole and
unencoded on its field's first line, because some mail programs look no further.
"""

import re
from urllib.parse import quote as percent_encode

from worker.domain.compiled import CompiledIssue
from worker.message.mime import HeaderError, phrase_field, plain_field

MAX_LIST_ID_OCTETS = 255  # RFC 2919 2
ONE_CLICK = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"  # RFC 8058 3.1, to the letter

# RFC 3986 without the characters that end a URI inside angle brackets; no blank, so the field never folds inside one.
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")
_LIST_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_FEEDBACK_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_SENDER_ID = re.compile(r"[A-Za-z0-9._-]{5,15}")  # Gmail: 5 to 15 characters, constant


def constant_list_headers(compiled: CompiledIssue, issue_id: int, sender_id: str) -> bytes:
    """Fields equal for every reader of an issue, with CRLF. Raises HeaderError.

    `sender_id` is the last, mandatory part of Feedback-ID: 5 to 15 characters, one per installation.
    """
    if not _LIST_ID.fullmatch(compiled.list_id) or len(compiled.list_id) > MAX_LIST_ID_OCTETS:
        raise HeaderError(f"the list id {compiled.list_id[:80]!r} is not a name of letters, digits, dots and hyphens")
    if not _LANGUAGE.fullmatch(compiled.language):
        raise HeaderError(f"the language {compiled.language[:40]!r} is not a language tag (RFC 5646)")
    return b"".join(
        (
            phrase_field("List-Id", compiled.publication_title, compiled.list_id),
            plain_field("List-Help", f"<{mailto(compiled.contact)}>"),
            plain_field("List-Post", "NO"),  # RFC 2369 3.4: an announcement list
            plain_field("Feedback-ID", feedback_id(issue_id, compiled.publication_slug, sender_id)),
            plain_field("Content-Language", compiled.language),
        )
    )


def unsubscribe_headers(url: str, mail_address: str | None = None) -> bytes:
    """The pair of RFC 8058; a mailto only as second choice. Raises HeaderError when `url` is not a plain URI."""
    if not _URI.fullmatch(url):
        raise HeaderError("the unsubscribe URL holds a character that no URI may hold")
    value = f"<{url}>"
    if mail_address is None:
        return plain_field("List-Unsubscribe", value) + ONE_CLICK
    first = plain_field("List-Unsubscribe", value + ",")
    return first + f" <{mailto(mail_address)}>\r\n".encode("ascii") + ONE_CLICK


def mailto(address: str) -> str:
    """A mailto URI for one address (RFC 6068 2): what a URI cannot hold is percent-encoded."""
    if _URI.fullmatch(address) and address.startswith("mailto:"):
        return address
    local, at, domain = address.rpartition("@")
    if not at or not local or not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        raise HeaderError("a mailto link needs a complete address")
    return f"mailto:{percent_encode(local, safe='!$*+-._~')}@{domain}"


def feedback_id(issue_id: int, publication_slug: str, sender_id: str) -> str:
    """Gmail's Feedback-ID: issue, publication, kind, sender. Nothing of the reader, no value twice."""
    if not _SENDER_ID.fullmatch(sender_id):
        raise HeaderError(f"the sender id {sender_id[:40]!r} has not 5 to 15 letters, digits, dots or hyphens")
    return f"issue-{issue_id}:{_FEEDBACK_UNSAFE.sub('_', publication_slug)}:newsletter:{sender_id}"
