"""Links and pictures as an issue's text names them. Pure. Where a link may lead is judged by `domain.link`."""

import re
from dataclasses import dataclass

from worker.domain.link import SCHEMES, LinkFault, is_local_host, is_staging_host, judge_link

_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
"""RFC 3986 3.1. A screenshot's name may hold a colon too, behind a blank or a digit."""

__all__ = [
    "SCHEMES",
    "Link",
    "LinkFault",
    "is_local_host",
    "is_remote_picture",
    "is_staging_host",
    "judge_link",
]


@dataclass(frozen=True)
class Link:
    """A link of the issue's text with its visible words and the line of the file."""

    target: str
    label: str
    line: int


def is_remote_picture(src: str) -> bool:
    """True for a picture that is not a file beside the issue."""
    return _HAS_SCHEME.match(src) is not None or src.startswith(("/", "\\"))
