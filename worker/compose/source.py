"""An issue file as text → its values, each with the line it came from. Pure.

Whatever cannot be understood is noted with line and key, all of it in one reading; nothing is guessed or silently
dropped. Every value is checked as it was parsed, whatever escapes it was written with. Taste and safety of what was
understood are the rules' business, not this file's.
"""

import re
from dataclasses import replace
from itertools import islice
from pathlib import PurePath

from worker.compose.frontmatter import MAX_FILE_CHARS, MOST_FAULTS, UNFIT, Group, Items, Reader, Text
from worker.compose.spans import Lines, drop_remarks
from worker.domain.issue import Card, Enclosure, Figure, IssueKind, IssueText, Picture, Signatory
from worker.domain.publication import is_language_tag
from worker.errors import IssueFileError, Trouble

MAX_PIXELS = 2400  # four times the layout's width: more is a slip of the finger
MAX_CARDS = 100  # an issue of a hundred cards is five times what stays unclipped

_COMMON = ("kind", "publication", "subject", "preheader", "slug", "language", "date", "figures", "lint")
_KEYS = {
    IssueKind.NEWSLETTER: (*_COMMON, "intro", "lead", "cards"),
    IssueKind.STATEMENT: (*_COMMON, "place", "standfirst", "signatory", "enclosures"),
}
_CARD = ("title", "blurb", "link", "text", "tag", "image")
_PICTURE = ("src", "alt", "w", "h", "decorative")
_FIGURE = ("src", "alt", "caption", "credit", "large")
_SIGNATORY = ("name", "role", "organisation", "signature", "portrait")
_ENCLOSURE = ("title", "blurb", "link", "file", "tag", "image")
_LINT = ("allow", "why")

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_MAX_SLUG = 80  # characters: it stands in web addresses and is typed into commands
_CODE = re.compile(r"[EWI]?([0-9]{3})")


def read_issue(path: str, raw: str) -> IssueText:
    """The values of an issue file without a fault. Raises IssueFileError for the first one."""
    issue = read_whole(path, raw)
    if issue.faults:
        line, problem = issue.faults[0]
        raise IssueFileError("issue_file.malformed", path=path, line=line, problem=problem)
    return issue


def read_whole(path: str, raw: str) -> IssueText:
    """The values of the issue file `raw` and all its faults; `path` names it in errors and gives the slug its default.

    1. Make line ends alike; note characters that act in secret, refuse what is too long.
    2. Part front matter from body, and note keys this kind of issue does not have.
    3. Read the front matter key by key, with the line of each; the body stays as it is, without its remarks.

    Raises IssueFileError for a file in which no front matter can be found or read.
    """
    reader = Reader(path)
    raw = raw.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if len(raw) > MAX_FILE_CHARS:
        raise reader.refuse(1, Trouble("text.too_long", limit=MAX_FILE_CHARS))
    front, body, body_line = reader.split(_without_controls(reader, raw))
    top = reader.read(front)
    kind = _kind(reader, top)
    reader.known_keys(top, _KEYS[kind], kind.value)
    allow, why = _waivers(reader, top)
    read = IssueText(
        path=path,
        slug=_slug(reader, top),
        kind=kind,
        publication=reader.required(top, "publication", "front_matter"),
        subject=reader.required(top, "subject", "front_matter"),
        preheader=reader.one_line(top, "preheader"),
        body=drop_remarks(body),
        body_line=body_line,
        intro=_markdown(reader, top, "intro"),
        lead=_lead(reader, top),
        cards=_cards(reader, top),
        place=reader.one_line(top, "place"),
        date=reader.one_line(top, "date"),
        standfirst=_markdown(reader, top, "standfirst"),
        figures=tuple(_figure(reader, group) for group in reader.groups(top, "figures")),
        signatory=_signatory(reader, top),
        enclosures=tuple(_enclosure(reader, group) for group in reader.groups(top, "enclosures")),
        waived=allow,
        waived_why=why,
        language=_language(reader, top),
        raw=raw,
        lines=_lines(top, ""),
    )
    return replace(read, faults=tuple(sorted(reader.faults, key=lambda fault: fault[0])))


def _without_controls(reader: Reader, raw: str) -> str:
    lines = Lines(raw)
    for unfit in islice(UNFIT.finditer(raw), MOST_FAULTS):
        reader.note(lines.at(unfit.start()), Trouble("text.control_character", character=ord(unfit[0])))
    return UNFIT.sub(" ", raw)


def _markdown(reader: Reader, group: Group, key: str) -> str:
    return drop_remarks(reader.text(group, key))


def _language(reader: Reader, top: Group) -> str | None:
    """It stands in a header field and in the root of every page, so it may be nothing but a tag."""
    language = reader.one_line(top, "language")
    if language and not is_language_tag(language):
        reader.note(top.key_lines["language"], Trouble("language.no_tag", value=language[:60]))
        return None
    return language or None


def _kind(reader: Reader, top: Group) -> IssueKind:
    word = reader.required(top, "kind", "front_matter")
    known = [kind.value for kind in IssueKind]
    if word not in known:
        if word or "kind" in top.values:
            reader.note(top.key_lines["kind"], Trouble("kind.unknown", kind=word[:60], known=known))
        return IssueKind.STATEMENT if "signatory" in top.values else IssueKind.NEWSLETTER
    return IssueKind(word)


def _slug(reader: Reader, top: Group) -> str:
    if "slug" in top.values:
        slug = reader.one_line(top, "slug")
        if not _SLUG.fullmatch(slug) or len(slug) > _MAX_SLUG:
            reader.note(top.key_lines["slug"], Trouble("slug.unusable", slug=slug[:_MAX_SLUG], limit=_MAX_SLUG))
            return "unusable"
        return _unambiguous(reader, top.key_lines["slug"], slug)
    stem = PurePath(reader.path).name.split(".")[0].lower()
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:_MAX_SLUG].strip("-")
    if not slug:
        reader.note(1, Trouble("slug.none_in_name"))
        return "unusable"
    return _unambiguous(reader, 1, slug)


def _unambiguous(reader: Reader, line: int, slug: str) -> str:
    """An order names an issue by slug, id or `latest`: a slug that reads like the others would stop another issue."""
    if slug == "latest" or slug.isdigit():
        reader.note(line, Trouble("slug.ambiguous", slug=slug))
    return slug


def _waivers(reader: Reader, top: Group) -> tuple[tuple[str, ...], str]:
    group = reader.group(top, "lint")
    if group is None:
        return (), ""
    reader.known_keys(group, _LINT, "lint")
    codes = []
    for value in reader.items(group, "allow"):
        code = _CODE.fullmatch(value.value.strip()) if isinstance(value, Text) else None
        if code is None:
            reader.note(value.line, Trouble("waiver.no_finding"))
        else:
            codes.append(code[1])
    why = reader.one_line(group, "why")
    if codes and not why:
        reader.note(group.line, Trouble("waiver.no_reason"))
    return tuple(codes), why


def _lead(reader: Reader, top: Group) -> Card | None:
    group = reader.group(top, "lead")
    return None if group is None else _card(reader, group, "lead")


def _cards(reader: Reader, top: Group) -> tuple[Card, ...]:
    groups = reader.groups(top, "cards")
    if len(groups) > MAX_CARDS:
        problem = Trouble("cards.too_many", number=len(groups), limit=MAX_CARDS)
        reader.note(top.key_lines["cards"], problem)
        groups = groups[:MAX_CARDS]
    return tuple(_card(reader, group, f"cards.{at}") for at, group in enumerate(groups))


def _card(reader: Reader, group: Group, where: str) -> Card:
    reader.known_keys(group, _CARD, "card")
    return Card(
        title=_filled(reader, group, "title", where),
        blurb=_markdown(reader, group, "blurb"),
        link=_link(reader, group),
        text=_markdown(reader, group, "text") or None,
        tag=_optional(reader, group, "tag"),
        picture=_picture(reader, group),
        line=group.line,
    )


def _picture(reader: Reader, group: Group) -> Picture | None:
    image = reader.group(group, "image")
    if image is None:
        return None
    reader.known_keys(image, _PICTURE, "image")
    word = reader.one_line(image, "decorative", "false").lower()
    if word not in ("true", "false", "yes", "no"):
        reader.note(image.key_lines["decorative"], Trouble("image.decorative_unclear", value=word[:60]))
    return Picture(
        src=_filled(reader, image, "src", "image"),
        alt=reader.one_line(image, "alt"),
        width=_pixels(reader, image, "w"),
        height=_pixels(reader, image, "h"),
        decorative=word in ("true", "yes"),
    )


def _pixels(reader: Reader, group: Group, key: str) -> int | None:
    word = reader.one_line(group, key)
    if not word:
        return None
    if not re.fullmatch("[0-9]{1,4}", word) or not 1 <= int(word) <= MAX_PIXELS:
        problem = Trouble("image.not_pixels", key=key, value=word[:60], limit=MAX_PIXELS)
        reader.note(group.key_lines[key], problem)
        return None
    return int(word)


def _figure(reader: Reader, group: Group) -> Figure:
    reader.known_keys(group, _FIGURE, "figure")
    return Figure(
        src=_filled(reader, group, "src", "figure"),
        alt=reader.one_line(group, "alt"),
        caption=reader.one_line(group, "caption"),
        credit=reader.one_line(group, "credit"),
        large=_optional(reader, group, "large"),
        line=group.line,
    )


def _signatory(reader: Reader, top: Group) -> Signatory | None:
    group = reader.group(top, "signatory")
    if group is None:
        return None
    reader.known_keys(group, _SIGNATORY, "signatory")
    return Signatory(
        name=_filled(reader, group, "name", "signatory"),
        role=reader.one_line(group, "role"),
        organisation=reader.one_line(group, "organisation"),
        signature=_optional(reader, group, "signature"),
        portrait=_optional(reader, group, "portrait"),
    )


def _enclosure(reader: Reader, group: Group) -> Enclosure:
    reader.known_keys(group, _ENCLOSURE, "enclosure")
    link, file = _link(reader, group), _optional(reader, group, "file")
    if (link is None) == (file is None):
        reader.note(group.line, Trouble("enclosure.not_one_target"))
    return Enclosure(
        title=_filled(reader, group, "title", "enclosure"),
        blurb=_markdown(reader, group, "blurb"),
        link=link,
        file=file,
        tag=_optional(reader, group, "tag"),
        picture=_picture(reader, group),
        line=group.line,
    )


def _filled(reader: Reader, group: Group, key: str, where: str) -> str:
    value = reader.required(group, key, where)
    if not value and key in group.values:
        reader.note(group.key_lines[key], Trouble("key.empty", key=key, where=where))
    return value


def _optional(reader: Reader, group: Group, key: str) -> str | None:
    return reader.one_line(group, key) or None


def _link(reader: Reader, group: Group) -> str | None:
    """Blanks in an address, as in a mailto's subject, are encoded as in the text (`markdown`)."""
    link = _optional(reader, group, "link")
    return link.replace(" ", "%20") if link else None


def _lines(group: Group, before: str) -> dict[str, int]:
    """`cards.0.blurb` → line of its text, for every value of the front matter."""
    lines: dict[str, int] = {}
    for key, value in group.values.items():
        name = f"{before}{key}"
        lines[name] = value.line if isinstance(value, Text) else group.key_lines[key]
        if isinstance(value, Group):
            lines.update(_lines(value, f"{name}."))
        elif isinstance(value, Items):
            for at, item in enumerate(value.values):
                lines[f"{name}.{at}"] = item.line
                if isinstance(item, Group):
                    lines.update(_lines(item, f"{name}.{at}."))
    return lines
