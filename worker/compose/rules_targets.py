"""Rules about pictures (2xx) and links (3xx). Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

import idna

from worker.compose.findings import (
    ERROR,
    WARN,
    Finding,
    LintFacts,
    authored_texts,
    enclosures_of,
    entries_of,
    issue_references,
)
from worker.compose.links import Link, LinkFault, is_remote_picture, judge_link
from worker.compose.markup import find_links
from worker.compose.media import FILE_TYPES, MAX_WIDTH, MediaItem
from worker.compose.typeset import spell_size
from worker.domain.issue import IssueKind, IssueText
from worker.errors import Trouble
from worker.loopback import is_loopback_url

# Words that say nothing when a screen reader lists the links of a mail alone.
GENERIC = frozenset(
    {
        *("here", "click here", "click", "link", "this link", "this", "more", "read more", "learn more", "see more"),
        *("details", "more info", "more information", "download", "go", "ici", "cliquez ici", "cliquer ici", "lien"),
        *("en savoir plus", "lire la suite", "plus", "hier", "mehr", "weiterlesen", "klicken sie hier"),
        *("这里", "点击这里", "点击此处", "阅读全文", "更多", "здесь", "тут", "ссылка", "подробнее", "читать далее"),
        *("여기", "여기를 클릭", "더 보기", "더 읽기", "यहाँ", "यहां", "यहाँ क्लिक करें", "और पढ़ें", "लिंक"),
        *("こちら", "ここ", "ここをクリック", "詳細", "続きを読む"),
        *("هنا", "اضغط هنا", "انقر هنا", "المزيد", "اقرأ المزيد"),
    }
)

HEAVY_BYTES = 300_000  # of one picture: two seconds and more on a slow phone
HEAVY_MAIL_BYTES = 1_500_000  # of all pictures of a mail


@dataclass(frozen=True)
class Placed:
    """A picture of the issue with where it stands."""

    src: str
    alt: str
    line: int
    decorative: bool = False
    sized: tuple[int | None, int | None] = (None, None)
    needs_alt: bool = True


def pictures_of(issue: IssueText) -> list[Placed]:
    """Every picture, from the front matter and from Markdown."""
    pictures: list[Placed] = []
    for key, entry in entries_of(issue):
        if (picture := entry.picture) is not None:
            line = issue.lines.get(f"{key}.image.src", entry.line)
            pictures.append(Placed(picture.src, picture.alt, line, picture.decorative, (picture.width, picture.height)))
    for at, figure in enumerate(issue.figures):
        line = issue.lines.get(f"figures.{at}.src", figure.line)
        pictures.append(Placed(figure.src, figure.alt, line))
        if figure.large:
            large = issue.lines.get(f"figures.{at}.large", figure.line)
            pictures.append(Placed(f"large:{figure.large}", "", large, needs_alt=False))
    if issue.signatory:
        for key in ("signature", "portrait"):
            src = getattr(issue.signatory, key)
            if src:
                pictures.append(Placed(src, "", issue.lines.get(f"signatory.{key}", 0), needs_alt=False))
    references = issue_references(issue)
    for text in authored_texts(issue):
        if text.markdown:
            pictures += [
                Placed(link.target, link.label, link.line) for link in find_links(text.text, text.line, references)[1]
            ]
    return pictures


def links_of(issue: IssueText) -> list[Link]:
    """Every link an editor wrote; labels of card links are their titles."""
    links = [
        Link(entry.link, entry.title, issue.lines.get(f"{key}.link", entry.line))
        for key, entry in entries_of(issue)
        if entry.link is not None
    ]
    references = issue_references(issue)
    for text in authored_texts(issue):
        if text.markdown:
            links += find_links(text.text, text.line, references)[0]
    return links


def check_pictures(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """201 to 206, 208."""
    for picture in pictures_of(issue):
        src, line = picture.src.removeprefix("large:"), picture.line
        if picture.needs_alt and not picture.alt and not picture.decorative:
            fix = "describe it, or write decorative: true if it only decorates"
            yield Finding(ERROR, 201, line, f"{_short(src)} has no alt text", fix)
        elif picture.needs_alt and picture.alt and (fault := _says_nothing(picture.alt, src)):
            yield Finding(
                ERROR, 202, line, f'the alt text "{_short(picture.alt)}" {fault}', "say what the picture shows"
            )
        if (picture.sized[0] is None) != (picture.sized[1] is None):
            why = f"{_short(src)} has a width or a height but not both"
            yield Finding(WARN, 203, line, why, "write w and h, or neither")
        yield from _check_file(picture, src, facts)


_NO_WORDS = frozenset(
    {
        *(
            "image",
            "picture",
            "photo",
            "photograph",
            "img",
            "pic",
            "graphic",
            "figure",
            "logo",
            "icon",
            "banner",
            "alt",
        ),
        *("alt text", "screenshot", "diagram", "chart", "map", "drawing", "untitled", "placeholder", "description"),
        *(
            "bild",
            "foto",
            "grafik",
            "abbildung",
            "photographie",
            "imagen",
            "foto de",
            "imagem",
            "immagine",
            "afbeelding",
        ),
        *("图片", "照片", "图像", "画像", "写真", "사진", "그림", "изображение", "фото", "картинка", "صورة", "चित्र"),
    }
)
"""Alt texts that say that there is a picture, which a screen reader says anyway."""
_FILE_NAME = re.compile(
    r"\S+\.(?:jpe?g|png|gif|webp|avif|heic|svg|tiff?|bmp)"
    r"|(?:img|dsc|dscn|dscf|pxl|image|screenshot|photo)[ _-]*[0-9][\w ._-]*",
    re.IGNORECASE,
)


def _says_nothing(alt: str, src: str) -> str:
    """Why an alt text is none: the end of a sentence, or "" for one that says something."""
    words = " ".join(alt.lower().strip(" .…:!-–").split())
    if any(sign in alt for sign in ("{{", "{%")):
        return "cannot hold a reader's value"
    if _FILE_NAME.fullmatch(alt.strip()) or alt.strip() in (src, PurePath(src).name):
        return "is the name of a file"
    is_short = len(words) == 1 and not "\u2e80" <= words <= "\uffff"  # one Han character may be a word
    return "says nothing about the picture" if words in _NO_WORDS or is_short or not re.search(r"\w", alt) else ""


def _check_file(picture: Placed, src: str, facts: LintFacts) -> Iterator[Finding]:
    line = picture.line
    if src.startswith("data:"):
        why = "a data: picture is blocked by most mail programs"
        yield Finding(ERROR, 206, line, why, "save it as a file and name it")
    elif is_remote_picture(src):
        why = f"{_short(src)} lies elsewhere; opening the mail would tell that server who reads"
        yield Finding(ERROR, 208, line, why, "put the picture beside the issue; it is hosted with it")
    elif picture.src not in facts.media:
        yield _unusable(line, src, facts.media_problems.get(picture.src))
    elif not facts.media[picture.src].width:
        yield Finding(ERROR, 208, line, f"{_short(src)} is not a picture", "use a PNG, JPEG or GIF file")
    else:
        yield from _check_item(line, src, facts.media[picture.src])


def _check_item(line: int, src: str, item: MediaItem) -> Iterator[Finding]:
    shown, weight = _short(unquote(src)), len(item.data)
    if item.moves and item.kind == "PNG":
        why = f"{shown} moves where mail programs can show a moving PNG; elsewhere its first picture stands still"
        yield Finding(WARN, 205, line, why, "save it as an animated GIF, which moves nearly everywhere")
    elif item.origin == "webp":
        why = f"{shown} is a WebP and is rewritten as {item.kind}, since many mail programs cannot show it"
        yield Finding(WARN, 205, line, why, "save it as JPEG or PNG yourself to choose the quality")
    if weight > HEAVY_BYTES:
        why = f"{shown} weighs {spell_size(weight)} in the mail; on a phone it comes late and costs every reader data"
        yield Finding(WARN, 204, line, why, _lighter(item))


def _lighter(item: MediaItem) -> str:
    if item.moves:
        return "make it shorter, smaller or with fewer colours"
    if item.kind == "PNG":
        return "save it as JPEG, or with fewer colours and without see-through parts"
    return f"cut it smaller or calmer; {HEAVY_BYTES // 1000} KB are enough for {MAX_WIDTH:,} pixels"


def check_weight(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """204 for all pictures of the mail together."""
    named = {picture.src for picture in pictures_of(issue) if not picture.src.startswith("large:")}
    items = {facts.media[src].name: len(facts.media[src].data) for src in named & facts.media.keys()}
    if (weight := sum(items.values())) > HEAVY_MAIL_BYTES:
        why = f"the pictures of this mail weigh {spell_size(weight)} together, which every reader on a phone pays for"
        yield Finding(WARN, 204, None, why, "leave some out, or make the heaviest smaller")


def check_files(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """208 for enclosed files."""
    for key, enclosure in enclosures_of(issue):
        if enclosure.file is not None and enclosure.file not in facts.media:
            line = issue.lines.get(f"{key}.file", enclosure.line)
            yield _unusable(line, enclosure.file, facts.media_problems.get(enclosure.file), waivable=False)


def check_links(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """301, 303, 304, 306."""
    for link in links_of(issue):
        fault = judge_link(link.target)
        if link.target.startswith(facts.base_url) and (
            fault is LinkFault.STAGING or (fault is LinkFault.LOCAL and is_loopback_url(facts.base_url))
        ):
            fault = None  # a rehearsing installation may name itself
        if fault is not None:
            why = f"the link {_short(link.target) or 'of ' + link.label} {fault.value}"
            fix = fault.remedy
            is_file = PurePath(unquote(link.target)).suffix.lower() in FILE_TYPES
            if fault is LinkFault.RELATIVE and is_file and issue.kind is IssueKind.STATEMENT:
                fix += ", or send the file along: enclosures: - {title: …, file: …} in the head of the issue"
            yield Finding(ERROR, 301, link.line, why, fix, waivable=False)
        elif link.target.lower().startswith("http:") and not link.target.startswith(facts.base_url):
            why = f"{_short(link.target)} is not encrypted"
            yield Finding(WARN, 303, link.line, why, "use https:// if it answers there")
        if (elsewhere := _shown_elsewhere(link)) is not None:
            why = f"{_short(link.label)} is what a reader sees, yet the link leads to {elsewhere}"
            yield Finding(ERROR, 306, link.line, why, "let words and address name the same site")
        if " ".join(link.label.lower().strip(" .…:!→»›").split()) in GENERIC:
            why = f'link text "{link.label}" says nothing alone'
            yield Finding(WARN, 304, link.line, why, "name what the link leads to")
        elif not link.label:
            yield Finding(WARN, 304, link.line, f"the link {_short(link.target)} has no text", "name what it leads to")


def _shown_elsewhere(link: Link) -> str | None:
    """The site a link leads to when its words name another one: what every fraud does, and filters look for."""
    shown = _SITE.fullmatch(link.label.strip())
    host = _host(link.target)
    if shown is None or not host or not link.target.lower().startswith("http"):
        return None
    return None if _host(f"https://{shown[1]}") == host else host


_SITE = re.compile(r"(?:https?://)?((?:[\w-]{1,63}\.){1,9}[^\W\d_]{2,24})(?::[0-9]{1,5})?(?:[/?#]\S*)?", re.IGNORECASE)


def _host(target: str) -> str:
    try:
        host = urlsplit(target).hostname or ""
        return (host if host.isascii() else idna.encode(host).decode()).removeprefix("www.")
    except (ValueError, idna.IDNAError):
        return ""


def _unusable(line: int, src: str, cause: Trouble | None, *, waivable: bool = True) -> Finding:
    cause = cause or Trouble("media.missing", path=_short(src), near="")
    why, fix = Trouble("finding.media_unusable", cause=cause), Trouble("finding.media_remedy", cause=cause)
    # An SVG has a number of its own: it is a good file that Gmail does not show.
    number = 205 if cause.fields.get("kind") == "svg" else 208
    return Finding(ERROR, number, line, why, fix, waivable)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
