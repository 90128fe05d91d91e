"""The tree of errors: a stable code, plain fields and the kind of remedy. What a person reads is worded by each face.

An error here is a broken promise or a refused wish. The terminal's sentences stand in `screen.sentences`; a page or an
interface words the same codes in its own way. Error text for logs is code and fields. SMTP trouble and bounces are
values (`transport.replies.Outcome`), never exceptions.
Exit codes: 1 failed, 2 wrong usage, 3 an issue file to mend, 4 refused, 5 a dependency is unreachable, 6 finished
with problems.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Remedy(StrEnum):
    """What kind of step helps; each face says how it is taken there."""

    CHANGE = "change"
    """Give another value: the fields say which and what is allowed."""
    CHOOSE = "choose"
    """Name one of the things that exist."""
    CREATE = "create"
    """Make the missing thing first."""
    MEND_FILE = "mend_file"
    """Correct a file and try again."""
    CONFIGURE = "configure"
    """Correct a setting of the installation."""
    START = "start"
    """Start or repair what does not answer; work goes on by itself then."""
    UPGRADE = "upgrade"
    """Bring the schema, or the program, to the other's version."""
    REPEAT = "repeat"
    """Somebody was faster: look, then try again."""
    OTHER_ORDER = "other_order"
    """Another order fits the state the thing is in."""
    NONE = "none"
    """Nothing helps: it is refused for a reader's sake."""


class Trouble:
    """What is wrong, as a value: a stable code `room.what`, and the plain fields that its sentence needs."""

    __slots__ = ("code", "fields")

    def __init__(self, code: str, /, **fields: Any) -> None:  # noqa: ANN401 - whatever a sentence can show
        self.code = code
        self.fields: Mapping[str, Any] = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trouble) and (self.code, self.fields) == (other.code, other.fields)

    def __hash__(self) -> int:
        return hash((self.code, repr(self.fields)))

    def __repr__(self) -> str:
        return f"Trouble({str(self)!r})"

    def __str__(self) -> str:
        """For logs: `broker.silent place=redis at 127.0.0.1:6379`."""
        return " ".join([self.code, *(f"{name}={value}" for name, value in self.fields.items())])

    def to_json(self) -> str:
        """One line, to be stored; times and paths become text, a trouble in a field stays one."""
        return json.dumps({"code": self.code, **self.fields}, default=_plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Trouble | None":
        """Inverse of to_json; None for the empty text. Raises ValueError for anything else."""
        stored = json.loads(text, object_hook=_trouble) if text else None
        if stored is not None and not isinstance(stored, Trouble):
            raise ValueError("the text holds no trouble")
        return stored


def _trouble(fields: dict[str, Any]) -> Trouble:
    code = fields.pop("code", None)
    if not isinstance(code, str):
        raise ValueError("a trouble has a code")
    return Trouble(code, **fields)


def _plain(value: object) -> object:
    return {"code": value.code, **value.fields} if isinstance(value, Trouble) else str(value)


class CorrantoError(Exception):
    """Raised when something a person asked for did not happen."""

    exit_code = 1
    remedy = Remedy.CHANGE

    def __init__(self, code: str, /, *, remedy: Remedy | None = None, **fields: Any) -> None:  # noqa: ANN401
        super().__init__(code)
        self.trouble = Trouble(code, **fields)
        self.remedy = remedy or self.remedy

    @property
    def code(self) -> str:
        return self.trouble.code

    def __str__(self) -> str:
        return str(self.trouble)


class UsageError(CorrantoError):
    """Raised when a value given on the command line, in a file or in a setting cannot be used."""

    exit_code = 2


class SettingsError(UsageError):
    """Raised when settings are wrong; carries every problem found, not only the first."""

    remedy = Remedy.CONFIGURE

    def __init__(self, problems: list[Trouble]) -> None:
        self.problems = problems
        super().__init__("settings.wrong", problems=tuple(problems))


class NotFoundError(UsageError):
    """Raised when a named publication, issue, subscriber or file does not exist."""

    remedy = Remedy.CHOOSE


class IssueFileError(UsageError):
    """Raised when an issue file cannot be read as an issue: it has to be mended, as after a finding that blocks."""

    exit_code = 3
    remedy = Remedy.MEND_FILE


class LintError(CorrantoError):
    """Raised when an issue's text has findings that block queueing."""

    exit_code = 3
    remedy = Remedy.MEND_FILE


class RefusedError(CorrantoError):
    """Raised when a wish is understood but not allowed now: empty audience, file queued twice, wrong state."""

    exit_code = 4
    remedy = Remedy.OTHER_ORDER


class UnreachableError(CorrantoError):
    """Raised when a dependency (database, broker, relay) does not answer, or answers as something else."""

    exit_code = 5
    remedy = Remedy.START


class SchemaError(UnreachableError):
    """Raised when the database's schema is older or newer than this version can work with."""

    remedy = Remedy.UPGRADE
