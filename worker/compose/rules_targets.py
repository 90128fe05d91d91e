"""Rules about pictures (2xx) and links (3xx). Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from worker.compose.findings import ERROR, WARN, Finding, LintFacts, authored_texts, enclosures_of, entries_of
from worker.compose.links import Link, LinkFault, is_remote_picture, judge_link
from worker.compose.markup import find_links
from worker.domain.issue import IssueText
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
    for text in authored_texts(issue):
        if text.markdown:
            pictures += [Placed(link.target, link.label, link.line) for link in find_links(text.text, text.line)[1]]
    return pictures


def links_of(issue: IssueText) -> list[Link]:
    """Every link an editor wrote; labels of card links are their titles."""
    links = [
        Link(entry.link, entry.title, issue.lines.get(f"{key}.link", entry.line))
        for key, entry in entries_of(issue)
        if entry.link is not None
    ]
    for text in authored_texts(issue):
        if text.markdown:
            links += find_links(text.text, text.line)[0]
    return links


def check_pictures(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """201, 203, 205, 206, 208."""
    for picture in pictures_of(issue):
        src, line = picture.src.removeprefix("large:"), picture.line
        if picture.needs_alt and not picture.alt and not picture.decorative:
            fix = "describe it, or write decorative: true if it only decorates"
            yield Finding(ERROR, 201, line, f"{_short(src)} has no alt text", fix)
        if (picture.sized[0] is None) != (picture.sized[1] is None):
            why = f"{_short(src)} has a width or a height but not both"
            yield Finding(WARN, 203, line, why, "write w and h, or neither")
        yield from _check_file(picture, src, facts)


def _check_file(picture: Placed, src: str, facts: LintFacts) -> Iterator[Finding]:
    line, suffix = picture.line, PurePath(src.split("?")[0]).suffix.lower()
    if src.startswith("data:"):
        why = "a data: picture is blocked by most mail programs"
        yield Finding(ERROR, 206, line, why, "save it as a file and name it")
    elif is_remote_picture(src):
        why = f"{_short(src)} lies elsewhere; opening the mail would tell that server who reads"
        yield Finding(ERROR, 208, line, why, "put the picture beside the issue; it is hosted with it")
    elif suffix == ".svg":
        yield Finding(ERROR, 205, line, f"{_short(src)} is an SVG, which Gmail does not show", "save it as PNG")
    elif picture.src not in facts.media:
        yield _unusable(line, src, facts.media_problems.get(picture.src))
    elif suffix in (".webp", ".avif"):
        why = f"{_short(src)} is rewritten as JPEG or PNG, since many mail programs cannot show it"
        yield Finding(WARN, 205, line, why, "save it as JPEG or PNG yourself to choose the quality")
    elif not facts.media[picture.src].width:
        yield Finding(ERROR, 208, line, f"{_short(src)} is not a picture", "use a PNG, JPEG or GIF file")


def check_files(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """208 for enclosed files."""
    for key, enclosure in enclosures_of(issue):
        if enclosure.file is not None and enclosure.file not in facts.media:
            line = issue.lines.get(f"{key}.file", enclosure.line)
            yield _unusable(line, enclosure.file, facts.media_problems.get(enclosure.file), waivable=False)


def check_links(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """301, 303, 304."""
    for link in links_of(issue):
        fault = judge_link(link.target)
        if link.target.startswith(facts.base_url) and (
            fault is LinkFault.STAGING or (fault is LinkFault.LOCAL and is_loopback_url(facts.base_url))
        ):
            fault = None  # a rehearsing installation may name itself
        if fault is not None:
            why = f"the link {_short(link.target) or 'of ' + link.label} {fault.value}"
            fix = "write a whole address that starts with https://"
            if fault is LinkFault.STAGING:
                fix = "write the address that readers will use"
            yield Finding(ERROR, 301, link.line, why, fix, waivable=False)
        elif link.target.lower().startswith("http:") and not link.target.startswith(facts.base_url):
            why = f"{_short(link.target)} is not encrypted"
            yield Finding(WARN, 303, link.line, why, "use https:// if it answers there")
        if " ".join(link.label.lower().strip(" .…:!→»›").split()) in GENERIC:
            why = f'link text "{link.label}" says nothing alone'
            yield Finding(WARN, 304, link.line, why, "name what the link leads to")
        elif not link.label:
            yield Finding(WARN, 304, link.line, f"the link {_short(link.target)} has no text", "name what it leads to")


def _unusable(line: int, src: str, cause: Trouble | None, *, waivable: bool = True) -> Finding:
    why = Trouble("finding.media_unusable", src=_short(src), cause=cause or Trouble("media.missing"))
    return Finding(ERROR, 208, line, why, "correct the name or the file", waivable)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
