"""What a rule says about an issue, and what it must be told to say it. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import jinja2

from worker.compose.markdown import References, find_references
from worker.compose.media import MediaItem
from worker.domain.compiled import CompiledIssue
from worker.domain.issue import Card, Enclosure, IssueText
from worker.domain.publication import Publication
from worker.errors import Trouble


class Level(StrEnum):
    """How much a finding weighs, and the letter before its number: E blocks queueing, W asks for a look, I informs."""

    ERROR = "E"
    WARN = "W"
    NOTE = "I"


ERROR, WARN, NOTE = Level


@dataclass(frozen=True)
class Finding:
    """One finding. `line` is 1-based in the issue file.

    `why` and `fix` are sentences; a Trouble where only the face knows what to say of it.
    """

    level: Level
    code: int
    line: int | None
    why: str | Trouble
    fix: str | Trouble
    waivable: bool = True

    def __str__(self) -> str:
        return f"{self.level}{self.code}"


def structural(line: int | None, why: Trouble) -> Finding:
    """501 for what keeps an issue from being compiled; 104 for its language."""
    fix = _STRUCTURE.get(why.code.partition(".")[0], "correct this line, then look again")
    if why.code in MOVED:
        fix = "keep a condition inside one paragraph, or put its tags on lines of their own between paragraphs"
    return Finding(ERROR, 104 if why.code == "language.no_tag" else 501, line, why, fix, waivable=False)


MOVED = ("tag.in_attribute", "tag.across_elements", "tag.would_be_lost", "tag.moved_by_styles", "tag.lost_in_text_part")
"""Troubles of tags that are right by themselves and stand in the wrong place."""
_STRUCTURE = {
    **dict.fromkeys(("front_matter", "yaml", "key"), "mend this line between the two --- lines"),
    "block": "correct the line; blocks are ::: figure, ::: figure 2, ::: quote up to :::, and ::: cards",
    "figure": "write one entry below figures: for each ::: figure of the body",
    "enclosure": "correct the name or the file",
}


@dataclass(frozen=True)
class LintFacts:
    """Everything outside the text that rules need."""

    publication: Publication
    base_url: str
    loopback_relay: bool
    signs: bool
    """A DKIM key exists for the From domain."""
    sent_slugs: frozenset[str]
    """Slugs of this publication's issues that were queued and not undone."""
    attributes: frozenset[str]
    """Columns readers of this publication have beside name and language."""
    media: Mapping[str, MediaItem]
    media_problems: Mapping[str, Trouble]
    """`src` → what is wrong with it."""
    layouts: jinja2.Environment
    last_subject: str = ""
    """Subject of the publication's latest issue, "" when there is none."""
    compiled: CompiledIssue | None = None
    """The issue, where it was compiled already."""


@dataclass(frozen=True)
class Authored:
    """One text an editor wrote."""

    key: str
    text: str
    line: int
    markdown: bool = False


def authored_texts(issue: IssueText) -> Iterator[Authored]:
    """Every text of an issue that reaches a reader, in reading order."""

    def field(key: str, text: str | None, markdown: bool = False, line: int = 0) -> Iterator[Authored]:
        if text:
            yield Authored(key, text, issue.lines.get(key, line), markdown)

    for key in ("subject", "preheader", "place", "date"):
        yield from field(key, getattr(issue, key))
    yield from field("intro", issue.intro, True)
    yield from field("standfirst", issue.standfirst, True)
    for name, card in cards_of(issue):
        yield from field(f"{name}.tag", card.tag, line=card.line)
        yield from field(f"{name}.title", card.title, line=card.line)
        yield from field(f"{name}.blurb", card.blurb, True, card.line)
        yield from field(f"{name}.text", card.text, True, card.line)
    if issue.body.strip():
        yield Authored("body", issue.body, issue.body_line, True)
    for at, figure in enumerate(issue.figures):
        yield from field(f"figures.{at}.caption", figure.caption, line=figure.line)
        yield from field(f"figures.{at}.credit", figure.credit, line=figure.line)
    if issue.signatory:
        for key in ("name", "role", "organisation"):
            yield from field(f"signatory.{key}", getattr(issue.signatory, key))
    for name, enclosure in enclosures_of(issue):
        yield from field(f"{name}.tag", enclosure.tag, line=enclosure.line)
        yield from field(f"{name}.title", enclosure.title, line=enclosure.line)
        yield from field(f"{name}.blurb", enclosure.blurb, True, enclosure.line)


def issue_references(issue: IssueText) -> References:
    """The `[label]: address` lines of the whole issue, the body's first: a text may use what another one defines."""
    texts = [text.text for text in authored_texts(issue) if text.markdown]
    return find_references([issue.body, *texts])


def cards_of(issue: IssueText) -> list[tuple[str, Card]]:
    """The lead story and the cards, each with its key in the front matter."""
    lead = [("lead", issue.lead)] if issue.lead else []
    return [*lead, *((f"cards.{at}", card) for at, card in enumerate(issue.cards))]


def enclosures_of(issue: IssueText) -> list[tuple[str, Enclosure]]:
    """The enclosures, each with its key in the front matter."""
    return [(f"enclosures.{at}", enclosure) for at, enclosure in enumerate(issue.enclosures)]


def entries_of(issue: IssueText) -> list[tuple[str, Card | Enclosure]]:
    """Lead story, cards and enclosures: all that have a title, a picture and a link."""
    return [*cards_of(issue), *enclosures_of(issue)]
