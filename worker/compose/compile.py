"""An issue's text + a publication + the layouts → CompiledIssue, once per issue. Pure.

Tags leave the text first and come back last (`compose.marks`); in between run Markdown, the sanitiser, the layout and
the CSS inliner, and after each a census proves that no mark moved. What comes out is constant but for its holes.
"""

import re
from collections.abc import Mapping
from typing import Any

import css_inline
import jinja2
from markupsafe import Markup

from worker.compose.marks import MARK, Marks, Part, check_census
from worker.compose.media import MediaItem
from worker.compose.template import TemplateProblem, check_template, recipient_environment
from worker.compose.text_part import shape_text, wrap
from worker.compose.typeset import LEAD_CHARS, Typesetter, sender_lines
from worker.compose.wording import Wording, direction, wording_for
from worker.domain.compiled import SYSTEM_VARIABLES, CompiledIssue
from worker.domain.issue import IssueText
from worker.domain.publication import DEFAULT_PROMISE, Publication
from worker.errors import IssueFileError, Trouble, UsageError

_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, minify_css=True)


def compile_issue(
    issue: IssueText,
    publication: Publication,
    *,
    base_url: str,
    templates: jinja2.Environment,
    media: Mapping[str, MediaItem],
    view_url: str,
    boundary: str,
) -> CompiledIssue:
    """The frozen content of an issue. `templates` comes from `layout_environment`; `media` maps each `src` of the
    issue (a figure's larger version under `large_key`) to its hosted form; `view_url` is the neutral page.

    Raises UsageError with file and line for what reading noted, and for a tag outside the subset or in a place
    where it cannot work.
    """
    if issue.faults:
        line, fault = issue.faults[0]
        raise IssueFileError("issue_file.malformed", path=issue.path, line=line, problem=fault)
    try:
        return _compile(issue, publication, base_url.rstrip("/"), templates, media, view_url, boundary)
    except TemplateProblem as problem:
        raise UsageError(
            "issue_file.malformed", path=issue.path, line=problem.line, problem=problem.trouble
        ) from problem


def _compile(
    issue: IssueText,
    publication: Publication,
    base_url: str,
    templates: jinja2.Environment,
    media: Mapping[str, MediaItem],
    view_url: str,
    boundary: str,
) -> CompiledIssue:
    """1. Every text is taken in: its tags become marks, its Markdown HTML, its pictures hosted ones.
    2. The layouts are filled three times: HTML and text part with holes, the web page without any.
    3. Tags return to where their marks are, and each template is checked once more, whole.
    """
    language = issue.language or publication.language
    wording = wording_for(language)
    marks = Marks(language)
    typesetter = Typesetter(issue, marks, media, base_url, view_url, wording)
    values = _values(issue, publication, typesetter, language, base_url)
    if set(SYSTEM_VARIABLES) & marks.names:
        raise TemplateProblem(Trouble("tag.belongs_to_layout", names=SYSTEM_VARIABLES), issue.body_line)
    author_names = tuple(sorted(marks.names))
    name = issue.kind.value
    personal = {**values, **_holes(marks, publication, wording), "view": False}
    html = _render_html(templates, f"{name}.html", personal, marks)
    text = _render_text(templates, f"{name}.txt", personal, marks)
    view = _render_html(templates, f"{name}.html", {**values, "view": True}, marks)
    system = frozenset(SYSTEM_VARIABLES)
    subject = marks.put_back(values["subject"], html=False)
    for source in (subject, html, text):
        check_template(source, system | frozenset(author_names), always=system)
    return CompiledIssue(
        slug=issue.slug,
        publication_slug=publication.slug,
        publication_title=publication.title,
        subject=subject,
        html=html,
        text=text,
        view_html=recipient_environment(autoescape=True).from_string(view).render(),
        from_name=publication.from_name,
        from_address=publication.from_address,
        reply_to=publication.reply_to,
        bounce_address=publication.bounce_address,
        contact=publication.contact,
        list_id=f"{publication.slug}.{publication.from_address.rpartition('@')[2]}",
        language=language,
        boundary=boundary,
        variables=author_names,
        base_url=base_url,
        media=tuple(typesetter.used),
        figures=tuple(typesetter.figure_pages.values()),
    )


def _values(
    issue: IssueText, publication: Publication, typesetter: Typesetter, language: str, base_url: str
) -> dict[str, Any]:
    """All the layouts may show, the same for mail, text and web page."""
    wording = typesetter.wording
    cards = tuple(typesetter.card(card, f"cards.{at}", at + 1) for at, card in enumerate(issue.cards))
    return {
        "language": language,
        "dir": direction(language),
        "start": "right" if direction(language) == "rtl" else "left",
        "wording": wording,
        "fallback": wording.language.split("-")[0] != language.split("-")[0].lower(),
        "title": publication.title,
        "subject": typesetter.line_text(issue.subject, "subject"),
        "preheader": typesetter.line_text(issue.preheader, "preheader"),
        "date": typesetter.line_text(issue.date, "date"),
        "place": typesetter.line_text(issue.place, "place"),
        "intro": typesetter.markdown(issue.intro, "intro"),
        "standfirst": typesetter.markdown(issue.standfirst, "standfirst"),
        "lead": typesetter.card(issue.lead, "lead", 0, LEAD_CHARS) if issue.lead else None,
        "segments": typesetter.body(cards),
        "signatory": typesetter.signatory(issue.signatory) if issue.signatory else None,
        "enclosures": [typesetter.enclosure(one, f"enclosures.{at}") for at, one in enumerate(issue.enclosures)],
        "view_url": typesetter.view_url,
        "privacy_url": publication.privacy_url or f"{base_url}/privacy",
        "promise": publication.promise,
        "english_promise": publication.promise == DEFAULT_PROMISE and not language.lower().startswith("en"),
        "sender": sender_lines(publication),
        "leave": wording.leave.format(title=publication.title, url=f"{base_url}/"),
    }


def _holes(marks: Marks, publication: Publication, wording: Wording) -> dict[str, str]:
    """What is personal in the layouts themselves: the way out, and the reason with a date where there is evidence."""
    date = marks.system("{{ consent_date }}")
    dated = wording.reason_dated.format(title=publication.title, date=date)
    undated = wording.reason.format(title=publication.title)
    begin = marks.system("{% if consent_date %}", Part.BEGIN)
    middle = marks.system("{% else %}", Part.MIDDLE)
    end = marks.system("{% endif %}", Part.END)
    return {
        "reason": f"{begin}{dated}{middle}{undated}{end}",
        "wrapped_reason": f"{begin}{wrap(dated)}{middle}{wrap(undated)}{end}",
        "unsubscribe_url": marks.system("{{ unsubscribe_url }}"),
    }


def _render_html(templates: jinja2.Environment, name: str, values: dict[str, Any], marks: Marks) -> str:
    rendered = templates.get_template(name).render(values)
    before = [mark.number for mark in check_census(marks, rendered)]
    inlined = _INLINER.inline(rendered)
    after = [mark.number for mark in check_census(marks, inlined)]
    if before != after:
        raise TemplateProblem(Trouble("tag.moved_by_styles"), 0)
    slim = re.sub(r' class="[a-z ]*"', _kept_classes, inlined)
    clients = "".join(templates.get_template("clients.css").render().split("\n"))
    slim = slim.replace("</head>", f"<style>{clients}</style>\n</head>", 1)
    return marks.put_back(re.sub(r"\n{2,}", "\n", slim), html=True)


# Classes that the client style sheet (clients.css) speaks of; all others have done their work once styles are inline.
_CLIENT_CLASSES = frozenset(
    {
        *("page", "panel", "ink", "sheet", "plain", "soft", "date", "quiet", "stand", "place", "fig", "by"),
        *("accent", "tag", "rule", "head", "pull", "pad", "main", "pic", "txt", "shot", "gap", "pag"),
    }
)


def _kept_classes(attribute: re.Match[str]) -> str:
    kept = [word for word in attribute[0][8:-1].split() if word in _CLIENT_CLASSES]
    return f' class="{" ".join(kept)}"' if kept else ""


def _render_text(templates: jinja2.Environment, name: str, values: dict[str, Any], marks: Marks) -> str:
    # HTML fields as the text part says them.
    plain = {key: shape_text(value, marks) if isinstance(value, Markup) else value for key, value in values.items()}
    rendered = templates.get_template(name).render(plain, dateline=values["date"] if name == "newsletter.txt" else "")
    lines = [line.rstrip() for line in rendered.split("\n")]
    shaped = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"
    depth = [marks.tags[int(number)].part for number in MARK.findall(shaped)]
    if depth.count(Part.BEGIN) != depth.count(Part.END):
        raise TemplateProblem(Trouble("tag.lost_in_text_part"), 0)
    return marks.put_back(shaped, html=False)
