"""An issue compiled once: everything constant about its mails, with holes for what is personal. Pure.

`compose` makes it, storage keeps it as JSON, `message` binds it and fills the holes. The three recipient templates
(`subject`, `html`, `text`) are Jinja sources in the subset that `compose.template` checks; all else is constant.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

FORMAT_NO = 1
"""Grows when the bytes built from the same compiled issue would change; part of every fingerprint."""

SYSTEM_VARIABLES = ("unsubscribe_url", "consent_date")
"""Filled by us for every recipient; an issue's text may not use them, the layouts do.

consent_date is already spelled out in the issue's language, or "" without dated evidence.
"""

READER_VARIABLES = ("name", "language")
"""Always present for an author, possibly empty; a subscriber's attributes join them under their column names."""


@dataclass(frozen=True)
class CompiledIssue:
    """The frozen content of one issue; nobody changes it once it is queued. URLs are absolute, line ends LF."""

    slug: str
    publication_slug: str
    publication_title: str
    """Of the day it was queued, as `List-Id` and the footer say it."""
    subject: str
    html: str
    text: str
    """Recipient templates: Jinja in the subset, with holes for what is personal."""
    view_html: str
    """The neutral page behind /v/: complete document, no hole left, no personal value, no token but its own."""
    from_name: str
    from_address: str
    """The author's mailbox; its domain also makes Message-IDs and chooses the DKIM key."""
    reply_to: str | None
    bounce_address: str | None
    """What return paths are made of; None for `bounces@` the author's domain."""
    contact: str
    """A mailbox or mailto URI where people are: `List-Help`."""
    list_id: str
    """RFC 2919, without its angle brackets."""
    language: str
    """BCP 47: of the issue, else of its publication."""
    boundary: str
    """Between the two parts (RFC 2046 5.1.1); the same for every reader."""
    variables: tuple[str, ...]
    """Reader variables and attributes that the three templates use."""
    base_url: str
    """Of the installation, without a slash at its end; links of readers begin with it."""
    media: tuple[str, ...] = ()
    """`{sha256}.{ext}` of every picture and file the mail points to."""
    figures: tuple[Mapping[str, str], ...] = ()
    """id, media, alt, caption, credit of each figure page."""
    format_no: int = FORMAT_NO

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks; what storage keeps and the fingerprint covers."""
        # Format 1 has an empty key `extra`: without it, copies in doubt would no longer match their fingerprint.
        values = {**asdict(self), "extra": {}}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "CompiledIssue":
        """Inverse of to_json. Raises ValueError when the stored format is not this version's."""
        data = json.loads(text)
        if data.get("format_no") != FORMAT_NO:
            raise ValueError(f"compiled issue has format {data.get('format_no')}, this version reads {FORMAT_NO}")
        data.pop("extra", None)
        for key in ("variables", "media", "figures"):
            data[key] = tuple(data[key])
        return cls(**data)

    def with_view_token(self, stand_in: str, token: str) -> "CompiledIssue":
        """The same issue, its view link holding `token` where it was compiled with a stand-in of the same length.

        Equal length keeps every line as it was wrapped. Raises ValueError otherwise.
        """
        if len(stand_in) != len(token):
            raise ValueError(f"a stand-in of {len(stand_in)} characters for a token of {len(token)}")
        html, text, view_html = (part.replace(stand_in, token) for part in (self.html, self.text, self.view_html))
        return replace(self, html=html, text=text, view_html=view_html)

    @property
    def fingerprint(self) -> str:
        """64 hex digits over the canonical form: same fingerprint, same mails."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
