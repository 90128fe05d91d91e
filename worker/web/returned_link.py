"""A signed link as it comes back: what mail programs, filters and people's hands make of `/u/TOKEN`. Pure.

The signature decides, not the spelling: whatever stands around a token, it works when its 44 characters are whole, and
never otherwise. Only what other programs really do is tried: signs that were taken into the link, slashes doubled or
turned, percent-encoding once more than needed, remains of quoted-printable, line breaks inside. A token whose letters
were turned to capitals is another token: base64url has no second spelling.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

MOST_DECODINGS = 3
"""A gateway that encodes what was encoded already, behind another one."""

MOST_PLACES = 8
"""Places in one path where a token may stand; each costs a signature's check, some microseconds."""

_SHORTEST = len("u/") + 44
_PLACE = re.compile(
    r"(?:^|/)u/[^0-9A-Za-z]*(?P<token>[0-9A-Za-z_-]{44})"
    # Two signs of the alphabet may also be somebody's underlining; a letter or digit more is another token.
    r"(?:[_-]+(?![0-9A-Za-z_-])|(?![0-9A-Za-z_-]))",
    re.ASCII | re.IGNORECASE,
)
_PAGE = re.compile(r"/+(done|back|undo)(?![0-9A-Za-z])", re.ASCII | re.IGNORECASE)
_BLANKS = re.compile("[\\s\x00-\x1f\x7f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]+")
_SOFT_BREAK = re.compile(r"=[ \t]*\r?\n")
_QUOTED = re.compile(r"=([0-9A-F]{2})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ReturnedLink:
    """A token that was found whole, and the page below it: empty, `/done`, `/back` or `/undo`."""

    token: str
    page: str

    @property
    def path(self) -> str:
        """The address it was meant to be."""
        return f"/u/{self.token}{self.page}"


def find_link(target: str, opens: Callable[[str], bool]) -> ReturnedLink | None:
    """The link in a request's path, as it was on the wire, when `opens` says yes to its token; else None."""
    if len(target) < _SHORTEST:
        return None
    for text in _readings(target):
        for place in islice(_PLACE.finditer(text), MOST_PLACES):
            if opens(place["token"]):
                page = _PAGE.match(text, place.end())
                return ReturnedLink(place["token"], f"/{page[1].lower()}" if page else "")
    return None


def _readings(target: str) -> Iterator[str]:
    """What the text may have been, the likeliest first; no reading twice."""
    seen: set[str] = set()
    text = target
    for _ in range(MOST_DECODINGS + 1):
        quoted = _QUOTED.sub(lambda found: chr(int(found[1], 16)), _SOFT_BREAK.sub("", text))
        for reading in (text, quoted, text.replace("=", "")):  # the last: a soft break whose line end is gone already
            for form in (reading.replace("\\", "/"), _BLANKS.sub("", reading.replace("\\", "/"))):
                if form not in seen:
                    seen.add(form)
                    yield form
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded
