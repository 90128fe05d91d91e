"""The terminal's catalogue: every code of `worker.errors` as one sentence that names the thing, the value, the remedy.

The words stand in `templates/terminal/sentences.toml`, read once; this file knows the forms in which a field may be
shown there. A test keeps raise sites, fields and sentences together.
"""

import shlex
import string
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.calling import as_called
from worker.errors import CorrantoError, Trouble
from worker.log import scrub
from worker.places import TEMPLATES
from worker.quantities import count, spell_span
from worker.screen.instants import When, spell_day

Sentence = str | list[str]
"""One text, or several of which the first is taken whose fields all hold something; the last one always fits."""

MOST_HEADINGS = 12
"""Columns of a file that a sentence lists."""

_PATH = TEMPLATES / "terminal" / "sentences.toml"
_TABLES = tomllib.loads(_PATH.read_text(encoding="utf-8"))
_WORDS: Mapping[str, Mapping[str, str]] = _TABLES.pop("words")


def _flat(tables: Mapping[str, Mapping[str, Sentence]]) -> dict[str, Sentence]:
    return {f"{noun}.{what}": said for noun, table in tables.items() for what, said in table.items()}


FIXES: Mapping[str, Sentence] = _flat(_TABLES.pop("fix"))
SENTENCES: Mapping[str, Sentence] = _flat(_TABLES)


def word(trouble: Trouble | CorrantoError) -> str:
    """The sentence a person reads in the terminal; several lines where several things are wrong."""
    if isinstance(trouble, CorrantoError):
        trouble = trouble.trouble
    try:
        return _say(SENTENCES[trouble.code], trouble)
    except (LookupError, TypeError, ValueError, AttributeError):
        return str(trouble)  # stored by another version, whose codes or fields are not these


def word_fix(trouble: Trouble) -> str:
    """What to type about something that `doctor` found; "" when nothing needs to be done."""
    return _say(FIXES.get(trouble.code, ""), trouble)


def names_of(text: str) -> set[str]:
    """The fields that a sentence names, in its forms too."""
    names = set()
    for _, field, form, _ in string.Formatter().parse(text):
        if field is not None:
            names |= {field.partition(".")[0], *names_of(form or "")}
    return names


def _say(sentence: Sentence, trouble: Trouble) -> str:
    fields = {name: _worded(value) for name, value in trouble.fields.items()}
    texts = [sentence] if isinstance(sentence, str) else sentence
    full = (text for text in texts if not any(fields[name] in (None, "", [], ()) for name in names_of(text)))
    return _Formatter(fields).vformat(as_called(next(full, texts[-1])), (), fields)


def _worded(value: object) -> object:
    """A field's value; troubles among it as their sentences."""
    if isinstance(value, Trouble):
        return word(value)
    return [_worded(each) for each in value] if isinstance(value, list | tuple) else value


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _heading(text: str, most: str) -> str:
    """A heading of a file, cut, without what a terminal would obey."""
    cut = _cut(text, int(most))
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def _headings(texts: Sequence[str], _: str) -> str:
    shown = [f"“{_heading(text, '40')}”" for text in texts if text]
    return ", ".join(shown[:MOST_HEADINGS]) + (" …" if len(shown) > MOST_HEADINGS else "") if shown else "none"


def _quoted(value: str, _: str) -> str:
    cut = _cut(value, 60)
    return f'"{cut}"' if cut.isprintable() else repr(cut)


def _joined(values: Sequence[object], last: str) -> str:
    *first, end = map(str, values)
    return f"{', '.join(first)} {last} {end}" if first else end


def _place(where: str, _: str) -> str:
    """A part of an issue file; `cards.2` is the third card."""
    return f"card {int(where[6:]) + 1}" if where.startswith("cards.") else _WORDS["place"][where]


def _setting(origin: str, key: str) -> str:
    """As it was given: CORRANTO_WEB_PORT, or web_port in a file."""
    return origin if origin.startswith("CORRANTO_") or not origin else f"{key} in {origin}"


_FORMS: dict[str, Callable[[Any, str], str]] = {
    "GB": lambda octets, _: f"{octets / 1e9:,.1f} GB",
    "after": lambda text, prefix: scrub(text).removeprefix(prefix).strip(" :"),
    "count": lambda number, nouns: count(number, *nouns.split("|")),
    "day": lambda at, _: spell_day(at),
    "escaped": lambda text, _: text if text.isprintable() else ascii(text)[1:-1],
    "heading": _heading,
    "headings": _headings,
    "iso": lambda at, _: at.isoformat(timespec="minutes"),
    "joined": _joined,
    "lines": lambda texts, _: "\n".join(texts),
    "list": lambda values, most: ", ".join(map(str, values))[: int(most) if most else None] or "none",
    "ms": lambda seconds, _: f"{seconds * 1000:.1f} ms",
    "option": lambda field, _: "SLUG" if field == "slug" else "--" + field.replace("_", "-"),
    "or": lambda values, _: " or ".join(map(str, values)),
    "or_else": lambda value, other: value or other,
    "place": _place,
    "printable": lambda text, _: text if text.isprintable() else ascii(text),
    "quoted": _quoted,
    "quoted_list": lambda values, _: " ".join(f"'{value}'" for value in values),
    "choice": lambda values, _: _joined([repr(value) for value in values], "or"),
    "reason": lambda said, _: said.rpartition("; ")[0] or said,
    "remedy": lambda said, _: said.rpartition("; ")[2],
    "scrubbed": lambda text, _: scrub(text),  # a server or a library may repeat a password or an address
    "setting": _setting,
    "shell": lambda text, _: shlex.quote(str(text)),
    "size": lambda values, noun: count(len(values), noun),
    "size_limit": lambda octets, _: f"mails up to {octets // 1_000_000} MB" if octets else "no size limit named",
    "slug": lambda slug, _: slug if len(slug) <= 64 and slug.isprintable() else ascii(slug[:64]),
    "span": lambda seconds, _: spell_span(seconds),
    "uncapped": lambda text, _: text.replace("An email", "an email", 1),
    "when": lambda at, zone: When(at, zone).spell(),
    "words": lambda name, _: str(name).replace("_", " "),
}


class _Formatter(string.Formatter):
    """Python's format texts with the forms above, and `{field:in LIST}` for words of closed lists."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def format_field(self, value: object, format_spec: str) -> str:
        name, _, argument = format_spec.partition(" ")
        if name == "in":
            words = _WORDS[argument]
            said = words.get(str(value), words.get("other"))
            return str(value).lower() if said is None else self.vformat(said, (), self._fields)
        form = _FORMS.get(name)
        return str(super().format_field(value, format_spec)) if form is None else form(value, argument)
