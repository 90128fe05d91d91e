"""Rules about what the text says: subject, preheader, leftovers, variables. Pure."""

import re
from collections.abc import Iterator

from worker.compose.findings import ERROR, WARN, Authored, Finding, LintFacts, authored_texts
from worker.compose.template import FILTERS, TemplateProblem, check_template, without_values
from worker.domain.compiled import READER_VARIABLES, SYSTEM_VARIABLES
from worker.domain.issue import IssueText
from worker.errors import Trouble

SUBJECT_CHARS = (10, 78)  # less says nothing, more is cut in lists of mails (and is a line of RFC 5322 2.1.1)
PREHEADER_CHARS = 140  # more than lists of mails show behind a subject

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_FAKE_REPLY = re.compile(r"\s*(re|fwd?|aw|wg|sv|tr|rif|回复|转发|ответ)\s*[:：]", re.IGNORECASE)
_LEFTOVERS = (
    (re.compile(r"\bTODO\b|\bFIXME\b|\bTBD\b"), "a note to the author"),
    (re.compile(r"\bXXX+\b"), "a placeholder"),
    (re.compile(r"lorem\s+ipsum", re.IGNORECASE), "filler text"),
    (re.compile(r"\[(?:insert|your|add|name|link|date|todo)\b[^\]\n]*\](?!\()", re.IGNORECASE), "a placeholder"),
)
_BRACES = re.compile(r"\{\{|\}\}|\{%|%\}")


def check_subject(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """401: empty, too short or long to be read in a list of mails, or that of the last issue."""
    line = issue.lines.get("subject")
    length = len(_plain(issue.subject))
    low, high = SUBJECT_CHARS
    if not issue.subject.strip():
        fix = "write what this issue says in one line"
        yield Finding(ERROR, 401, line, "the subject is empty", fix, waivable=False)
        return
    if not low <= length <= high:
        why = f"the subject has {length} characters, outside {low} to {high}"
        yield Finding(WARN, 401, line, why, "shorten or complete it")
    if issue.subject == facts.last_subject:
        fix = "say what is new; readers take it for a repeat"
        yield Finding(WARN, 401, line, "the subject is the same as the last issue's", fix)


def check_preheader(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """402: the line mail programs show beside the subject."""
    line = issue.lines.get("preheader")
    text = _plain(issue.preheader)
    if not text:
        why = "the preheader is empty, so mail programs show the masthead"
        yield Finding(WARN, 402, line, why, "add a line preheader: …")
    elif text == _plain(issue.subject):
        yield Finding(WARN, 402, line, "the preheader repeats the subject", "say the next thing a reader wants to know")
    elif len(text) > PREHEADER_CHARS:
        why = f"the preheader has {len(text)} characters; {PREHEADER_CHARS} are shown at most"
        yield Finding(WARN, 402, line, why, "shorten it")


def check_shouting(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """403: capitals, exclamation marks and invented replies."""
    line = issue.lines.get("subject")
    text = _plain(issue.subject)
    letters = [char for char in text if char.isalpha() and char.upper() != char.lower()]
    if len(letters) >= 8 and sum(char.isupper() for char in letters) * 2 > len(letters):
        yield Finding(WARN, 403, line, "more than half of the subject is in capitals", "write it as a sentence")
    if text.count("!") + text.count("！") > 1:
        yield Finding(WARN, 403, line, "the subject has more than one exclamation mark", "keep one at most")
    if _FAKE_REPLY.match(text):
        yield Finding(ERROR, 403, line, "the subject pretends to be a reply or a forwarded mail", "remove Re: or Fwd:")


def check_variables(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """501: tags outside the subset, unknown names, outputs without a default."""
    known = frozenset((*READER_VARIABLES, *facts.attributes))
    for field in authored_texts(issue):
        if "{" not in field.text:
            continue
        try:
            for name in check_template(field.text, None):
                if name in SYSTEM_VARIABLES:
                    fix = "remove it; the footer already has it"
                    yield _variable(field, _line_of(name, field), f"{name} belongs to the layout", fix)
                elif name not in known:
                    fix = f"use one of {', '.join(sorted(known))}, or import it as a column"
                    yield _variable(field, _line_of(name, field), f"{name} is not known for this publication", fix)
        except TemplateProblem as problem:
            allowed = f"variables with a default, if, for, and the filters {', '.join(FILTERS)}"
            yield _variable(field, problem.line, problem.trouble, f"correct the tag; what may be used: {allowed}")


def check_leftovers(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """801: notes, filler, and braces that are no tag."""
    for field in authored_texts(issue):
        bare = _TAG.sub(lambda tag: "\n" * tag[0].count("\n"), field.text)
        for pattern, what in _LEFTOVERS:
            for leftover in pattern.finditer(bare):
                line = field.line + bare.count("\n", 0, leftover.start())
                yield Finding(ERROR, 801, line, f'"{leftover[0][:40]}" looks like {what}', "replace or remove it")
        braces = _BRACES.search(bare)
        if braces:
            line = field.line + bare.count("\n", 0, braces.start())
            yield Finding(ERROR, 801, line, f"{braces[0]} would be printed as it stands", "close the tag or remove it")


def _variable(field: Authored, line: int, why: str | Trouble, fix: str) -> Finding:
    return Finding(ERROR, 501, field.line + line - 1, why, fix, waivable=False)


def _line_of(name: str, field: Authored) -> int:
    """Line, from 1, of the first tag that reads `name`."""
    for tag in _TAG.finditer(field.text):
        if re.search(rf"\b{re.escape(name)}\b", tag[0]):
            return field.text.count("\n", 0, tag.start()) + 1
    return 1


def _plain(text: str) -> str:
    return without_values(text)
