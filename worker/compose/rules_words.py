"""Rules about what the text says: subject, preheader, leftovers, variables. Pure."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice

from worker.compose.findings import ERROR, WARN, Authored, Finding, LintFacts, authored_texts, issue_references
from worker.compose.spans import Kind, Lines, find_tags, without_tags
from worker.compose.template import FILTERS, TemplateProblem, check_template, without_values
from worker.domain.compiled import READER_VARIABLES, SYSTEM_VARIABLES
from worker.domain.issue import IssueText
from worker.errors import Trouble
from worker.quantities import count

SUBJECT_CHARS = (10, 78)  # less says nothing, more is cut in lists of mails (and is a line of RFC 5322 2.1.1)
PREHEADER_CHARS = 140  # more than lists of mails show behind a subject

_FAKE_REPLY = re.compile(r"\s*(re|fwd?|aw|wg|sv|tr|rif|回复|转发|ответ)\s*[:：]", re.IGNORECASE)
_OVERRIDE = re.compile(r"[\u202d\u202e]")
"""Marks and isolates belong to mixed scripts; the two overrides are for texts that say other than they show."""

_LEFTOVERS = (
    (re.compile(r"\bTODO\b|\bFIXME\b|\bTBD\b"), "a note to the author"),
    (re.compile(r"\bXXX+\b"), "a placeholder"),
    (re.compile(r"lorem\s+ipsum", re.IGNORECASE), "filler text"),
    (
        re.compile(
            r"\[(?:insert|your|add|name|link|date|todo|(?:first|last|full|company)[ _-]?name|e?-?mail)\b[^\]\n]{0,60}\]"
            r"(?![(\[:])",
            re.IGNORECASE,
        ),
        "a placeholder",
    ),
    (
        re.compile(
            r"\*\|[^|\n]{1,60}\|\*|(?<![\w%/=&?.-])%%?[A-Za-z_][\w.-]{1,40}%%?(?!\w)|\$\{[\w.]{1,40}\}"
            r"|(?<!\{)\{ ?(?:(?:first|last|full)[ _-]?)?(?:name|email) ?\}(?!\})",
            re.IGNORECASE,
        ),
        "a placeholder of another program",
    ),
)
MOST_OF_A_FIELD = 20  # findings of one kind in one text: a file pasted from elsewhere has the same one everywhere
_LOOP = re.compile(r"\{%[-+]?\s{0,9}for\s{1,9}(\w+)")
_CONDITION = re.compile(r"\{%[-+]?\s{0,9}(if|elif|for)\s(.*?)\s{0,9}[-+]?%\}\Z", re.DOTALL)
_BRACES = re.compile(r"\{\{|\}\}|\{%|%\}")


def check_subject(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """401: empty, too short or long to be read in a list of mails, or that of the last issue."""
    line = issue.lines.get("subject")
    length = len(_plain(issue.subject))
    low, high = SUBJECT_CHARS
    if not issue.subject.strip() and issue.faults:
        return  # perhaps it stands in a line that could not be read
    if not issue.subject.strip():
        fix = "write what this issue says in one line"
        yield Finding(ERROR, 401, line, "the subject is empty", fix, waivable=False)
        return
    if not low <= length <= high:
        why = f"the subject has {count(length, 'character')}, outside {low} to {high}"
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
    """501: tags outside the subset, unknown names, outputs without a default, remarks nobody would see end."""
    known = frozenset((*READER_VARIABLES, *facts.attributes))
    for field in authored_texts(issue):
        if "{" in field.text:
            yield from islice(_in_tags(field, known), MOST_OF_A_FIELD)


def _in_tags(field: Authored, known: frozenset[str]) -> Iterator[Finding]:
    """Each tag by itself, so that one mistake hides no other; then how they stand together."""
    text, lines = field.text, Lines(field.text, 0)
    loops = frozenset(_LOOP.findall(text))
    together, at = [], 0
    said: set[str] = set()
    sound: dict[str, list[str]] = {}
    for span in find_tags(text):
        tag, line = text[span.start : span.end], lines.at(span.start)
        together += [text[at : span.start], tag]
        at = span.end
        try:
            if span.kind is Kind.COMMENT:
                raise TemplateProblem(Trouble("tag.comment"), 1)
            names = sound[tag] = sound.get(tag) or _names_in(tag, loops)
        except TemplateProblem as problem:
            together[-1] = "\n" * tag.count("\n")
            bare = str(problem.trouble.fields.get("name", "")) if problem.trouble.code == "tag.without_default" else ""
            if not bare or (bare in known and bare not in SYSTEM_VARIABLES):
                yield _variable(field, line + problem.line - 1, problem.trouble)
                continue
            names = [bare]  # a default would not help a name that cannot be used at all
        for name in names:
            if name in SYSTEM_VARIABLES and name not in said:
                fix = "remove it; the footer already has it"
                yield _variable(field, line, f"{name} belongs to the layout", fix)
            elif name not in known and name not in said:
                yield _variable(field, line, f"{name} is not known for this publication", _nearest(tag, name, known))
            said.add(name)
    try:
        check_template("".join([*together, text[at:]]))
    except TemplateProblem as problem:
        yield _variable(field, problem.line - 1, problem.trouble)


def _nearest(tag: str, name: str, known: frozenset[str]) -> str:
    """What to write for a name that is not known: the whole tag, to be pasted, where one name is near."""
    near = get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
    if not near:
        such = ' such as {{ name | default("…") }},' if tag.startswith("{{") and "default" not in tag else ""
        return f"use one of {', '.join(sorted(known))},{such} or import it as a column"
    meant = re.sub(rf"\b{re.escape(name)}\b", near[0], tag, count=1)
    if tag.startswith("{{") and "default" not in tag:
        meant = f'{{{{ {meant[2:-2].strip()} | default("…") }}}}'
    return f"did you mean {near[0]}? Write {meant}; known are {', '.join(sorted(known))}"


def _names_in(tag: str, loops: frozenset[str]) -> list[str]:
    """The names one tag reads, without those of loops. Raises TemplateProblem."""
    if tag.startswith("{{"):
        return [name for name in check_template(tag, always=loops) if name not in loops]
    condition = _CONDITION.match(tag)
    if condition is None:
        return []
    whole = f"{{% if {condition[2]} %}}{{% endif %}}" if condition[1] != "for" else ""
    return [name for name in (check_template(whole) if whole else (condition[2].split(" ")[-1],)) if name not in loops]


def check_leftovers(issue: IssueText, facts: LintFacts) -> Iterator[Finding]:
    """801: notes, filler, placeholders, braces that are no tag, and signs that reverse the words."""
    labels = issue_references(issue)
    for field in authored_texts(issue):
        bare, offsets = without_tags(field.text)
        lines = Lines(bare, 0)
        for pattern, what in _LEFTOVERS:
            for leftover in islice(pattern.finditer(bare), MOST_OF_A_FIELD):
                if leftover[0].strip("[]").upper() in labels:
                    continue
                line = field.line + offsets[lines.at(leftover.start())]
                yield Finding(ERROR, 801, line, f'"{leftover[0][:40]}" looks like {what}', "replace or remove it")
        for braces in islice(_BRACES.finditer(bare), MOST_OF_A_FIELD):
            line = field.line + offsets[lines.at(braces.start())]
            yield Finding(ERROR, 801, line, f"{braces[0]} would be printed as it stands", "close the tag or remove it")
        for sign in islice(_OVERRIDE.finditer(bare), MOST_OF_A_FIELD):
            line = field.line + offsets[lines.at(sign.start())]
            why = (
                f"an unseen sign (U+{ord(sign[0]):04X}) turns round what follows: readers see other words than filters"
            )
            yield Finding(ERROR, 801, line, why, "delete it; each script finds its own direction")


_MAY_BE_USED = (
    f"correct the tag; what may be used: variables with a default, if, for, and the filters {', '.join(FILTERS)}"
)


def _variable(field: Authored, line: int, why: str | Trouble, fix: str = _MAY_BE_USED) -> Finding:
    return Finding(ERROR, 501, field.line + line, why, fix, waivable=False)


def _plain(text: str) -> str:
    return without_values(text)
