"""The values of an issue → what the layouts show: marked texts, rendered Markdown, sized pictures, final URLs. Pure.

Each field is taken in once; HTML, text part and web page share its marks.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from worker.compose.findings import issue_references
from worker.compose.links import is_remote_picture, judge_link
from worker.compose.marks import MARK, Marks
from worker.compose.markup import BLURB_CHARS, MarkdownRenderer, Segment, SetPicture, cut_html, split_body
from worker.compose.media import MediaItem
from worker.compose.spans import TAG_STAND_IN, without_tags
from worker.compose.template import TemplateProblem
from worker.compose.text_part import shape_text, wrap
from worker.compose.wording import Wording
from worker.domain.issue import Card, Enclosure, Figure, IssueText, Picture, Signatory
from worker.domain.publication import Publication
from worker.errors import Trouble

TEXT_WIDTH = 552  # CSS pixels between the layout's margins of 24
CARD_WIDTH = 164  # CSS pixels: three in TEXT_WIDTH with gaps, as templates/mail/parts.html lays them
FACE_WIDTH = 96  # CSS pixels of a portrait
HAND_WIDTH = 220  # CSS pixels of a handwritten signature
LEAD_CHARS = 480  # a lead story has the whole width, so it may say twice as much


def large_key(figure: Figure) -> str:
    """Under which key the media of an issue hold a figure's larger version."""
    return f"large:{figure.large or figure.src}"


@dataclass(frozen=True)
class SetCard:
    """A card, lead story or enclosure. `label` is empty when the title holds a reader's value."""

    title: str
    tag: str
    blurb: Markup
    text: Markup | None
    plain: str
    url: str | None
    label: str
    picture: SetPicture | None
    anchor: str = ""
    file: str = ""
    linked: bool = True
    """False when `url` is the card's own place on the web page."""


@dataclass(frozen=True)
class SetFigure:
    """A figure with the page that shows it larger."""

    id: str
    url: str
    picture: SetPicture
    caption: str
    credit: str


@dataclass(frozen=True)
class SetSegment:
    """A stretch of the body, ready."""

    kind: str
    html: Markup = field(default_factory=Markup)
    plain: str = ""
    by: str = ""
    figure: SetFigure | None = None
    cards: tuple[SetCard, ...] = ()


class Typesetter:
    """Sets one issue. Collects the hosted names and figure pages it used."""

    def __init__(
        self,
        issue: IssueText,
        marks: Marks,
        media: Mapping[str, MediaItem],
        base_url: str,
        view_url: str,
        wording: Wording,
    ) -> None:
        self.issue, self.marks, self.media = issue, marks, media
        self.base_url, self.view_url, self.wording = base_url, view_url, wording
        self.used: dict[str, None] = {}
        self.figure_pages: dict[str, dict[str, str]] = {}
        self._renderer = MarkdownRenderer(marks, self._shown, issue_references(issue))

    def line_text(self, text: str, key: str, line: int = 0) -> str:
        """A one-line field with its tags as marks."""
        return self.marks.take_out(text, self.issue.lines.get(key, line))

    def markdown(self, text: str, key: str, line: int = 0) -> Markup:
        """A Markdown field as safe HTML."""
        return Markup(self._renderer.html(text, self.issue.lines.get(key, line)))  # noqa: S704 - sanitised by the renderer

    def plain(self, html: str) -> str:
        """The text part's form of what `markdown` made."""
        return shape_text(html, self.marks)

    def card(self, card: Card, key: str, number: int, room: int = BLURB_CHARS) -> SetCard:
        """A card of the issue; number 0 is the lead story."""
        html = self.markdown(card.blurb, f"{key}.blurb", card.line)
        blurb = Markup(cut_html(html, room, self.marks))  # noqa: S704 - cut from sanitised HTML
        text = self.markdown(card.text, f"{key}.text", card.line) if card.text else None
        plain = self._entry(card, key, blurb, CARD_WIDTH if number else TEXT_WIDTH)
        own_place = f"{self.view_url}#card-{number}" if text else None
        return replace(
            plain, text=text, url=plain.url or own_place, anchor=f"card-{number}", linked=plain.url is not None
        )

    def enclosure(self, enclosure: Enclosure, key: str) -> SetCard:
        """A linked card or a hosted file after the signature. Raises TemplateProblem when the file is missing."""
        blurb = self.markdown(enclosure.blurb, f"{key}.blurb", enclosure.line)
        url, file = _safe(enclosure.link), ""
        if enclosure.file is not None:
            item = self.media.get(enclosure.file)
            if item is None:
                raise TemplateProblem(Trouble("enclosure.file_missing", file=enclosure.file), enclosure.line)
            url, file = self._host(item), f"{item.kind}, {spell_size(len(item.data))}"
        return replace(self._entry(enclosure, key, blurb, CARD_WIDTH), url=url, file=file)

    def _entry(self, entry: Card | Enclosure, key: str, blurb: Markup, width: int) -> SetCard:
        """What cards and enclosures share."""
        title = self.line_text(entry.title, f"{key}.title", entry.line)
        return SetCard(
            title=title,
            tag=self.line_text(entry.tag or "", f"{key}.tag", entry.line),
            blurb=blurb,
            text=None,
            plain=self.plain(blurb),
            url=_safe(entry.link),
            label="" if MARK.search(title) else title,
            picture=self._picture(entry.picture, width),
        )

    def figure(self, figure: Figure, key: str) -> SetFigure | None:
        """A figure and its page; None when its picture is missing (a finding of its own)."""
        picture = self._picture(Picture(figure.src, figure.alt), TEXT_WIDTH)
        large = self.media.get(large_key(figure)) or self.media.get(figure.src)
        if picture is None or large is None:
            return None
        caption = self.line_text(figure.caption, f"{key}.caption", figure.line)
        credit = self.line_text(figure.credit, f"{key}.credit", figure.line)
        if MARK.search(caption + credit):
            raise TemplateProblem(Trouble("figure.personal"), figure.line)
        self._host(large)
        seed = "\n".join((self.issue.publication, self.issue.slug, key, large.name))
        page = {"media": large.name, "alt": figure.alt, "caption": figure.caption, "credit": figure.credit}
        number = hashlib.sha256("\n".join((seed, *page.values())).encode()).hexdigest()[:16]
        self.figure_pages[number] = {"id": number, **page}
        return SetFigure(number, f"{self.base_url}/figure/{number}", picture, caption, credit)

    def body(self, cards: tuple[SetCard, ...]) -> list[SetSegment]:
        """The body in its order; cards and figures it does not place follow at its end."""
        segments: list[SetSegment] = []
        waiting = list(range(len(self.issue.figures)))
        for segment in split_body(self.issue.body, self.issue.body_line):
            if segment.kind == "cards":
                segments.append(SetSegment("cards", cards=cards))
                cards = ()
            elif segment.kind == "figure":
                at = int(segment.text) - 1 if segment.text else (waiting[0] if waiting else -1)
                if at not in waiting:
                    raise TemplateProblem(Trouble("figure.without_entry", number=segment.text), segment.line)
                waiting.remove(at)
                segments += self._figure_segment(at)
            else:
                segments.append(self._words(segment))
        if cards:
            segments.append(SetSegment("cards", cards=cards))
        for at in waiting:
            segments += self._figure_segment(at)
        return segments

    def signatory(self, signatory: Signatory) -> dict[str, Any]:
        """The signature block."""
        name, words = without_tags(signatory.name)[0].replace(TAG_STAND_IN, ""), self.wording
        name = " ".join(name.split())  # an alt text is the same for all
        return {
            "name": self.line_text(signatory.name, "signatory.name"),
            "role": self.line_text(signatory.role, "signatory.role"),
            "organisation": self.line_text(signatory.organisation, "signatory.organisation"),
            "signature": self._person(signatory.signature, words.signature_of.format(name=name), HAND_WIDTH),
            "portrait": self._person(signatory.portrait, words.portrait_of.format(name=name), FACE_WIDTH),
        }

    def _words(self, segment: Segment) -> SetSegment:
        if segment.kind == "text":
            html = Markup(self._renderer.html(segment.text, segment.line))  # noqa: S704 - sanitised by the renderer
            return SetSegment("text", html, self.plain(html))
        lines = segment.text.strip("\n").split("\n")
        by = ""
        if len(lines) > 1 and lines[-1].startswith(("— ", "-- ", "– ")):
            by = self.marks.take_out(lines.pop().lstrip("—–- "), segment.line + len(lines))
        html = Markup(self._renderer.html("\n".join(lines), segment.line))  # noqa: S704 - sanitised by the renderer
        plain = self.plain(Markup("<blockquote>{}</blockquote>").format(html))
        # Without a line and a dash between them the one who said it would read as the end of what was said.
        return SetSegment("quote", html, plain + (f"\n>\n{wrap(f'— {by}', first='> ', rest='> ')}" if by else ""), by)

    def _figure_segment(self, at: int) -> list[SetSegment]:
        figure = self.figure(self.issue.figures[at], f"figures.{at}")
        if figure is None:
            return []
        words = [f"[{self.wording.picture}] {figure.caption or figure.picture.alt}", figure.credit]
        return [SetSegment("figure", plain="\n".join(wrap(part) for part in words if part), figure=figure)]

    def _person(self, src: str | None, alt: str, width: int) -> SetPicture | None:
        return None if src is None else self._picture(Picture(src, alt), width)

    def _picture(self, picture: Picture | None, width: int) -> SetPicture | None:
        item = self.media.get(picture.src) if picture else None
        if picture is None or item is None or not item.width:
            return None
        if picture.width and picture.height:
            height = round(min(width, picture.width) * picture.height / picture.width)
            width = min(width, picture.width)
        else:
            width = min(width, picture.width or item.width)
            height = round(width * item.height / item.width)
        alt = "" if picture.decorative else picture.alt
        return SetPicture(self._host(item), alt, width, max(1, height))

    def _shown(self, src: str) -> SetPicture | None:
        return None if is_remote_picture(src) else self._picture(Picture(src, ""), TEXT_WIDTH)

    def _host(self, item: MediaItem) -> str:
        self.used[item.name] = None
        return f"{self.base_url}/media/{item.name}"


def spell_size(octets: int) -> str:
    """`34 KB`, `1.2 MB`: of a thousand and a million octets, as file managers count."""
    return f"{max(1, round(octets / 1000))} KB" if octets < 950_000 else f"{octets / 1_000_000:.1f} MB"


def sender_lines(publication: Publication) -> list[str]:
    """Who sends and where to write to them; each line once, and the name too when the postal address begins with it."""
    lines = list(dict.fromkeys(" ".join(line.split()) for line in publication.postal_address.splitlines()))
    lines = [line for line in lines if line]
    name = " ".join(publication.from_name.split())
    folded = name.casefold()
    if any(line.casefold() == folded or line.casefold().startswith(f"{folded},") for line in lines):
        return lines
    return [name, *lines]


def _safe(link: str | None) -> str | None:
    if link is None:
        return None
    fault = judge_link(link)
    return link.strip() if fault is None or fault.works else None
