"""Fill the holes of a compiled issue: what is constant was encoded once, only values are encoded per reader. Pure.

A Jinja template hands out its constant text as the same objects at every rendering. Their quoted-printable bytes are
prepared from the compiled template's constants; a piece that is not among them is a value and is encoded on the spot.
The table never grows afterwards, so no reader's value is kept.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import TypeVar

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.compose.template import MAX_PASSES, TooManyPassesError, bounded, recipient_environment
from worker.domain.compiled import READER_VARIABLES, SYSTEM_VARIABLES, CompiledIssue
from worker.errors import CorrantoError
from worker.message.mime import clean_text, end_body, one_line, quote

MAX_MAIL_OCTETS = 2 * 1024 * 1024  # both parts as they leave: ten times what any reader waits for on a phone
_MOST_OCTETS_A_CHAR = 36  # three capitals for one letter, each three octets of three characters in quoted-printable
MAX_VALUE_CHARS = 10_000  # import caps values far lower; this bounds one mail when something else wrote the row


class PersonalizeError(ValueError):
    """Raised when one reader's values cannot be filled in; says which value, never what it was."""


class UnfitRowError(CorrantoError, PersonalizeError):
    """Raised when one reader's values make the mail too long: that copy fails, the others go on."""


@dataclass(frozen=True, slots=True)
class Readable:
    """One reader's content as a person sees it in a preview, line ends LF."""

    subject: str
    text: str
    html: str


class Personalizer:
    """Three bound templates of one issue. Building one costs milliseconds, filling it microseconds; keep it."""

    def __init__(self, compiled: CompiledIssue) -> None:
        plain, escaping = recipient_environment(autoescape=False), recipient_environment(autoescape=True)
        self._subject = BoundTemplate(plain, compiled.subject)
        self._text = BoundTemplate(plain, compiled.text)
        self._html = BoundTemplate(escaping, compiled.html)
        used = self._subject.names | self._text.names | self._html.names
        self.variables = tuple(sorted(used.union(compiled.variables, READER_VARIABLES, SYSTEM_VARIABLES)))
        """Every name a value is taken for, in an order that never changes for the same issue."""
        bound = (self._subject, self._text, self._html)
        self._fixed = sum(template.fixed for template in bound)
        self._holes = sum(template.holes for template in bound) * _MOST_OCTETS_A_CHAR
        self._empty = dict.fromkeys(self.variables, "")

    def fill(self, values: Mapping[str, str]) -> tuple[str, list[bytes], list[bytes]]:
        """Subject, text and HTML for one reader, ready for the wire: the subject on one line, the bodies in
        quoted-printable pieces, not yet joined, because what surrounds them joins everything once.

        Names the issue does not use are ignored, missing ones are empty. Raises PersonalizeError.
        """
        clean = self.clean(values)
        try:
            longest = max(map(len, clean.values()))
            if self._fixed + self._holes * longest > MAX_MAIL_OCTETS:
                return self._fill_measured(clean)
            subject = one_line("".join(self._subject.pieces(clean)))
            return subject, self._text.encode(clean), self._html.encode(clean)
        except TooManyPassesError as error:
            raise UnfitRowError("message.too_many_passes", passes=error.passes, limit=MAX_PASSES) from error
        except jinja2.TemplateError as error:
            raise PersonalizeError(f"the template failed: {type(error).__name__}") from error

    def show(self, values: Mapping[str, str]) -> Readable:
        """The same content as text, for previews. Raises PersonalizeError."""
        clean = self.clean(values)
        try:
            room = MAX_MAIL_OCTETS
            shown = []
            for template in (self._subject, self._text, self._html):
                shown.append("".join(_measured(template.pieces(clean), room)))
                room -= len(shown[-1])
            subject, text, html = shown
        except TooManyPassesError as error:
            raise UnfitRowError("message.too_many_passes", passes=error.passes, limit=MAX_PASSES) from error
        except jinja2.TemplateError as error:
            raise PersonalizeError(f"the template failed: {type(error).__name__}") from error
        return Readable(one_line(subject), _lf(text), _lf(html))

    def _fill_measured(self, clean: dict[str, str]) -> tuple[str, list[bytes], list[bytes]]:
        """The same for values that might make a mail too long: counted while it grows, not afterwards."""
        room = MAX_MAIL_OCTETS
        subject = one_line("".join(_measured(self._subject.pieces(clean), room)))
        text = end_body(list(_measured(self._text.quoted(clean), room)))
        html = end_body(list(_measured(self._html.quoted(clean), room - sum(map(len, text)))))
        return subject, text, html

    def clean(self, values: Mapping[str, str]) -> dict[str, str]:
        """A value for every variable of the issue and no other, without controls. Raises PersonalizeError."""
        clean = self._empty.copy()
        for name in clean:
            value = values.get(name, "")
            # A Markup would pass the autoescape unharmed, any other object could be called from a template.
            if type(value) is not str:
                raise PersonalizeError(f"the value of {name} is not plain text")
            if len(value) > MAX_VALUE_CHARS:
                raise PersonalizeError(f"the value of {name} is longer than {MAX_VALUE_CHARS} characters")
            clean[name] = clean_text(value)
        return clean


class BoundTemplate:
    """One bound recipient template and the encoded forms of its constants."""

    def __init__(self, environment: ImmutableSandboxedEnvironment, source: str) -> None:
        tree = environment.parse(source)
        self.names = jinja2.meta.find_undeclared_variables(tree)
        self.fixed, self.holes = _weigh(tree, 1)
        code = environment.compile(source)
        self._template = jinja2.Template.from_code(environment, code, environment.globals)
        self.constants = {text: quote(text) for text in _texts_of(code)}

    def pieces(self, values: dict[str, str]) -> Iterator[str]:
        """The output in order; constant pieces are always the same objects."""
        template = self._template
        return template.root_render_func(template.new_context(values, shared=True))

    def encode(self, values: dict[str, str]) -> list[bytes]:
        """The output in quoted-printable pieces."""
        known = self.constants.get
        return end_body([known(piece) or quote(piece) for piece in self.pieces(values)])

    def quoted(self, values: dict[str, str]) -> Iterator[bytes]:
        """Like `encode`, one after the other and not ended."""
        known = self.constants.get
        return (known(piece) or quote(piece) for piece in self.pieces(values))


_Piece = TypeVar("_Piece", str, bytes)


def _measured(pieces: Iterable[_Piece], room: int) -> Iterator[_Piece]:
    """The pieces while they fit. Raises UnfitRowError at the first that does not."""
    size = MAX_MAIL_OCTETS - room
    for piece in pieces:
        size += len(piece)
        if size > MAX_MAIL_OCTETS:
            raise UnfitRowError("message.too_long", size=size, limit=MAX_MAIL_OCTETS)
        yield piece


def _weigh(node: nodes.Node, passes: int) -> tuple[int, int]:
    """(octets that are always the same, values put in) at most, loops counted as often as they may run."""
    fixed = holes = 0
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            fixed += passes * len(quote(child.data))
        elif isinstance(child, nodes.Const):
            fixed += passes * len(str(child.value)) * _MOST_OCTETS_A_CHAR
        elif isinstance(child, nodes.For):
            is_bounded = bounded(child) is not child.iter
            more = _weigh(child, passes * (MAX_PASSES if is_bounded else MAX_VALUE_CHARS))
            fixed, holes = fixed + more[0], holes + more[1]
            continue
        holes += passes * isinstance(child, nodes.Name)
        more = _weigh(child, passes)
        fixed, holes = fixed + more[0], holes + more[1]
    return fixed, holes


def _texts_of(code: CodeType) -> Iterator[str]:
    """Every text constant of compiled code; the names of variables among them do no harm."""
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts_of(constant)


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
