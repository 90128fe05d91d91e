"""Rules about the mail as it will leave: size, text part, footer, headers, odd readers, the slug. Pure."""

import re
from collections.abc import Iterator
from html import unescape
from quopri import encodestring

from babel import Locale, UnknownLocaleError

from worker.compose.findings import ERROR, WARN, Finding, LintFacts, authored_texts
from worker.compose.links import judge_link
from worker.compose.template import MAX_PASSES, TooManyPassesError, recipient_environment
from worker.domain.compiled import SYSTEM_VARIABLES, CompiledIssue
from worker.domain.issue import IssueText
from worker.errors import Trouble
from worker.loopback import is_loopback_url
from worker.quantities import count

CLIP_WARN_BYTES = 80_000  # four fifths of CLIP_BYTES: there is still time to shorten
CLIP_BYTES = 100_000  # Gmail cuts a mail between 99 and 102 kB, and with it the way out

_AROUND = frozenset({"subject", "preheader", "place", "date"})
"""What stands around a text and is none."""

_ODD_READERS = (
    ("an empty name", ""),
    ("a name of 200 characters", "Wolfeschlegelsteinhausenbergerdorff " * 5 + "x" * 20),
    ("a right-to-left name", "שרה אבו־ليلى"),
    ("an emoji name", "👩‍🔬 Zoë 🇫🇷"),
    ("a name in quotes and brackets", '"O\'Neill" <b>&amp;{{7*7}}</b> {% raw %}'),
)


def check_size(issue: IssueText, compiled: CompiledIssue) -> Iterator[Finding]:
    """101, on the HTML part with holes filled for nobody, as sent and as encoded."""
    decoded = len(compiled.html.encode())
    encoded = len(encodestring(compiled.html.encode()))
    if decoded >= CLIP_WARN_BYTES:
        why = f"the HTML has {decoded // 1000} KB ({encoded // 1000} KB encoded); Gmail cuts mails at about 100 KB"
        fix = "shorten the issue, or give cards a text of their own that opens on the web page"
        yield Finding(ERROR if decoded >= CLIP_BYTES else WARN, 101, None, why, fix)


def check_text_part(issue: IssueText, compiled: CompiledIssue) -> Iterator[Finding]:
    """103: somebody wrote something, and the text part says what the HTML says.

    Masthead and footer fill both parts of every issue, so whether there is anything to read is asked of the source.
    """
    html_words, text_words = len(_words(_visible(compiled.html))), len(_words(compiled.text))
    if not any(text.text.strip() for text in authored_texts(issue) if text.key not in _AROUND):
        fix = "write something in the body or the cards"
        yield Finding(ERROR, 103, None, "the issue says nothing", fix, waivable=False)
    elif text_words < 0.6 * html_words:
        why = f"the text part has {count(text_words, 'word')}, the HTML {html_words}"
        yield Finding(WARN, 103, None, why, "say in words what only pictures or tables say")


def check_language(issue: IssueText, compiled: CompiledIssue) -> Iterator[Finding]:
    """104: the language is one programs know, and the root says it with its direction."""
    line = issue.lines.get("language")
    root = re.search(r"<html lang=\"([^\"]+)\" dir=\"(ltr|rtl)\"", compiled.html)
    if root is None:
        fix = "restore them in templates/mail/base.html"
        yield Finding(ERROR, 104, line, "the layout's root has no lang or dir", fix)
    try:
        Locale.parse(compiled.language, sep="-")
    except (UnknownLocaleError, ValueError):
        why = f'the language "{compiled.language}" is not known'
        yield Finding(ERROR, 104, line, why, "write a tag such as en, fr, zh-Hans or ar", waivable=False)


def check_footer(issue: IssueText, compiled: CompiledIssue) -> Iterator[Finding]:
    """406: both parts say who sends, why, and how to leave."""
    visible = _visible(compiled.html)
    for part, text in (("HTML", compiled.html), ("text", compiled.text)):
        if "{{ unsubscribe_url }}" not in text:
            yield _footer(f"the {part} part has no unsubscribe link")
    for part, text in (("HTML", visible), ("text", compiled.text)):
        folded = " ".join(text.split())
        # Braces of a name are spelled as a tag in the template.
        said = " ".join(unescape(_filled(text, compiled)).split()) if "{" in compiled.from_name else folded
        if " ".join(compiled.from_name.split()).casefold() not in said.casefold():
            yield _footer(f"the {part} part does not say who sends")
        if "{% if consent_date %}" not in folded:
            yield _footer(f"the {part} part does not say why the reader gets it")


def check_sender(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """301, 405: a privacy page to be opened; one-click leaving needs https, and a signature over its headers."""
    if not facts.base_url.startswith("https://") and not is_loopback_url(facts.base_url):
        why = f"the opt-out address {facts.base_url} is not https, so one-click leaving fails"
        yield Finding(ERROR, 405, None, why, "set CORRANTO_BASE_URL to an https address", waivable=False)
    if not facts.signs and not facts.loopback_relay:
        domain = facts.publication.from_address.rpartition("@")[2]
        why = f"no DKIM key for {domain}: Gmail and Yahoo ignore one-click leaving, and may refuse the mail"
        yield Finding(WARN, 405, None, why, Trouble("dkim.key_missing", domain=domain))
    privacy = facts.publication.privacy_url
    fault = judge_link(privacy) if privacy else None
    if fault is not None and not (fault.works and is_loopback_url(facts.base_url)):
        why = f"the publication's privacy page {str(privacy)[:60]!a} {fault.value}"
        yield Finding(ERROR, 301, None, why, f"{fault.remedy}, in the publication", waivable=False)
    if not facts.publication.postal_address.strip():
        yield _footer("the publication has no postal address")


def check_slug(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """804: the same issue twice."""
    if issue.slug in facts.sent_slugs:
        why = f"{issue.slug} was already queued for this publication"
        fix = "give the new issue another file name or slug:"
        yield Finding(ERROR, 804, issue.lines.get("slug"), why, fix, waivable=False)


def check_odd_readers(issue: IssueText, compiled: CompiledIssue) -> Iterator[Finding]:
    """502: the three templates hold for every kind of name."""
    parts = (("subject", compiled.subject), ("HTML", compiled.html), ("text", compiled.text))
    for part, source in parts:
        template = recipient_environment(autoescape=part == "HTML").from_string(source)
        for who, name in _ODD_READERS:
            system = {"unsubscribe_url": "https://example.org/u", "consent_date": ""}
            values = dict.fromkeys(compiled.variables, name) | system
            try:
                filled = template.render(values)
            except TooManyPassesError:
                why = f"a loop fails for readers whose value has more than {MAX_PASSES} characters: they get no mail"
                yield Finding(WARN, 502, None, why, "write the value without a loop")
                continue
            except Exception as error:  # any fault here would be a fault in somebody's mail
                why = f"the {part} cannot be filled for {who}: {type(error).__name__}"
                yield Finding(ERROR, 502, None, why, "simplify the tags; a variable with a default is enough")
                continue
            # Braces of a name are its own, in whatever case or length a filter leaves them.
            if "{" not in name and re.search(r"\{%|\ue000|\ue001", filled):
                yield Finding(ERROR, 502, None, f"braces stay in the {part} for {who}", "correct the tags around them")


def _footer(why: str) -> Finding:
    fix = "restore the footer of the layout, or the publication's sender"
    return Finding(ERROR, 406, None, why, fix, waivable=False)


def _filled(template: str, compiled: CompiledIssue) -> str:
    values = dict.fromkeys((*compiled.variables, *SYSTEM_VARIABLES), "")
    return recipient_environment(autoescape=False).from_string(template).render(values)


def _visible(html: str) -> str:
    body = re.sub(r"<!--.*?-->|<head>.*?</head>", " ", html, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", body).replace("&amp;", "&")


def _words(text: str) -> list[str]:
    """Words, with each East Asian character counted as one; web addresses are not words."""
    bare = re.sub(r"https?://\S+|\{[{%].*?[%}]\}|&[a-z]+;", " ", text)
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+", bare)
